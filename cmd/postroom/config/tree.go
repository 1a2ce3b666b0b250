package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxDepth is how deep lists and mappings may nest.
	maxDepth = 32
	// maxKeys is how many keys one mapping may have: the parser's time grows
	// with their square.
	maxKeys = 1000
)

type nodeKind int

const (
	nullNode nodeKind = iota
	textNode
	numberNode
	boolNode
	listNode
	mappingNode
	// unknownNode is a value that was refused before it could be read; what
	// follows from that is no error of its own.
	unknownNode
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "text", "number", "true or false", "list", "mapping", "unknown"}[k]
}

// node is a YAML value with its position.
type node struct {
	pos  Position
	kind nodeKind
	// text is a scalar as it is written, less quotes and escapes.
	text    string
	items   []*node
	entries []entry
	// open: a key of the mapping was refused before it could be read, so that
	// which keys are missing is not known. defaultsOpen: a key of its defaults
	// was.
	open, defaultsOpen bool
	// expanded is the text with its references resolved, once that was asked for.
	expanded *expansion
}

// entry is a key of a mapping with its value.
type entry struct {
	key   string
	pos   Position
	value *node
	// inherited: the entry comes from the defaults, not from the mapping itself.
	inherited bool
}

// entry returns the first entry of the key, or nil.
func (n *node) entry(key string) *entry {
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// find returns the entry at a path of keys joined by dots, or nil.
func (n *node) find(path string) *entry {
	key, rest, more := strings.Cut(path, ".")
	e := n.entry(key)
	if e == nil || !more {
		return e
	}
	return e.value.find(rest)
}

// refused stands in a text for what was refused and cannot be read, a character
// for each: a value or a key that holds it is not known.
const refused = '\ufffd'

// maxDropped is how many syntax errors are reported of a file before the rest of
// it is given up.
const maxDropped = 20

// parseTree reads the text of a file. It reports what of it is not plain YAML,
// and returns nil if the rest cannot be read either; a file that holds nothing
// but comments is a null. What has a syntax error is left out, as little as can
// be. Damaged: the text holds [refused].
func parseTree(file, text string, damaged bool, r *report) *node {
	lines := strings.SplitAfter(text, "\n")
	p := &treeParser{file: file, report: r, damaged: damaged, tabs: make(map[int]bool)}
	for dropped := 0; ; dropped++ {
		root, problem := p.parse(slices.Clone(lines))
		if root != nil && dropped > 0 && root.kind != mappingNode {
			return nil
		}
		if problem == nil {
			return root
		}
		// One at a tab is likely for that.
		if at := problem.Position.Line; !p.tabs[at] && !p.tabs[contentBefore(lines, at)] {
			r.put(problem.Problem)
		}
		if dropped == maxDropped {
			return nil
		}
		rest, ok := p.cut(lines, problem, tokenize(lines))
		if !ok {
			return nil
		}
		lines, p.damaged = rest, true
	}
}

// treeParser makes nodes of lines.
type treeParser struct {
	file    string
	report  *report
	damaged bool
	// tabs are the numbers of the lines for which a tab was reported.
	tabs map[int]bool
}

// syntaxError is a syntax error. The lexer, which reads the whole file before the
// parser does, finds its own first.
type syntaxError struct {
	Problem
	lexical bool
}

// parse returns the tree, or a syntax error; or neither if it has reported why
// there is no tree.
func (p *treeParser) parse(lines []string) (*node, *syntaxError) {
	file, r := p.file, p.report
	tokens := tokenize(lines)
	c := checker{file: file, lines: lines, report: r}
	c.check(tokens)
	if c.directive {
		removeDirectives(lines)
		tokens = tokenize(lines)
		c = checker{file: file, lines: lines, report: r}
		c.check(tokens)
	}
	if c.stopped {
		if c.syntax == nil {
			return nil, nil
		}
		return nil, &syntaxError{*c.syntax, true}
	}
	unknown := make(map[Position]bool)
	for _, tk := range c.features {
		if !remove(lines, tk, file, unknown) {
			return nil, nil
		}
	}
	for _, number := range c.tabs {
		p.tabs[number] = true
		if number <= len(lines) && !strings.ContainsAny(lines[number-1], `"'#`) {
			lines[number-1] = strings.ReplaceAll(lines[number-1], "\t", " ")
		}
	}
	if c.end > 0 {
		lines = lines[:c.end-1]
	}
	if len(c.features)+len(c.tabs) > 0 || c.end > 0 {
		tokens = tokenize(lines)
	}
	docs, err := parseTokens(tokens)
	if err != nil {
		at := Position{file, 1, 1}
		var syntax interface {
			GetToken() *token.Token
			GetMessage() string
		}
		message := err.Error()
		if errors.As(err, &syntax) {
			message = syntax.GetMessage()
			if tk := syntax.GetToken(); tk != nil && tk.Position != nil {
				at = position(file, tk)
			}
		}
		return nil, &syntaxError{Problem{at, "not valid YAML: " + explain(message, line(lines, at.Line))}, false}
	}
	b := builder{file: file, report: r, damaged: p.damaged || len(c.features) > 0, unknown: unknown}
	root := &node{pos: Position{file, 1, 1}}
	for _, doc := range docs.Docs {
		if doc.Body != nil {
			root = b.node(doc.Body)
		}
	}
	return root, nil
}

// tokenize returns the tokens of the lines. The lexer counts one column too few
// after each tag with a space behind it; that is made good.
func tokenize(lines []string) token.Tokens {
	tokens := lexer.Tokenize(strings.Join(lines, ""))
	line, shift := 0, 0
	for _, tk := range tokens {
		if tk.Position.Line != line {
			line, shift = tk.Position.Line, 0
		}
		tk.Position.Column += shift
		if tk.Type != token.TagType || line < 1 || line > len(lines) {
			continue
		}
		text := []rune(lines[line-1])
		if end := tk.Position.Column - 1 + len([]rune(tk.Value)); end < len(text) && text[end] == ' ' {
			shift++
		}
	}
	return tokens
}

// removeDirectives empties the lines of the directives that the lines begin with.
func removeDirectives(lines []string) {
	for i, line := range lines {
		if strings.HasPrefix(line, "%") {
			lines[i] = "\n"
		} else if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			return
		}
	}
}

// remove takes a tag, an anchor, an alias or a merge key out of the lines, so
// that every other character stays where it is: it leaves spaces before a value,
// and [refused] in place of one. It notes where a value stands that is not known
// without its tag, and returns false if the token is not where it says.
func remove(lines []string, tk *token.Token, file string, unknown map[Position]bool) bool {
	at := position(file, tk)
	if at.Line > len(lines) {
		return false
	}
	text := []rune(lines[at.Line-1])
	start, first := at.Column-1, []rune(tk.Value)
	if start >= len(text) || len(first) == 0 || text[start] != first[0] {
		return false
	}
	end := start
	for end < len(text) && !strings.ContainsRune(" \t\n,[]{}", text[end]) {
		end++
	}
	fill := refused
	if tk.Type == token.MergeKeyType {
		end = start + len(first)
	} else if next := following(tk, end); next != nil && tk.Type != token.AliasType {
		fill = ' '
		if tk.Type == token.TagType {
			unknown[position(file, next)] = true
		}
	}
	for i := start; i < end; i++ {
		text[i] = fill
	}
	lines[at.Line-1] = string(text)
	return true
}

// following returns the first token of the value that a tag or an anchor, which
// ends before the column with the index end, belongs to, or nil if there is none.
func following(tk *token.Token, end int) *token.Token {
	next := tk.Next
	for next != nil && (next.Type == token.CommentType || next.Position.Line == tk.Position.Line && next.Position.Column <= end) {
		next = next.Next
	}
	if next == nil {
		return nil
	}
	switch next.Type {
	case token.CollectEntryType, token.MappingEndType, token.SequenceEndType, token.TagType, token.AnchorType, token.AliasType:
		return nil
	}
	if next.Position.Line == tk.Position.Line {
		return next
	}
	// A value on a later line is further in than what it belongs to; a list may
	// be right below its key.
	outer := tk.Prev
	if outer == nil {
		return next
	}
	if outer.Type == token.MappingValueType && outer.Prev != nil {
		outer = outer.Prev
	}
	column := outer.Position.Column
	if next.Position.Column > column || next.Type == token.SequenceEntryType && outer.Type != token.SequenceEntryType && next.Position.Column == column {
		return next
	}
	return nil
}

// checker looks at the tokens of a file before they are parsed.
type checker struct {
	file   string
	lines  []string
	report *report
	// features are the tags, anchors, aliases and merge keys.
	features token.Tokens
	// tabs are lines with a tab outside quotes.
	tabs []int
	// end is the line at which a second document begins; 0 for none.
	end int
	// directive: the file begins with a directive. stopped: it cannot be parsed.
	directive, stopped bool
	// syntax is the syntax error for which it cannot be parsed, if any.
	syntax *Problem
}

// check reports the features of YAML that a configuration does without, since
// they mean something else than they look like, and what would keep the parser
// busy for long.
func (c *checker) check(tokens token.Tokens) {
	var (
		levels         nesting
		content, ended bool // something, the end of a document, was seen
		block          bool // the next token is the content of a block scalar
	)
	add := func(tk *token.Token, format string, args ...any) {
		c.report.add(position(c.file, tk), format, args...)
	}
	for _, tk := range tokens {
		if tk.Type == token.CommentType {
			continue
		}
		switch tk.Type {
		case token.TagType:
			add(tk, "YAML tag; put a value that begins with ! in quotes")
			c.features = append(c.features, tk)
		case token.AnchorType:
			add(tk, "YAML anchor; put a value that begins with & in quotes")
			c.features = append(c.features, tk)
		case token.AliasType:
			add(tk, "YAML alias; put a value that begins with * in quotes")
			c.features = append(c.features, tk)
		case token.MergeKeyType:
			add(tk, "YAML merge key; write the keys out, or use defaults")
			c.features = append(c.features, tk)
		case token.MappingKeyType:
			add(tk, "YAML complex key; write \"key: value\"")
		case token.DirectiveType:
			add(tk, "YAML directive; remove the line")
			c.directive, c.stopped = true, true
			return
		case token.DocumentHeaderType:
			if content {
				add(tk, "a second YAML document; a file holds one")
				c.end = tk.Position.Line
				return
			}
		case token.DocumentEndType:
			ended = true
			continue
		case token.SingleQuoteType, token.DoubleQuoteType:
			if c.runsAway(tk) {
				c.syntax = &Problem{position(c.file, tk), "not valid YAML: " + explain("end character of", "")}
				c.stopped = true
				return
			}
		case token.InvalidType:
			c.syntax = &Problem{position(c.file, tk), "not valid YAML: " + explain(tk.Error, "")}
			c.stopped = true
			return
		}
		if ended {
			add(tk, "a second YAML document; a file holds one")
			c.end = tk.Position.Line
			return
		}
		content = true
		if !block && strings.Contains(unquoted(tk), "\t") {
			add(tk, "tab; write spaces")
			c.tabs = append(c.tabs, tk.Position.Line)
		}
		block = tk.Type == token.LiteralType || tk.Type == token.FoldedType
		if !levels.add(tk) {
			add(tk, "too deep, or too many keys; allowed: %d levels, %d keys in one mapping", maxDepth, maxKeys)
			c.stopped = true
			return
		}
	}
}

// runsAway reports whether the quoted text goes on in a line that is not further
// in than what it belongs to, which YAML does not allow: its end is missing, and
// the one it has begins another.
func (c *checker) runsAway(tk *token.Token) bool {
	quote := `"`
	if tk.Type == token.SingleQuoteType {
		quote = "'"
	}
	start, end := strings.Index(tk.Origin, quote), strings.LastIndex(tk.Origin, quote)
	number := tk.Position.Line
	if start < 0 || number > len(c.lines) {
		return false
	}
	column := starts(c.lines[number-1])[0].column
	for n := strings.Count(tk.Origin[start:end], "\n"); n > 0 && number < len(c.lines); n-- {
		if line := c.lines[number]; strings.TrimSpace(line) != "" && indentation(line) <= column {
			return true
		}
		number++
	}
	return false
}

// unquoted returns the part of the token's source that is not quoted.
func unquoted(tk *token.Token) string {
	switch tk.Type {
	case token.SingleQuoteType:
		before, _, _ := strings.Cut(tk.Origin, "'")
		return before
	case token.DoubleQuoteType:
		before, _, _ := strings.Cut(tk.Origin, `"`)
		return before
	}
	return tk.Origin
}

// nesting follows how deep the tokens of a file nest.
type nesting struct {
	flow  int
	block []level
}

// level is a list or mapping in block style.
type level struct{ column, keys int }

// add takes the next token and reports whether the bounds are kept.
func (n *nesting) add(tk *token.Token) bool {
	switch tk.Type {
	case token.MappingStartType, token.SequenceStartType:
		n.flow++
	case token.MappingEndType, token.SequenceEndType:
		n.flow--
	case token.SequenceEntryType:
		n.enter(tk.Position.Column)
	case token.MappingValueType:
		if n.flow <= 0 && tk.Prev != nil {
			n.enter(tk.Prev.Position.Column)
			n.block[len(n.block)-1].keys++
			if n.block[len(n.block)-1].keys > maxKeys {
				return false
			}
		}
	}
	return n.flow+len(n.block) <= maxDepth
}

func (n *nesting) enter(column int) {
	for len(n.block) > 0 && n.block[len(n.block)-1].column > column {
		n.block = n.block[:len(n.block)-1]
	}
	if len(n.block) == 0 || n.block[len(n.block)-1].column < column {
		n.block = append(n.block, level{column: column})
	}
}

// parseTokens is the parser, with a panic of it as an error.
func parseTokens(tokens token.Tokens) (f *ast.File, err error) {
	defer func() {
		if recover() != nil {
			f, err = nil, errors.New("the parser cannot read it")
		}
	}()
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// explain says what a message of the lexer or parser means and what to do. The
// message itself may quote the file, and is not shown.
func explain(message, line string) string {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(message, part) })
	}
	const check = "check indentation, brackets and quotes; put a value that holds \": \" or \" #\" in quotes"
	switch {
	case has("escape"):
		return "an unknown escape; in double quotes a backslash starts an escape: use single quotes or forward slashes"
	case has("'\t'", "tab character"):
		return "a tab; indent with spaces"
	case has("reserved character"):
		return "a value begins with a reserved character; put the value in quotes"
	case has("must be specified") && strings.Contains(line, "${"):
		return "a comma or the end of a bracket is missing; inside [ ] and { } put a value that holds ${…} in quotes"
	case has("must be specified"):
		return "a comma or the end of a bracket is missing; " + check
	case has("end token", "character corresponding to"):
		return "a bracket has no other half; " + check
	case has("end character of"):
		return "a quote has no end; " + check
	case has("mapping value is not allowed", "implicit line break"):
		return "a second \": \" for one key, or one over two lines; " + check
	case has("non-map value"):
		return "a line has no \": \"; " + check
	}
	return "the line cannot be read; " + check
}

// line returns the numbered line, or none.
func line(lines []string, number int) string {
	if number > len(lines) {
		return ""
	}
	return lines[number-1]
}

func position(file string, tk *token.Token) Position {
	return Position{file, max(1, tk.Position.Line), max(1, tk.Position.Column)}
}

// builder makes nodes of the parser's.
type builder struct {
	file   string
	report *report
	// damaged: the text holds [refused].
	damaged bool
	// unknown are the places of values that are not known.
	unknown map[Position]bool
}

func (b *builder) node(n ast.Node) *node {
	at := position(b.file, n.GetToken())
	if b.unknown[at] {
		return &node{pos: at, kind: unknownNode}
	}
	scalar := func(kind nodeKind, text string) *node {
		if b.damaged && strings.ContainsRune(text, refused) {
			return &node{pos: at, kind: unknownNode}
		}
		return &node{pos: at, kind: kind, text: text}
	}
	switch n := n.(type) {
	case *ast.NullNode:
		return scalar(nullNode, "")
	case *ast.StringNode:
		return scalar(textNode, n.Value)
	case *ast.LiteralNode:
		return scalar(textNode, n.Value.Value)
	case *ast.BoolNode:
		return scalar(boolNode, n.Token.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return scalar(numberNode, n.GetToken().Value)
	case *ast.SequenceNode:
		seq := &node{pos: at, kind: listNode, items: make([]*node, len(n.Values))}
		for i, value := range n.Values {
			seq.items[i] = b.node(value)
		}
		return seq
	case *ast.MappingNode:
		m := b.mapping(n.Values)
		if n.IsFlowStyle || len(m.entries) == 0 {
			m.pos = position(b.file, n.Start)
		}
		if b.unknown[m.pos] {
			return &node{pos: m.pos, kind: unknownNode}
		}
		return m
	case *ast.MappingValueNode:
		m := b.mapping([]*ast.MappingValueNode{n})
		if b.unknown[m.pos] {
			return &node{pos: m.pos, kind: unknownNode}
		}
		return m
	}
	b.report.add(at, "not valid YAML: %s", explain("", ""))
	return &node{pos: at, kind: unknownNode}
}

func (b *builder) mapping(values []*ast.MappingValueNode) *node {
	m := &node{kind: mappingNode}
	for i, value := range values {
		tk := value.Key.GetToken()
		key, at := tk.Value, position(b.file, tk)
		if s, ok := value.Key.(*ast.StringNode); ok {
			key = s.Value
		}
		if i == 0 {
			m.pos = at
		}
		if tk.Type == token.MappingKeyType || b.damaged && strings.ContainsRune(key, refused) {
			m.open = true
			continue
		}
		e := entry{key: key, pos: at, value: b.node(value.Value)}
		if e.value.kind == nullNode {
			e.value.pos = e.pos
		}
		m.entries = append(m.entries, e)
	}
	return m
}
