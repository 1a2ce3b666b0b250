package yamledit

import (
	"fmt"
	"slices"
	"strings"
)

// context is how many lines around a change a diff shows.
const context = 3

// Diff returns the changes as a unified diff of the file of that name. Of the lines
// that stay, numbered from 1, it shows those only that may be shown: others may
// hold secrets. Line ends are LF.
func (t *Text) Diff(name string, shown func(line int) bool) (string, error) {
	if _, err := t.Bytes(); err != nil {
		return "", err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", name, name)
	shift := 0 // lines more in what is new
	for _, r := range t.regions(shown) {
		old, fresh := t.sides(r)
		shift += writeHunks(&out, old, fresh, r.from, shift, func(i int) bool { return shown(r.from + i + 1) })
	}
	return out.String(), nil
}

// region is a run of lines by their indexes, the last one included, with the
// changes in it.
type region struct {
	from, to int
	changes  []change
}

// regions returns the lines around the changes. Two of them are apart unless all
// lines between may be shown.
func (t *Text) regions(shown func(int) bool) []region {
	changes := slices.Clone(t.changes)
	slices.SortStableFunc(changes, func(a, b change) int { return a.start - b.start })
	widen := func(from, to int) (int, int) {
		for n := 0; n < context && from > 0 && shown(from); n++ {
			from--
		}
		for n := 0; n < context && to+1 < len(t.lines) && t.lineStart(to+1) < len(t.data) && shown(to+2); n++ {
			to++
		}
		return from, to
	}
	var all []region
	for _, c := range changes {
		from, to := t.line(c.start), t.line(max(c.end-1, c.start))
		if len(all) > 0 {
			last := &all[len(all)-1]
			near := from <= last.to+1
			if a, _ := widen(from, to); a <= last.to+1 {
				near = true
			}
			if near {
				last.changes = append(last.changes, c)
				_, last.to = widen(from, max(to, last.to))
				continue
			}
		}
		from, to = widen(from, to)
		all = append(all, region{from, to, []change{c}})
	}
	return all
}

// sides returns the lines of a region as they were and as they will be. A last line
// without a line end is marked.
func (t *Text) sides(r region) (old, fresh []string) {
	start, end := t.lineStart(r.from), t.next(r.to)
	var b strings.Builder
	at := start
	for _, c := range r.changes {
		c.start, c.end = max(at, c.start), max(at, c.end)
		b.Write(t.data[at:c.start])
		b.WriteString(c.text)
		at = c.end
	}
	b.Write(t.data[at:end])
	return splitLines(string(t.data[start:end])), splitLines(b.String())
}

func splitLines(text string) []string {
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for i, line := range lines {
		whole, ended := strings.CutSuffix(line, "\n")
		lines[i] = strings.TrimSuffix(whole, "\r")
		if !ended {
			lines[i] += "\n\\ No newline at end of file"
		}
	}
	return lines
}

// writeHunks writes what differs between the lines of a region, of which the first
// has the index from, and returns how many lines more there are.
func writeHunks(out *strings.Builder, old, fresh []string, from, shift int, shown func(i int) bool) int {
	type line struct {
		sign byte
		text string
		i    int // in old: of it, or before which it stands
	}
	// common[i][j] is the length of the longest common subsequence of the rest.
	common := make([][]int, len(old)+1)
	for i := range common {
		common[i] = make([]int, len(fresh)+1)
	}
	for i := len(old) - 1; i >= 0; i-- {
		for j := len(fresh) - 1; j >= 0; j-- {
			if old[i] == fresh[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var lines []line
	for i, j := 0, 0; i < len(old) || j < len(fresh); {
		switch {
		case i < len(old) && j < len(fresh) && old[i] == fresh[j]:
			lines = append(lines, line{' ', old[i], i})
			i, j = i+1, j+1
		case i < len(old) && (j == len(fresh) || common[i+1][j] >= common[i][j+1]):
			lines = append(lines, line{'-', old[i], i})
			i++
		default:
			lines = append(lines, line{'+', fresh[j], i})
			j++
		}
	}
	differs := func(l line) bool { return l.sign != ' ' }
	first := slices.IndexFunc(lines, differs)
	if first < 0 {
		return 0
	}
	last := len(lines) - 1
	for !differs(lines[last]) {
		last--
	}
	for n := 0; n < context && first > 0 && shown(lines[first-1].i); n++ {
		first--
	}
	for n := 0; n < context && last+1 < len(lines) && shown(lines[last+1].i); n++ {
		last++
	}
	minus, plus := 0, 0
	for _, l := range lines[first : last+1] {
		if l.sign != '+' {
			minus++
		}
		if l.sign != '-' {
			plus++
		}
	}
	begin := from + lines[first].i + 1
	start := func(at, n int) int {
		if n == 0 {
			return at - 1 // the line before, as diff has it
		}
		return at
	}
	fmt.Fprintf(out, "@@ -%d,%d +%d,%d @@\n", start(begin, minus), minus, start(begin+shift, plus), plus)
	for _, l := range lines[first : last+1] {
		fmt.Fprintf(out, "%c%s\n", l.sign, l.text)
	}
	return len(fresh) - len(old)
}
