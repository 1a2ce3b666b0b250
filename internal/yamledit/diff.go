package yamledit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// context is how many lines around a change a diff shows.
const context = 3

// elided stands for what a diff does not show.
const elided = "…"

// Span is a part of a file.
type Span struct{ start, end int }

// Shown returns what a diff may show of the mapping: all but the scalars and the
// comments that are to be hidden. Hide is told the nearest key before a scalar, which
// is empty for a comment, and the text without quotes and escapes.
func (m *Mapping) Shown(hide func(key, text string) bool) []Span {
	t := m.text
	start, end := m.span()
	var all []Span
	key, at := "", start
	for i, tk := range t.tokens {
		if tk.at < start || tk.at >= end {
			continue
		}
		of := key
		switch {
		case tk.Type == token.CommentType:
			of = ""
		case t.isKey(i) && !afterIndicator(tk.Token):
			key = tk.Value
			continue
		case !holds(tk.Token):
			continue
		}
		if hide(of, tk.Value) {
			all = append(all, Span{at, tk.at})
			at = min(t.end(i), end)
		}
	}
	return append(all, Span{at, end})
}

// holds reports whether the token is the text of a scalar.
func holds(tk *token.Token) bool {
	switch tk.Type {
	case token.SequenceEntryType, token.SequenceStartType, token.SequenceEndType, token.MappingStartType, token.MappingEndType,
		token.MappingValueType, token.CollectEntryType, token.LiteralType, token.FoldedType:
		return false
	}
	return true
}

// render returns the text between two offsets, with an ellipsis in each line for what
// is in none of the spans. What stands before the first key of a line may be seen.
func (t *Text) render(from, to int, spans []Span) string {
	var b strings.Builder
	for at := from; at < to; {
		line := t.line(at)
		end, hidden := min(to, t.next(line)), true
		for _, s := range spans {
			switch {
			case s.start <= at && at < s.end:
				end, hidden = min(end, s.end), false
			case at < s.start:
				end = min(end, s.start)
			}
		}
		text := string(t.data[at:end])
		core := strings.TrimSpace(text)
		lead := at == t.lineStart(line) && end < t.next(line) && strings.Trim(core, "- ") == ""
		if hidden && core != "" && !lead {
			before, after, _ := strings.Cut(text, core)
			text = before + elided + after
		}
		b.WriteString(text)
		at = end
	}
	return b.String()
}

// Diff returns the changes as a unified diff of the file of that name. Of what was
// there it shows the spans only: the rest may hold secrets. Of lines that stay it
// shows those that the spans are in. What is added is shown, a mapping of
// [Text.Replace] as that says. Line ends are LF.
func (t *Text) Diff(name string, spans []Span) (string, error) {
	if _, err := t.Bytes(); err != nil {
		return "", err
	}
	shown := func(line int) bool {
		return slices.ContainsFunc(spans, func(s Span) bool { return s.start < t.next(line-1) && s.end > t.lineStart(line-1) })
	}
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", name, name)
	shift := 0 // lines more in what is new
	for _, r := range t.regions(shown) {
		old, fresh := t.sides(r, spans)
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
func (t *Text) sides(r region, spans []Span) (old, fresh []string) {
	start, end := t.lineStart(r.from), t.next(r.to)
	var b strings.Builder
	at := start
	for _, c := range r.changes {
		c.start, c.end = max(at, c.start), max(at, c.end)
		b.WriteString(t.render(at, c.start, spans))
		b.WriteString(c.shown)
		at = c.end
	}
	b.WriteString(t.render(at, end, spans))
	return splitLines(t.render(start, end, spans)), splitLines(b.String())
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
