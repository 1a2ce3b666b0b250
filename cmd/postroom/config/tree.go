package config

import (
	"errors"
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
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "text", "number", "true or false", "list", "mapping"}[k]
}

// node is a YAML value with its position.
type node struct {
	pos  Position
	kind nodeKind
	// text is a scalar as it is written, less quotes and escapes.
	text    string
	items   []*node
	entries []entry
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

// parseTree reads the text of a file. It returns nil and reports why if the
// text is not plain YAML; a file that holds nothing but comments is a null.
func parseTree(file, text string, r *report) *node {
	found := len(r.problems)
	tokens := lexer.Tokenize(text)
	checkTokens(file, tokens, r)
	if len(r.problems) > found {
		return nil
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
		r.add(at, "not valid YAML: %s; %s", printable(message), hint(message, line(text, at.Line)))
		return nil
	}
	b := builder{file: file, report: r}
	root := &node{pos: Position{file, 1, 1}}
	for _, doc := range docs.Docs {
		if doc.Body != nil {
			root = b.node(doc.Body)
		}
	}
	if len(r.problems) > found {
		return nil
	}
	return root
}

// checkTokens reports what the parser would read differently from what a person
// means, and what would take it too long.
func checkTokens(file string, tokens token.Tokens, r *report) {
	var (
		levels         nesting
		content, ended bool // something, the end of a document, was seen
		block          bool // the next token is the content of a block scalar
	)
	for _, tk := range tokens {
		if tk.Type == token.CommentType {
			continue
		}
		at := position(file, tk)
		switch tk.Type {
		case token.TagType:
			r.add(at, "YAML tag %q; put a value that begins with ! in quotes", tk.Value)
		case token.AnchorType:
			r.add(at, "YAML anchor; put a value that begins with & in quotes")
		case token.AliasType:
			r.add(at, "YAML alias; put a value that begins with * in quotes")
		case token.MergeKeyType:
			r.add(at, "YAML merge key; write the keys out, or use defaults")
		case token.MappingKeyType:
			r.add(at, "YAML complex key; write \"key: value\"")
		case token.DirectiveType:
			r.add(at, "YAML directive; remove the line")
			return
		case token.DocumentHeaderType:
			if content {
				r.add(at, "a second YAML document; a file holds one")
				return
			}
		case token.DocumentEndType:
			ended = true
			continue
		case token.InvalidType:
			r.add(at, "not valid YAML: %s; %s", strings.ReplaceAll(tk.Error, "\t", `\t`), hint(tk.Error, ""))
			return
		}
		if ended {
			r.add(at, "a second YAML document; a file holds one")
			return
		}
		content = true
		if !block && strings.Contains(unquoted(tk), "\t") {
			r.add(at, "tab; write spaces")
		}
		block = tk.Type == token.LiteralType || tk.Type == token.FoldedType
		if !levels.add(tk) {
			r.add(at, "too deep, or too many keys; allowed: %d levels, %d keys in one mapping", maxDepth, maxKeys)
			return
		}
	}
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

// hint says what to do about a message of the lexer or parser.
func hint(message, line string) string {
	switch {
	case strings.Contains(message, "escape"):
		return "in double quotes a backslash starts an escape: use single quotes or forward slashes"
	case strings.Contains(message, "'\t'"):
		return "indent with spaces"
	case strings.Contains(message, "reserved character"):
		return "put the value in quotes"
	case strings.Contains(message, "must be specified") && strings.Contains(line, "${"):
		return "inside [ ] and { } put a value that holds ${…} in quotes"
	}
	return "check indentation, brackets and quotes; put a value that holds \": \" or \" #\" in quotes"
}

// line returns the numbered line of the text.
func line(text string, number int) string {
	for range number - 1 {
		_, text, _ = strings.Cut(text, "\n")
	}
	first, _, _ := strings.Cut(text, "\n")
	return first
}

func position(file string, tk *token.Token) Position {
	return Position{file, max(1, tk.Position.Line), max(1, tk.Position.Column)}
}

// builder makes nodes of the parser's.
type builder struct {
	file   string
	report *report
}

func (b *builder) node(n ast.Node) *node {
	at := position(b.file, n.GetToken())
	scalar := func(kind nodeKind, text string) *node { return &node{pos: at, kind: kind, text: text} }
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
		return m
	case *ast.MappingValueNode:
		return b.mapping([]*ast.MappingValueNode{n})
	}
	b.report.add(at, "not valid YAML: unexpected %s; check indentation, brackets and quotes", n.Type())
	return scalar(nullNode, "")
}

func (b *builder) mapping(values []*ast.MappingValueNode) *node {
	m := &node{kind: mappingNode, entries: make([]entry, len(values))}
	for i, value := range values {
		tk := value.Key.GetToken()
		key := tk.Value
		if s, ok := value.Key.(*ast.StringNode); ok {
			key = s.Value
		}
		m.entries[i] = entry{key: key, pos: position(b.file, tk), value: b.node(value.Value)}
		if m.entries[i].value.kind == nullNode {
			m.entries[i].value.pos = m.entries[i].pos
		}
	}
	if len(m.entries) > 0 {
		m.pos = m.entries[0].pos
	}
	return m
}
