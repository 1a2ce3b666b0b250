package graphtest

import (
	"regexp"
	"strings"
	"time"
)

// filter reports whether an entity, as JSON has it, is to be listed.
type filter func(entity map[string]any) bool

var (
	filterToken = regexp.MustCompile(`^\s*(\(|\)|'(?:[^']|'')*'|[^\s()',]+|,)`)
	onlyDates   = regexp.MustCompile(`^\s*receivedDateTime\s+(ge|gt)\s+\S+\s*$`)
)

// deltaFilter reports whether a delta takes the filter.
func deltaFilter(text string) bool { return onlyDates.MatchString(text) }

// parseFilter reads comparisons that are joined by and, or, not and parentheses,
// and startswith and contains.
func (m *model) parseFilter(typ, text string) (filter, *problem) {
	p := &filterParser{model: m, typ: typ}
	for rest := text; strings.TrimSpace(rest) != ""; {
		at := filterToken.FindStringSubmatchIndex(rest)
		if at == nil {
			return nil, badRequest("Invalid filter clause: syntax error in '%s'.", text)
		}
		p.tokens = append(p.tokens, rest[at[2]:at[3]])
		rest = rest[at[1]:]
	}
	f := p.or()
	if p.problem == nil && p.at < len(p.tokens) || f == nil && p.problem == nil {
		p.problem = badRequest("Invalid filter clause: syntax error in '%s'.", text)
	}
	return f, p.problem
}

type filterParser struct {
	model   *model
	typ     string
	tokens  []string
	at      int
	problem *problem
}

func (p *filterParser) next() string {
	if p.at >= len(p.tokens) {
		return ""
	}
	p.at++
	return p.tokens[p.at-1]
}

func (p *filterParser) take(token string) bool {
	if p.at < len(p.tokens) && p.tokens[p.at] == token {
		p.at++
		return true
	}
	return false
}

func (p *filterParser) fail(format string, args ...any) filter {
	if p.problem == nil {
		p.problem = badRequest("Invalid filter clause: "+format, args...)
	}
	return func(map[string]any) bool { return false }
}

func (p *filterParser) or() filter {
	f := p.and()
	for p.take("or") {
		left, right := f, p.and()
		f = func(e map[string]any) bool { return left(e) || right(e) }
	}
	return f
}

func (p *filterParser) and() filter {
	f := p.term()
	for p.take("and") {
		left, right := f, p.term()
		f = func(e map[string]any) bool { return left(e) && right(e) }
	}
	return f
}

func (p *filterParser) term() filter {
	switch {
	case p.take("not"):
		f := p.term()
		return func(e map[string]any) bool { return !f(e) }
	case p.take("("):
		f := p.or()
		if !p.take(")") {
			return p.fail("')' expected")
		}
		return f
	}
	name := p.next()
	if (name == "startswith" || name == "contains") && p.take("(") {
		property := p.property(p.next())
		comma, literal, closed := p.take(","), p.next(), p.take(")")
		want, ok := literalOf(literal).(string)
		if !comma || !closed || !ok {
			return p.fail("syntax error in %s", name)
		}
		return func(e map[string]any) bool {
			text, _ := property(e).(string)
			if name == "contains" {
				return strings.Contains(strings.ToLower(text), strings.ToLower(want))
			}
			return len(text) >= len(want) && strings.EqualFold(text[:len(want)], want)
		}
	}
	property := p.property(name)
	operator, literal := p.next(), p.next()
	if literal == "" {
		return p.fail("'%s' is not compared with anything", name)
	}
	want := literalOf(literal)
	if want == nil && literal != "null" {
		return p.fail("'%s' is no literal", literal)
	}
	switch operator {
	case "eq", "ne", "lt", "le", "gt", "ge":
	default:
		return p.fail("'%s' is no operator", operator)
	}
	return func(e map[string]any) bool {
		got := property(e)
		order, comparable := compare(got, want)
		if !comparable {
			return operator == "ne"
		}
		switch operator {
		case "eq":
			return order == 0
		case "ne":
			return order != 0
		case "lt":
			return order < 0
		case "le":
			return order <= 0
		case "gt":
			return order > 0
		default:
			return order >= 0
		}
	}
}

// property returns how the property at the path is had from an entity.
func (p *filterParser) property(path string) func(map[string]any) any {
	if problem := p.model.checkProperty(p.typ, path); problem != nil && p.problem == nil {
		p.problem = problem
	}
	return func(e map[string]any) any {
		var value any = e
		for step := range strings.SplitSeq(path, "/") {
			m, ok := value.(map[string]any)
			if !ok {
				return nil
			}
			value = m[step]
			if lazy, ok := value.(func() any); ok {
				value = lazy()
			}
		}
		return value
	}
}

// literalOf is the value of an OData literal; nil if it is none, or null.
func literalOf(text string) any {
	switch {
	case text == "true":
		return true
	case text == "false":
		return false
	case len(text) > 1 && text[0] == '\'':
		return strings.ReplaceAll(text[1:len(text)-1], "''", "'")
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	return nil
}

func compare(got, want any) (order int, comparable bool) {
	switch want := want.(type) {
	case nil:
		if got == nil {
			return 0, true
		}
	case bool:
		if got, ok := got.(bool); ok {
			if got == want {
				return 0, true
			}
			return 1, true
		}
	case string:
		if got, ok := got.(string); ok {
			return strings.Compare(strings.ToLower(got), strings.ToLower(want)), true
		}
	case time.Time:
		if text, ok := got.(string); ok {
			if got, err := time.Parse(time.RFC3339Nano, text); err == nil {
				return got.Compare(want), true
			}
		}
	}
	return 0, false
}
