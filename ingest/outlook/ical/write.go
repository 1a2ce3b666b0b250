package ical

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Add adds a property with a value as it is to stand, and with parameters: names and
// values in turns. Without a value there is none.
func (c *Component) Add(name, value string, params ...string) {
	if value == "" {
		return
	}
	p := Property{Name: name, Value: value, Params: map[string]string{}}
	for i := 0; i+1 < len(params); i += 2 {
		if params[i+1] != "" {
			p.Params[params[i]] = params[i+1]
		}
	}
	c.Properties = append(c.Properties, p)
}

// AddText adds a property of type TEXT (RFC 5545 3.3.11), unless the text is empty.
func (c *Component) AddText(name, text string) { c.Add(name, escape(text)) }

// AddTexts adds a list of type TEXT.
func (c *Component) AddTexts(name string, texts []string) {
	var list []string
	for _, t := range texts {
		list = append(list, escape(t))
	}
	c.Add(name, strings.Join(list, ","))
}

// AddTime adds a DATE or DATE-TIME.
func (c *Component) AddTime(name string, t Time) {
	kind := ""
	if t.Date {
		kind = "DATE"
	}
	zone := t.Zone
	if t.UTC || t.Date {
		zone = ""
	}
	c.Add(name, t.String(), "VALUE", kind, "TZID", zone)
}

// String returns the value without its zone.
func (t Time) String() string {
	switch {
	case t.Date:
		return t.Wall.Format("20060102")
	case t.UTC:
		return t.Wall.Format("20060102T150405Z")
	}
	return t.Wall.Format("20060102T150405")
}

// UTC returns a time in UTC, to the second.
func UTC(t time.Time) Time { return Time{Wall: t.UTC(), UTC: true} }

var escapes = strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\r\n", `\n`, "\n", `\n`, "\r", `\n`)

func escape(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7F {
			return -1
		}
		return r
	}, escapes.Replace(strings.ToValidUTF8(text, "\uFFFD")))
}

// String returns the component as content lines of at most 75 bytes (RFC 5545 3.1).
func (c *Component) String() string {
	var b strings.Builder
	c.write(&b)
	return b.String()
}

func (c *Component) write(b *strings.Builder) {
	fold(b, "BEGIN:"+c.Name)
	for _, p := range c.Properties {
		line := p.Name
		for _, name := range slices.Sorted(maps.Keys(p.Params)) {
			line += ";" + name + "=" + quoteParam(p.Params[name])
		}
		fold(b, line+":"+p.Value)
	}
	for _, sub := range c.Components {
		sub.write(b)
	}
	fold(b, "END:"+c.Name)
}

// quoteParam returns the value of a parameter, with what may not stand in one as
// RFC 6868 has it.
func quoteParam(s string) string {
	s = strings.NewReplacer("^", "^^", `"`, "^'", "\r\n", "^n", "\n", "^n").Replace(strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7F {
			return -1
		}
		return r
	}, s)
	if strings.ContainsAny(s, ":;,") {
		return `"` + s + `"`
	}
	return s
}

func fold(b *strings.Builder, line string) {
	const most = 75
	room := most
	for len(line) > room {
		n := room
		for !utf8.RuneStart(line[n]) {
			n--
		}
		b.WriteString(line[:n] + "\r\n ")
		line, room = line[n:], most-1
	}
	b.WriteString(line + "\r\n")
}
