// Package yamledit changes a few keys of a YAML file and leaves every other byte
// as it was: comments, blank lines, order, indentation, quotes, line ends and a
// byte order mark.
//
// A [Text] is read with [Parse]; changes of its mappings are collected, and
// [Text.Bytes] returns the file with them. Where things stand is known from the
// tokens of a YAML library. What such a library says of a file is not relied upon:
// whoever edits reads the result again and compares what it means.
//
// Understood are mappings in block and in flow style, without tags, anchors,
// aliases, directives and complex keys, in a file of one document.
package yamledit

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// ErrLayout is the error of a file that is laid out in a way that cannot be
// edited. It is wrapped with a line.
var ErrLayout = errors.New("the layout of the file cannot be edited")

const mark = "\ufeff"

// Text is a YAML file and what is to be changed of it.
type Text struct {
	data []byte
	// lines are the offsets of the lines, of which the first begins after a byte
	// order mark.
	lines   []int
	tokens  []place
	changes []change
}

// place is a token with where it is: the offset of its first byte, its line and
// column, which count from 1, in characters. The positions of the library are not
// right after white space at the end of a line.
type place struct {
	*token.Token
	at, line, column int
}

// change puts text in the place of the bytes from start to end. Shown is the text as
// a diff shows it.
type change struct {
	start, end  int
	text, shown string
}

// Parse reads a file in UTF-8, with the line ends LF or CR LF. Errors wrap
// [ErrLayout].
func Parse(data []byte) (t *Text, err error) {
	t = &Text{data: data}
	begin := 0
	if bytes.HasPrefix(data, []byte(mark)) {
		begin = len(mark)
	}
	t.lines = []int{begin}
	for i := begin; i < len(data); i++ {
		if data[i] == '\n' {
			t.lines = append(t.lines, i+1)
		}
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrLayout)
	}
	defer func() {
		if recover() != nil { // of the lexer
			t, err = nil, fmt.Errorf("%w: it cannot be read", ErrLayout)
		}
	}()
	text := strings.ReplaceAll(string(data[begin:]), "\r\n", "\n")
	at := begin
	for _, tk := range lexer.Tokenize(text) {
		switch tk.Type {
		case token.InvalidType, token.TagType, token.AnchorType, token.AliasType, token.MergeKeyType, token.MappingKeyType, token.DirectiveType:
			return nil, fmt.Errorf("%w: line %d", ErrLayout, tk.Position.Line)
		}
		start, end, ok := find(data, at, tk.Origin)
		if !ok {
			return nil, fmt.Errorf("%w: line %d", ErrLayout, tk.Position.Line)
		}
		line := t.line(start)
		t.tokens = append(t.tokens, place{tk, start, line + 1, utf8.RuneCount(data[t.lines[line]:start]) + 1})
		at = end
	}
	if len(bytes.TrimSpace(data[at:])) > 0 {
		return nil, fmt.Errorf("%w: line %d", ErrLayout, t.line(at)+1)
	}
	return t, nil
}

// find returns where the source of a token is, without white space around it, if it
// comes next; its line ends are LF.
func find(data []byte, at int, origin string) (start, end int, ok bool) {
	for at < len(data) && isSpace(data[at]) {
		at++
	}
	start = at
	for _, c := range []byte(strings.Trim(origin, " \t\r\n")) {
		if c == '\n' && bytes.HasPrefix(data[at:], []byte("\r\n")) {
			at++
		}
		if at == len(data) || data[at] != c {
			return 0, 0, false
		}
		at++
	}
	return start, at, true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// afterIndicator reports whether the token is the contents of a block scalar.
func afterIndicator(tk *token.Token) bool {
	prev := tk.Prev
	if tk.Type == token.CommentType {
		return false
	}
	for prev != nil && prev.Type == token.CommentType {
		prev = prev.Prev
	}
	return prev != nil && (prev.Type == token.LiteralType || prev.Type == token.FoldedType)
}

// line returns the index of the line that the offset is in.
func (t *Text) line(at int) int {
	i, found := slices.BinarySearch(t.lines, at)
	if !found {
		i--
	}
	return max(i, 0)
}

// lineStart and lineEnd are the offsets of a line by its index: of its first byte,
// and behind the last before its line end.
func (t *Text) lineStart(i int) int { return t.lines[i] }

func (t *Text) lineEnd(i int) int {
	end := len(t.data)
	if i+1 < len(t.lines) {
		end = t.lines[i+1] - 1
	}
	if end > t.lines[i] && t.data[end-1] == '\r' && i+1 < len(t.lines) {
		end--
	}
	return end
}

// next is where the line after that of the index begins.
func (t *Text) next(i int) int {
	if i+1 < len(t.lines) {
		return t.lines[i+1]
	}
	return len(t.data)
}

// content is a line without white space around it.
func (t *Text) content(i int) string {
	return strings.TrimSpace(string(t.data[t.lineStart(i):t.lineEnd(i)]))
}

// newline is the line end of the line of the index, or else of the file.
func (t *Text) newline(i int) string {
	for _, line := range []int{i, i - 1, 0} {
		if line < 0 || line+1 >= len(t.lines) {
			continue
		}
		if end := t.lines[line+1]; end >= 2 && t.data[end-2] == '\r' {
			return "\r\n"
		}
		return "\n"
	}
	return "\n"
}

// end returns the offset behind the token of the index: that of the next one,
// without the white space before it.
func (t *Text) end(i int) int {
	next := len(t.data)
	if i+1 < len(t.tokens) {
		next = t.tokens[i+1].at
	}
	return t.tokens[i].at + len(bytes.TrimRight(t.data[t.tokens[i].at:next], " \t\r\n"))
}

// change notes a change.
func (t *Text) change(start, end int, text string) {
	t.changes = append(t.changes, change{start, end, text, text})
}

// Bytes returns the file with the changes. The error wraps [ErrLayout] if two of
// them are about the same bytes, which both may remove.
func (t *Text) Bytes() ([]byte, error) {
	changes := slices.Clone(t.changes)
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end)) })
	var out []byte
	at := 0
	for _, c := range changes {
		if c.text == "" && c.start < at { // removed twice
			c.start, c.end = at, max(at, c.end)
		}
		if c.start < at {
			return nil, fmt.Errorf("%w: two changes in line %d", ErrLayout, t.line(c.start)+1)
		}
		out = append(append(out, t.data[at:c.start]...), c.text...)
		at = c.end
	}
	return append(out, t.data[at:]...), nil
}

// Mapping is a mapping of a file.
type Mapping struct {
	text *Text
	flow bool
	// json: its keys are in double quotes, and it may be JSON.
	json bool
	// column is that of the keys in block style.
	column  int
	entries []entry
}

// entry is a key with its value.
type entry struct {
	key string
	// start is the offset of the key; value and end are those of its value.
	start, value, end int
	// first is the index of the first token of the value, if there is one.
	first   int
	removed bool
}

// Root returns the mapping that the file holds.
func (t *Text) Root() (*Mapping, error) {
	for i, tk := range t.tokens {
		if tk.Type != token.CommentType && tk.Type != token.DocumentHeaderType {
			return t.mapping(i)
		}
	}
	return nil, fmt.Errorf("%w: it holds nothing", ErrLayout)
}

// Mapping returns the mapping of which the first key, or the brace, stands at a
// line and column, as the library has them.
func (t *Text) Mapping(line, column int) (*Mapping, error) {
	i := slices.IndexFunc(t.tokens, func(p place) bool {
		return p.Position.Line == line && p.Position.Column == column && p.Type != token.CommentType
	})
	if i < 0 {
		return nil, fmt.Errorf("%w: no mapping at line %d", ErrLayout, line)
	}
	return t.mapping(i)
}

func (t *Text) mapping(begin int) (*Mapping, error) {
	m := &Mapping{text: t, column: t.tokens[begin].column, json: t.isJSON(begin)}
	var err error
	if t.tokens[begin].Type == token.MappingStartType {
		m.flow = true
		err = m.readFlow(begin)
	} else {
		err = m.readBlock(begin)
	}
	if err != nil {
		return nil, err
	}
	if len(m.entries) == 0 {
		return nil, fmt.Errorf("%w: no key at line %d", ErrLayout, t.tokens[begin].line)
	}
	return m, nil
}

// readBlock reads the entries of a mapping in block style.
func (m *Mapping) readBlock(begin int) error {
	t := m.text
	depth, last := 0, -1
	for i := begin; i < len(t.tokens); i++ {
		tk := t.tokens[i]
		if tk.Type == token.CommentType {
			continue
		}
		contents := afterIndicator(tk.Token)
		if depth == 0 && !contents {
			if tk.Type == token.DocumentEndType || tk.Type == token.DocumentHeaderType || tk.column < m.column && tk.line > t.tokens[begin].line {
				break
			}
			if tk.column == m.column && t.isKey(i) {
				m.finish(last)
				m.entries = append(m.entries, entry{key: tk.Value, start: tk.at, first: -1})
				i++ // the colon
				last = i
				continue
			}
			if len(m.entries) == 0 {
				return fmt.Errorf("%w: no key at line %d", ErrLayout, tk.line)
			}
		}
		if !contents {
			depth += nests(tk.Token)
		}
		if e := &m.entries[len(m.entries)-1]; e.first < 0 {
			e.first = i
		}
		last = i
	}
	m.finish(last)
	return nil
}

// readFlow reads the entries of a mapping in flow style.
func (m *Mapping) readFlow(begin int) error {
	t := m.text
	depth, last := 0, -1
	open := true // a key may come
	for i := begin + 1; i < len(t.tokens); i++ {
		tk := t.tokens[i]
		if tk.Type == token.CommentType {
			continue
		}
		if depth == 0 {
			switch {
			case tk.Type == token.MappingEndType:
				m.finish(last)
				return nil
			case tk.Type == token.CollectEntryType:
				m.finish(last)
				open, last = true, -1
				continue
			case open:
				if !t.isKey(i) {
					return fmt.Errorf("%w: line %d", ErrLayout, tk.line)
				}
				m.entries = append(m.entries, entry{key: tk.Value, start: tk.at, first: -1})
				open = false
				i++ // the colon
				last = i
				continue
			}
		}
		depth += nests(tk.Token)
		if e := &m.entries[len(m.entries)-1]; e.first < 0 {
			e.first = i
		}
		last = i
	}
	return fmt.Errorf("%w: a brace has no end", ErrLayout)
}

// isKey reports whether the token of the index is a key.
func (t *Text) isKey(i int) bool {
	switch t.tokens[i].Type {
	case token.SequenceEntryType, token.MappingStartType, token.SequenceStartType, token.MappingEndType, token.SequenceEndType, token.CollectEntryType, token.MappingValueType:
		return false
	}
	return i+1 < len(t.tokens) && t.tokens[i+1].Type == token.MappingValueType && t.tokens[i+1].line == t.tokens[i].line
}

func nests(tk *token.Token) int {
	switch tk.Type {
	case token.MappingStartType, token.SequenceStartType:
		return 1
	case token.MappingEndType, token.SequenceEndType:
		return -1
	}
	return 0
}

// finish notes where the last entry ends: behind the token of the index.
func (m *Mapping) finish(last int) {
	if len(m.entries) == 0 || last < 0 {
		return
	}
	e := &m.entries[len(m.entries)-1]
	e.end = m.text.end(last)
	e.value = e.end
	if e.first >= 0 {
		e.value = m.text.tokens[e.first].at
	}
}

func (m *Mapping) find(key string) int {
	return slices.IndexFunc(m.entries, func(e entry) bool { return e.key == key && !e.removed })
}

// Has reports whether the mapping has the key.
func (m *Mapping) Has(key string) bool { return m.find(key) >= 0 }

// Keys returns the keys in their order.
func (m *Mapping) Keys() []string {
	var keys []string
	for _, e := range m.entries {
		if !e.removed {
			keys = append(keys, e.key)
		}
	}
	return keys
}

// Set gives a key another value, written in YAML on one line. The present one is a
// scalar, or nothing.
func (m *Mapping) Set(key, value string) error {
	i := m.find(key)
	if i < 0 {
		return fmt.Errorf("%w: no key %s", ErrLayout, key)
	}
	e := m.entries[i]
	value = written(value, m.json)
	if e.first < 0 {
		m.text.change(e.end, e.end, " "+value)
		return nil
	}
	if !scalar(m.text.tokens[e.first].Token) {
		return fmt.Errorf("%w: line %d", ErrLayout, m.text.line(e.value)+1)
	}
	m.text.change(e.value, e.end, value)
	return nil
}

// SetItem gives an item of the list that is the value of a key another value,
// written in YAML on one line. The present one is a scalar; items count from 0.
func (m *Mapping) SetItem(key string, item int, value string) error {
	i := m.find(key)
	if i < 0 || m.entries[i].first < 0 {
		return fmt.Errorf("%w: no list %s", ErrLayout, key)
	}
	t, e := m.text, m.entries[i]
	first := t.tokens[e.first]
	n := -1
	next := first.Type == token.SequenceStartType // an item comes
	if next {
		n = 0
	}
	for at := e.first; at < len(t.tokens) && t.tokens[at].at < e.end; at++ {
		tk := t.tokens[at]
		switch tk.Type {
		case token.CommentType:
			continue
		case token.SequenceEntryType, token.CollectEntryType:
			n, next = n+1, true
			continue
		case token.SequenceStartType:
			if at == e.first {
				continue
			}
		}
		if n == item && next && scalar(tk.Token) {
			t.change(tk.at, t.end(at), written(value, m.json))
			return nil
		}
		next = false
	}
	return fmt.Errorf("%w: line %d: no item %d", ErrLayout, first.line, item)
}

// scalar reports whether a value that begins with the token is one.
func scalar(tk *token.Token) bool {
	switch tk.Type {
	case token.SequenceStartType, token.SequenceEntryType, token.MappingStartType, token.LiteralType, token.FoldedType:
		return false
	}
	return tk.Next == nil || tk.Next.Type != token.MappingValueType
}

// Insert adds a key after one that is there, with a value written in YAML on one
// line.
func (m *Mapping) Insert(after, key, value string) error {
	i := m.find(after)
	if i < 0 {
		return fmt.Errorf("%w: no key %s", ErrLayout, after)
	}
	t, end := m.text, m.entries[i].end
	if m.flow {
		t.change(end, end, ", "+written(key, m.json)+": "+written(value, m.json))
		return nil
	}
	line := t.line(max(end-1, m.entries[i].start))
	at := t.lineEnd(line)
	t.change(at, at, t.newline(line)+strings.Repeat(" ", m.column-1)+key+": "+value)
	return nil
}

// Remove removes keys with their values and what stands behind these on the same
// line. A comment above a key goes with it if it has nothing else to be about: down
// to the next blank line or comment no key is left.
func (m *Mapping) Remove(keys ...string) error {
	for _, key := range keys {
		if i := m.find(key); i >= 0 {
			m.entries[i].removed = true
		}
	}
	if !slices.ContainsFunc(m.entries, func(e entry) bool { return !e.removed }) {
		return fmt.Errorf("%w: no key would be left", ErrLayout)
	}
	if m.flow {
		return m.removeFlow(keys)
	}
	return m.removeBlock(keys)
}

func (m *Mapping) removeFlow(keys []string) error {
	t := m.text
	// comma is the offset behind the comma after an offset, or -1 if none follows.
	comma := func(at int) int {
		next := slices.IndexFunc(t.tokens, func(p place) bool { return p.at >= at && p.Type != token.CommentType })
		if t.tokens[next].Type != token.CollectEntryType {
			return -1
		}
		return t.tokens[next].at + 1
	}
	trailing := comma(m.entries[len(m.entries)-1].end) >= 0
	for i, e := range m.entries {
		if !e.removed || !slices.Contains(keys, e.key) {
			continue
		}
		left := slices.ContainsFunc(m.entries[i+1:], func(e entry) bool { return !e.removed })
		if left || i == 0 {
			// With the comma behind it.
			t.change(e.start, m.entries[i+1].start, m.between(e.end, m.entries[i+1].start))
			continue
		}
		begin := e.start
		before := m.entries[i-1]
		if gap := t.data[before.end:e.start]; bytes.IndexByte(gap, '#') < 0 {
			begin = before.end + len(bytes.TrimRight(gap, " \t\r\n"))
		}
		if trailing {
			t.change(begin, comma(e.end), "")
			continue
		}
		// With the comma before it.
		behind := comma(before.end)
		t.change(behind-1, behind, "")
		t.change(begin, e.end, "")
	}
	return nil
}

// between returns the comments between two entries of a mapping in flow style
// that are not on the line of the first; else nothing.
func (m *Mapping) between(from, to int) string {
	_, text, _ := strings.Cut(string(m.text.data[from:to]), "\n")
	if i := strings.IndexByte(text, '#'); i >= 0 {
		return text[i:]
	}
	return ""
}

func (m *Mapping) removeBlock(keys []string) error {
	t := m.text
	lines := func(e entry) (first, last int) { return t.line(e.start), t.line(max(e.end-1, e.start)) }
	for i, e := range m.entries {
		if !e.removed || !slices.Contains(keys, e.key) {
			continue
		}
		first, last := lines(e)
		if i == 0 {
			m.removeFirst()
			continue
		}
		if strings.TrimLeft(string(t.data[t.lineStart(first):e.start]), " ") != "" {
			return fmt.Errorf("%w: line %d", ErrLayout, first+1)
		}
		_, above := lines(m.entries[i-1])
		comments := first
		for comments-1 > above && strings.HasPrefix(t.content(comments-1), "#") {
			comments--
		}
		all := true
		for n, below := i, last; n < len(m.entries); n++ {
			from, to := lines(m.entries[n])
			if n > i && from != below+1 {
				break
			}
			all, below = all && m.entries[n].removed, to
		}
		if !all {
			comments = first
		}
		start := t.lineStart(comments)
		end := t.next(last)
		if end == len(t.data) && t.lineEnd(last) == end && comments > 0 {
			// The file has no line end at its end, and gets none.
			start = t.lineEnd(comments - 1)
		}
		t.change(start, end, "")
	}
	return nil
}

// removeFirst removes the first entry, which may stand behind a dash: the next one
// that is left takes its place.
func (m *Mapping) removeFirst() {
	t, e := m.text, m.entries[0]
	kept := m.entries[1+slices.IndexFunc(m.entries[1:], func(e entry) bool { return !e.removed })]
	line, last := t.line(e.start), t.line(max(e.end-1, e.start))
	below := m.entries[1]
	if t.line(below.start) == last+1 && !below.removed {
		t.change(e.start, kept.start, "")
		return
	}
	// Other lines are between.
	if len(bytes.TrimSpace(t.data[t.lineStart(line):e.start])) == 0 {
		t.change(t.lineStart(line), t.next(last), "")
		return
	}
	t.change(e.start, t.lineEnd(last), "")
}

// AppendTo adds an item to the list that is the value of a key, with keys and
// their values written in YAML, each on one line. The list may be empty.
func (m *Mapping) AppendTo(key string, item []Pair) error {
	i := m.find(key)
	if i < 0 || m.entries[i].first < 0 {
		return fmt.Errorf("%w: no list %s", ErrLayout, key)
	}
	t, e := m.text, m.entries[i]
	first := t.tokens[e.first]
	switch first.Type {
	case token.SequenceStartType:
		last := t.index(e.end-1) - 1
		for t.tokens[last].Type == token.CommentType {
			last--
		}
		at, text := t.end(last), flowItem(item, m.json || t.isJSON(e.first+1))
		switch {
		case last == e.first:
		case t.tokens[last].Type == token.CollectEntryType:
			text = " " + text
		default:
			text = ", " + text
		}
		t.change(at, at, text)
		return nil
	case token.SequenceEntryType:
		line := t.line(max(e.end-1, e.start))
		indent, pad := strings.Repeat(" ", first.column-1), " "
		if second := t.tokens[min(e.first+1, len(t.tokens)-1)]; second.line == first.line && second.Type != token.CommentType {
			pad = strings.Repeat(" ", second.column-first.column-1)
		}
		t.change(t.lineEnd(line), t.lineEnd(line), t.newline(line)+blockItem(item, indent, pad, t.newline(line)))
		return nil
	}
	return fmt.Errorf("%w: no list %s", ErrLayout, key)
}

// index returns that of the token at the offset.
func (t *Text) index(at int) int {
	return slices.IndexFunc(t.tokens, func(p place) bool { return p.at == at })
}

// isJSON reports whether the token of the index begins a mapping in flow style whose
// first key is in double quotes.
func (t *Text) isJSON(i int) bool {
	return i+1 < len(t.tokens) && t.tokens[i].Type == token.MappingStartType && t.tokens[i+1].Type == token.DoubleQuoteType
}

// written returns a string that is written in YAML as it is, or in JSON.
func written(value string, json bool) string {
	tokens := lexer.Tokenize(value)
	if !json || len(tokens) != 1 || tokens[0].Type == token.DoubleQuoteType {
		return value
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range tokens[0].Value {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// Pair is a key with its value, written in YAML.
type Pair struct{ Key, Value string }

func flowItem(item []Pair, json bool) string {
	parts := make([]string, len(item))
	for i, p := range item {
		parts[i] = written(p.Key, json) + ": " + written(p.Value, json)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func blockItem(item []Pair, indent, pad, newline string) string {
	lines := make([]string, len(item))
	for i, p := range item {
		lead := indent + " " + strings.Repeat(" ", len(pad))
		if i == 0 {
			lead = indent + "-" + pad
		}
		lines[i] = lead + p.Key + ": " + p.Value
	}
	return strings.Join(lines, newline)
}

// InsertList adds a key before another one, with a list of one item. In block style
// it stands above the comments of the other key, and a blank line between.
func (m *Mapping) InsertList(before, key string, item []Pair) error {
	i := m.find(before)
	if i < 0 {
		return fmt.Errorf("%w: no key %s", ErrLayout, before)
	}
	t, e := m.text, m.entries[i]
	if m.flow {
		t.change(e.start, e.start, written(key, m.json)+": ["+flowItem(item, m.json)+"], ")
		return nil
	}
	line := t.line(e.start)
	if t.lineStart(line) != e.start {
		return fmt.Errorf("%w: line %d", ErrLayout, line+1)
	}
	top := line
	for top > 0 && strings.HasPrefix(t.content(top-1), "#") {
		top--
	}
	if top == 0 {
		top = line // that is the head of the file
	}
	nl := t.newline(line)
	t.change(t.lineStart(top), t.lineStart(top), key+":"+nl+blockItem(item, "  ", " ", nl)+nl+nl)
	return nil
}

// span is from the first key to the end of the line of the last value; in flow style
// from brace to brace.
func (m *Mapping) span() (start, end int) {
	t, last := m.text, m.entries[len(m.entries)-1]
	start, end = m.entries[0].start, last.end
	if m.flow {
		i := slices.IndexFunc(t.tokens, func(p place) bool { return p.at == start })
		for t.tokens[i].Type != token.MappingStartType {
			i--
		}
		start = t.tokens[i].at
		for i = t.index(last.start); t.tokens[i].at < end || t.tokens[i].Type != token.MappingEndType; {
			i++
		}
		return start, t.tokens[i].at + 1
	}
	return start, t.lineEnd(t.line(max(end-1, start)))
}

// Replace puts a mapping of a file in the same layout in the place of the one at a
// line and column. A diff shows what [Mapping.Shown] returns of it.
func (t *Text) Replace(line, column int, by *Mapping, hide func(key, text string) bool) error {
	m, err := t.Mapping(line, column)
	if err != nil {
		return err
	}
	start, end := m.span()
	from, to := by.span()
	t.changes = append(t.changes, change{start, end, string(by.text.data[from:to]), by.text.render(from, to, by.Shown(hide))})
	return nil
}
