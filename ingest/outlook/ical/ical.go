// Package ical reads iCalendar (RFC 5545) as it is found in mail, however broken, and
// writes it.
//
// It refuses nothing: what is no content line is passed over, and Notes say so.
package ical

import (
	"fmt"
	"strings"
)

// Component is a component: a VCALENDAR, VEVENT, VTIMEZONE, and so on.
type Component struct {
	Name       string // in upper case
	Properties []Property
	Components []*Component
}

// Property is a content line (RFC 5545 3.1).
type Property struct {
	Name   string            // in upper case
	Params map[string]string // names in upper case; several values are joined by commas
	Value  string            // as it stands, without line folds
}

// Calendar is what stands in a calendar stream.
type Calendar struct {
	Component          // the first VCALENDAR; without a name if there is none
	More      int      // further ones
	Notes     []string // what is not as it should be, for a person
}

// Bounds of what is read; the rest is passed over, with a note.
const (
	maxDepth = 16
	maxLines = 100_000
	maxNotes = 20
)

// Parse reads a calendar stream. Time and memory are linear in its length.
func Parse(text string) *Calendar {
	r := reader{}
	for line, lines := range unfold(text) {
		if lines > maxLines {
			r.note("more than %d lines: the rest is not read", maxLines)
			break
		}
		r.line(line)
	}
	for _, c := range r.open {
		r.note("%s has no end", c.Name)
	}
	c := &Calendar{}
	for i := range r.found {
		if r.found[i].Name == "VCALENDAR" {
			if c.Name == "" {
				c.Component = *r.found[i]
			} else {
				c.More++
			}
		}
	}
	c.Notes = r.notes
	return c
}

// unfold yields the content lines without their folds (RFC 5545 3.1), and their
// number in the text. A line that cannot begin a property belongs to the one
// before it: writers that fold without a blank are many.
func unfold(text string) func(yield func(string, int) bool) {
	return func(yield func(string, int) bool) {
		var line strings.Builder
		n := 0
		started, closed := false, false
		for len(text) > 0 {
			end := strings.IndexAny(text, "\r\n")
			raw, rest := text, ""
			if end >= 0 {
				raw, rest = text[:end], text[end+1:]
				if text[end] == '\r' && strings.HasPrefix(rest, "\n") {
					rest = rest[1:]
				}
			}
			text = rest
			n++
			switch {
			case started && raw != "" && (raw[0] == ' ' || raw[0] == '\t'):
				line.WriteString(raw[1:])
				continue
			case started && raw != "" && !begins(raw) && !closed:
				line.WriteString(raw)
				continue
			case strings.TrimSpace(raw) == "":
				continue
			}
			if started && !yield(line.String(), n) {
				return
			}
			started, closed = true, bracket(raw)
			line.Reset()
			line.WriteString(raw)
		}
		if started {
			yield(line.String(), n)
		}
	}
}

// bracket reports whether a line begins or ends a component: nothing continues it.
func bracket(line string) bool {
	name, _, _ := strings.Cut(line, ":")
	return strings.EqualFold(name, "BEGIN") || strings.EqualFold(name, "END")
}

// begins reports whether a line can be a property: a name in upper case, or one
// that is known, before a colon or semicolon.
func begins(line string) bool {
	i := strings.IndexAny(line, ":;")
	if i <= 0 || i > 60 {
		return false
	}
	name := line[:i]
	for j := 0; j < len(name); j++ {
		switch c := name[j]; {
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == ' ' && j == len(name)-1:
		case 'a' <= c && c <= 'z':
			return known[strings.ToUpper(name)] || strings.HasPrefix(strings.ToUpper(name), "X-")
		default:
			return false
		}
	}
	return true
}

// known has the properties of RFC 5545 that may be written in lower case.
var known = func() map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(`BEGIN END CALSCALE METHOD PRODID VERSION ATTACH CATEGORIES CLASS COMMENT DESCRIPTION GEO
		LOCATION PERCENT-COMPLETE PRIORITY RESOURCES STATUS SUMMARY COMPLETED DTEND DUE DTSTART DURATION FREEBUSY TRANSP TZID
		TZNAME TZOFFSETFROM TZOFFSETTO TZURL ATTENDEE CONTACT ORGANIZER RECURRENCE-ID RELATED-TO URL UID EXDATE RDATE RRULE
		EXRULE ACTION REPEAT TRIGGER CREATED DTSTAMP LAST-MODIFIED SEQUENCE REQUEST-STATUS`) {
		set[name] = true
	}
	return set
}()

type reader struct {
	found []*Component
	open  []*Component
	skip  int // components that are too deep
	notes []string
}

func (r *reader) note(format string, args ...any) {
	if len(r.notes) < maxNotes {
		r.notes = append(r.notes, fmt.Sprintf(format, args...))
	}
}

func (r *reader) line(line string) {
	p, ok := parseLine(line)
	if !ok {
		r.note("a line is no property: %.40q", line)
		return
	}
	name := strings.ToUpper(strings.TrimSpace(p.Value))
	switch p.Name {
	case "BEGIN":
		if len(r.open) == maxDepth {
			r.skip++
			r.note("components are nested deeper than %d", maxDepth)
			return
		}
		c := &Component{Name: name}
		if n := len(r.open); n > 0 {
			r.open[n-1].Components = append(r.open[n-1].Components, c)
		} else {
			r.found = append(r.found, c)
		}
		r.open = append(r.open, c)
	case "END":
		if r.skip > 0 {
			r.skip--
			return
		}
		for i := len(r.open) - 1; i >= 0; i-- {
			if r.open[i].Name == name {
				for _, c := range r.open[i+1:] {
					r.note("%s has no end", c.Name)
				}
				r.open = r.open[:i]
				return
			}
		}
		r.note("%.20s ends that did not begin", name)
	default:
		if n := len(r.open); n == 0 {
			r.note("%.40s is in no component", p.Name)
		} else if r.skip == 0 {
			r.open[n-1].Properties = append(r.open[n-1].Properties, p)
		}
	}
}

// parseLine reads a content line.
func parseLine(line string) (Property, bool) {
	i := strings.IndexAny(line, ":;")
	if i <= 0 {
		return Property{}, false
	}
	p := Property{Name: strings.ToUpper(strings.TrimSpace(line[:i])), Params: map[string]string{}}
	rest := line[i:]
	end := valueAt(rest, true)
	if end < 0 {
		end = valueAt(rest, false) // a quotation mark without another
	}
	if end < 0 {
		return Property{}, false
	}
	// A name in a parameter may have a colon although it is not quoted.
	if p.Name == "ATTENDEE" || p.Name == "ORGANIZER" {
		lower := strings.ToLower(rest)
		if at := strings.LastIndex(lower, ":mailto:"); at > end && !strings.HasPrefix(lower[end+1:], "mailto:") {
			end = at
		}
	}
	p.Value = rest[end+1:]
	for _, param := range splitQuoted(rest[:end], ';') {
		name, value, ok := strings.Cut(param, "=")
		name = strings.ToUpper(strings.TrimSpace(name))
		if !ok || name == "" {
			continue
		}
		if _, again := p.Params[name]; !again {
			p.Params[name] = paramValue(value)
		}
	}
	return p, true
}

// valueAt returns where the colon before the value is, -1 if there is none.
func valueAt(s string, quotes bool) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"' && quotes:
			quoted = !quoted
		case s[i] == ':' && !quoted:
			return i
		}
	}
	return -1
}

func splitQuoted(s string, sep byte) (out []string) {
	even := strings.Count(s, `"`)%2 == 0
	quoted, from := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"' && even:
			quoted = !quoted
		case s[i] == sep && !quoted:
			out = append(out, s[from:i])
			from = i + 1
		}
	}
	return append(out, s[from:])
}

// paramValue returns the value of a parameter without quotation marks, with the
// characters that RFC 6868 escapes.
func paramValue(s string) string {
	s = strings.TrimSpace(strings.ReplaceAll(s, `"`, ""))
	if !strings.Contains(s, "^") {
		return s
	}
	return strings.NewReplacer("^^", "^", "^n", "\n", "^'", `"`).Replace(s)
}

// Get returns the first property of that name that has a value, false if there is
// none.
func (c *Component) Get(name string) (Property, bool) {
	for _, p := range c.Properties {
		if p.Name == name && strings.TrimSpace(p.Value) != "" {
			return p, true
		}
	}
	return Property{}, false
}

// All returns the properties of that name.
func (c *Component) All(name string) (out []Property) {
	for _, p := range c.Properties {
		if p.Name == name {
			out = append(out, p)
		}
	}
	return out
}

// Text returns the first value of that name as text, empty if there is none.
func (c *Component) Text(name string) string {
	p, _ := c.Get(name)
	return p.Text()
}

// Word returns the first value of that name, a token in upper case.
func (c *Component) Word(name string) string {
	p, _ := c.Get(name)
	return strings.ToUpper(strings.TrimSpace(p.Value))
}

// Text returns a value of type TEXT (RFC 5545 3.3.11) without its escapes. A
// backslash before any other character stands for itself.
func (p Property) Text() string { return unescape(p.Value) }

func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			switch s[i+1] {
			case 'n', 'N':
				b.WriteByte('\n')
				i++
				continue
			case '\\', ';', ',', ':', '"':
				b.WriteByte(s[i+1])
				i++
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Texts returns the values of a list of type TEXT, such as CATEGORIES.
func (p Property) Texts() (out []string) {
	from := 0
	take := func(v string) {
		if v = strings.TrimSpace(unescape(v)); v != "" {
			out = append(out, v)
		}
	}
	for i := 0; i < len(p.Value); i++ {
		switch p.Value[i] {
		case ',':
			take(p.Value[from:i])
			from = i + 1
		case '\\':
			i++
		}
	}
	take(p.Value[from:])
	return out
}

// Address returns the address of a calendar user (RFC 5545 3.3.3) without its
// scheme; empty if it is not one of mail.
func (p Property) Address() string {
	v := strings.Trim(strings.TrimSpace(p.Value), `"<>`)
	if scheme, rest, ok := strings.Cut(v, ":"); ok {
		if !strings.EqualFold(strings.TrimSpace(scheme), "mailto") {
			return ""
		}
		v = strings.Trim(strings.TrimSpace(rest), `"<>`)
	}
	if !strings.Contains(v, "@") || strings.ContainsAny(v, " \t") {
		return ""
	}
	return v
}
