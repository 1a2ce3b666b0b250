package config

import (
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// maxSearched is the size in bytes of a file beyond which no more is tried, for
// a syntax error, than to leave out the whole entry at the top.
const maxSearched = 128 << 10

// block is a run of lines that can be left out of a file: a key with its value,
// or an item of a list.
type block struct {
	// start and end are indexes of lines, end that of the first one after.
	start, end int
	// column is the index in its first line at which the key or the dash stands.
	column int
	item   bool
}

// cut returns the lines without the smallest block that keeps the file from
// being read on from the problem, with [refused] in place of what was left out:
// the key, if it is known, has a value that is not; an item is unknown. ok is
// false if there is no such block.
func (p *treeParser) cut(lines []string, problem *syntaxError, tokens token.Tokens) (_ []string, ok bool) {
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	candidates := blocksAround(lines, problem.Position.Line)
	if before := contentBefore(lines, problem.Position.Line); before > 0 {
		// What came before it may have no end.
		candidates = append(candidates, blocksAround(lines, before)...)
	}
	for _, tk := range tokens {
		if tk.Position.Line < problem.Position.Line && tk.Position.Line+strings.Count(strings.TrimSpace(tk.Origin), "\n") >= problem.Position.Line {
			candidates = append(candidates, blocksAround(lines, tk.Position.Line)...)
		}
	}
	if size > maxSearched {
		candidates = slices.DeleteFunc(candidates, func(b block) bool { return b.column > 0 || b.item })
	}
	slices.SortStableFunc(candidates, func(a, b block) int { return (a.end - a.start) - (b.end - b.start) })
	candidates = slices.Compact(candidates)
	var best, last *attempt
	for _, b := range candidates {
		if best != nil && best.trust == full && b.end-b.start > best.end-best.start {
			break
		}
		a := p.attempt(lines, b, problem)
		if a == nil {
			continue
		}
		if last == nil || a.further(last) {
			last = a
		}
		if a.trust == none || best != nil && b.end-b.start > best.end-best.start {
			continue
		}
		if best == nil || a.trust > best.trust || a.trust == best.trust && a.further(best) {
			best = a
		}
	}
	if best == nil {
		best = last
	}
	if best == nil {
		return nil, false
	}
	return best.lines, true
}

// attempt is what came of leaving out a block.
type attempt struct {
	block
	lines []string
	next  *syntaxError // nil: there is none any more
	trust trust
}

func (a *attempt) further(than *attempt) bool {
	return than.next != nil && (a.next == nil || a.next.Position.Line > than.next.Position.Line)
}

// trust says whether a block that was left out held the cause of an error, or
// only hid it: then the error is met again in the next line, and the next.
type trust int

const (
	none trust = iota
	some
	full
)

// attempt leaves out a block, and returns nil if that does not help.
func (p *treeParser) attempt(lines []string, b block, problem *syntaxError) *attempt {
	a := &attempt{block: b, lines: b.leaveOut(lines)}
	helps := false
	if a.next, helps = p.next(a.lines, problem); !helps {
		return nil
	}
	if !a.follows(b, a.next) {
		a.trust = full
		return a
	}
	again := blocksAround(a.lines, a.next.Position.Line)
	if len(again) == 0 {
		return a
	}
	if next, helps := p.next(again[0].leaveOut(a.lines), a.next); helps && !a.follows(again[0], next) {
		a.trust = some
	}
	return a
}

// follows reports whether the error is in the first line after the block.
func (a *attempt) follows(b block, next *syntaxError) bool {
	return next != nil && next.Position.Line > b.end && contentBefore(a.lines, next.Position.Line) <= b.end
}

// next returns the syntax error that the lines have, if it is not still the
// problem.
func (p *treeParser) next(lines []string, problem *syntaxError) (next *syntaxError, helps bool) {
	quiet := &treeParser{file: p.file, report: new(report), damaged: true, tabs: make(map[int]bool)}
	root, next := quiet.parse(slices.Clone(lines))
	if next == nil {
		return nil, root != nil && root.kind == mappingNode
	}
	return next, next.Position.Line > problem.Position.Line || problem.lexical && !next.lexical
}

// contentBefore returns the number of the last line with content before the
// numbered one, or 0.
func contentBefore(lines []string, number int) int {
	for number--; number > 0; number-- {
		if !isBlank(lines[number-1]) {
			return number
		}
	}
	return 0
}

// blocksAround returns the blocks that hold the numbered line, the smallest
// first.
func blocksAround(lines []string, number int) []block {
	if number > len(lines) {
		number = len(lines)
	}
	if number > 0 && isBlank(lines[number-1]) {
		number = contentBefore(lines, number)
	}
	var found []block
	inner := math.MaxInt // the column of the block found last
	item := false        // and whether it is an item
	for i := number - 1; i >= 0; i-- {
		if isBlank(lines[i]) {
			continue
		}
		for _, b := range starts(lines[i]) {
			// An item may stand right below the key of its list.
			if b.column >= inner && !(item && !b.item && b.column == inner) {
				continue
			}
			b.start = i
			for b.end = i + 1; b.end < len(lines) && b.holds(lines[b.end]); b.end++ {
			}
			if b.end < number {
				continue // an empty one further up, at the same depth
			}
			for b.end > b.start+1 && isBlank(lines[b.end-1]) {
				b.end--
			}
			found = append(found, b)
			inner, item = b.column, b.item
		}
		if inner == 0 && !item {
			break
		}
	}
	return found
}

// starts returns what begins in the line, the innermost first.
func starts(line string) []block {
	var found []block
	column := indentation(line)
	for strings.HasPrefix(line[column:], "- ") {
		found = append([]block{{column: column, item: true}}, found...)
		column += 2 + indentation(line[column+2:])
	}
	if rest := strings.TrimSpace(line[column:]); rest == "-" {
		return append([]block{{column: column, item: true}}, found...)
	}
	return append([]block{{column: column}}, found...)
}

// holds reports whether the line, which is below the block, is a part of it.
func (b block) holds(line string) bool {
	column := indentation(line)
	return isBlank(line) || column > b.column ||
		column == b.column && !b.item && (strings.HasPrefix(line[column:], "- ") || strings.TrimSpace(line[column:]) == "-") ||
		column == b.column && strings.ContainsRune("]}", rune(line[column]))
}

var (
	plainKey    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*(:[ \t\n]|:$)`)
	nestsInside = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*:[ \t]*(#.*)?\n?$`)
)

// leaveOut returns the lines with the block left out.
func (b block) leaveOut(lines []string) []string {
	const unknown = string(refused)
	out := slices.Clone(lines)
	prefix, rest := out[b.start][:b.column], out[b.start][b.column:]
	prefix = strings.ReplaceAll(prefix, "\t", " ")
	for i := b.start; i < b.end; i++ {
		out[i] = "\n"
	}
	key := plainKey.FindString(rest)
	switch {
	case b.item:
		out[b.start] = prefix + "- " + unknown + "\n"
	case key == "" && strings.Contains(rest, ":"):
		out[b.start] = prefix + unknown + ": " + unknown + "\n"
	case key == "":
		out[b.start] = prefix + unknown + "\n"
	default:
		out[b.start] = prefix + strings.TrimSpace(key) + " " + unknown + "\n"
		if b.end > b.start+1 && !nestsInside.MatchString(rest) {
			// What stood further in may have been keys beside this one.
			out[b.start+1] = strings.Repeat(" ", len(prefix)) + unknown + ": " + unknown + "\n"
		}
	}
	return out
}

// indentation is how many spaces and tabs the line begins with.
func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }

// isBlank reports whether the line holds nothing, or a comment.
func isBlank(line string) bool {
	content := strings.TrimSpace(line)
	return content == "" || content[0] == '#'
}
