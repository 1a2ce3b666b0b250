package ical_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/ingest/outlook/ical"
)

func calendar(lines ...string) string {
	return "BEGIN:VCALENDAR\r\n" + strings.Join(lines, "\r\n") + "\r\nEND:VCALENDAR\r\n"
}

// TestBroken reads lines as real writers write them.
func TestBroken(t *testing.T) {
	for _, tt := range []struct{ name, line, property, param, value string }{
		{"plain", "SUMMARY:a:b;c", "SUMMARY", "", "a:b;c"},
		{"folded", "SUMMARY:a\r\n  b\r\n\tc", "SUMMARY", "", "a bc"},
		{"folded in a character", "SUMMARY:\xc3\r\n \xa4", "SUMMARY", "", "ä"},
		{"folded without a blank", "DESCRIPTION:one\r\ntwo\\, three\r\nX-A:1", "DESCRIPTION", "", "onetwo, three"},
		{"line ends LF", "SUMMARY:a\n b", "SUMMARY", "", "ab"},
		{"line ends CR", "SUMMARY:a\r b\rX-A:1", "SUMMARY", "", "ab"},
		{"lower case", "summary;language=de:x", "SUMMARY", "LANGUAGE=de", "x"},
		{"quoted", `ATTENDEE;CN="Doe, J; x: y";ROLE=CHAIR:mailto:a@b.c`, "ATTENDEE", "CN=Doe, J; x: y", "mailto:a@b.c"},
		{"colon that is not quoted", "ATTENDEE;CN=Doe: J;ROLE=CHAIR:MAILTO:a@b.c", "ATTENDEE", "ROLE=CHAIR", "MAILTO:a@b.c"},
		{"quotation mark without another", `ORGANIZER;CN="Doe;ROLE=CHAIR:mailto:a@b.c`, "ORGANIZER", "CN=Doe", "mailto:a@b.c"},
		{"parameter without a value", "SUMMARY;X;LANGUAGE=de:x", "SUMMARY", "LANGUAGE=de", "x"},
		{"escapes of RFC 6868", "ATTENDEE;CN=^'A^' ^^:mailto:a@b.c", "ATTENDEE", `CN="A" ^`, "mailto:a@b.c"},
		{"backslash at the end", `SUMMARY:a\`, "SUMMARY", "", `a\`},
		{"path", `SUMMARY:C:\temp\file`, "SUMMARY", "", `C:\temp\file`},
		{"new lines", `SUMMARY:a\nb\Nc\;\,\\n`, "SUMMARY", "", "a\nb\nc;,\\n"},
		{"blank lines", "\r\n\r\nSUMMARY:x\r\n\r\n", "SUMMARY", "", "x"},
		{"blank before the colon", "SUMMARY :x", "SUMMARY", "", "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := ical.Parse(calendar(tt.line))
			p, ok := c.Get(tt.property)
			if !ok || p.Text() != tt.value {
				t.Errorf("%v %q, not %q; notes %q", ok, p.Text(), tt.value, c.Notes)
			}
			if name, value, _ := strings.Cut(tt.param, "="); p.Params[name] != value {
				t.Errorf("%s is %q, not %q", name, p.Params[name], value)
			}
		})
	}
}

func TestComponents(t *testing.T) {
	for _, tt := range []struct{ name, text, want, note string }{
		{"good", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nBEGIN:VALARM\nEND:VALARM\nEND:VEVENT\nBEGIN:VEVENT\nEND:VEVENT\nEND:VCALENDAR", "VCALENDAR(VEVENT(VALARM()) VEVENT())", ""},
		{"no end", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1", "VCALENDAR(VEVENT())", "no end"},
		{"end of the outer one", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR\n", "VCALENDAR(VEVENT())", "no end"},
		{"end of another", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VTODO\nEND:VEVENT\nEND:VCALENDAR", "VCALENDAR(VEVENT())", "did not begin"},
		{"text before", "Hello there\nBEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VEVENT\nEND:VCALENDAR", "VCALENDAR(VEVENT())", "no property"},
		{"lower case", "begin:vcalendar\nbegin:vevent\nend:vevent\nend:vcalendar", "VCALENDAR(VEVENT())", ""},
		{"no property", "BEGIN:VCALENDAR\n:x\nEND:VCALENDAR", "VCALENDAR()", "no property"},
		{"none", "hello", "()", "no property"},
		{"empty", "", "()", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := ical.Parse(tt.text)
			if got := shape(&c.Component); got != tt.want {
				t.Errorf("%s, not %s", got, tt.want)
			}
			if notes := strings.Join(c.Notes, "|"); !strings.Contains(notes, tt.note) || tt.note == "" && notes != "" {
				t.Errorf("notes %q, not %q", notes, tt.note)
			}
		})
	}
	if c := ical.Parse(calendar() + calendar() + calendar()); c.More != 2 {
		t.Errorf("%d more calendars", c.More)
	}
}

func shape(c *ical.Component) string {
	var in []string
	for _, sub := range c.Components {
		in = append(in, shape(sub))
	}
	return c.Name + "(" + strings.Join(in, " ") + ")"
}

func TestBounds(t *testing.T) {
	deep := ical.Parse(strings.Repeat("BEGIN:VCALENDAR\n", 100_000))
	n := 0
	for c := &deep.Component; c != nil; n++ {
		if len(c.Components) == 0 {
			break
		}
		c = c.Components[0]
	}
	if n != 15 || len(deep.Notes) > 20 {
		t.Errorf("%d deep, %d notes", n, len(deep.Notes))
	}
	many := ical.Parse("BEGIN:VCALENDAR\n" + strings.Repeat("UID:1\n", 200_000))
	if len(many.Properties) > 100_000 {
		t.Errorf("%d properties", len(many.Properties))
	}
}

func value(v string) ical.Property { return ical.Property{Value: v} }

func TestTime(t *testing.T) {
	for v, want := range map[string]string{
		"20260102T030405Z": "2026-01-02T03:04:05 utc", "20260102T030405": "2026-01-02T03:04:05", "20260102": "2026-01-02T00:00:00 date",
		"20260102t0304": "2026-01-02T03:04:00", " 20260102T030405Z ": "2026-01-02T03:04:05 utc", "2026-01-02T03:04:05": "2026-01-02T03:04:05",
		"20260102T235960Z": "2026-01-02T23:59:59 utc",
		"20260230":         "", "20261301": "", "20260102T250000": "", "20260102T": "", "": "", "x": "", "00010101": "", "2026010": "", "-2026102": "", "20260102T-10000": "",
	} {
		p, ok := value(v).Time()
		got := ""
		if ok {
			got = p.Wall.Format("2006-01-02T15:04:05")
			if p.UTC {
				got += " utc"
			}
			if p.Date {
				got += " date"
			}
		}
		if got != want {
			t.Errorf("%q is %q, not %q", v, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for v, want := range map[string]string{
		"PT15M": "15m0s", "-PT15M": "-15m0s", "P1D": "24h0m0s", "+P1W": "168h0m0s", "P1DT2H3M4S": "26h3m4s", "-P0DT0H30M0S": "-30m0s", "PT0S": "0s",
		"P": "", "": "", "15": "", "PT15": "", "P99999999999999999999W": "", "PTM": "", "P-1D": "",
	} {
		d, ok := value(v).Duration()
		if got := d.String(); ok != (want != "") || ok && got != want {
			t.Errorf("%q is %q, %v", v, got, ok)
		}
	}
}

func TestOffset(t *testing.T) {
	for v, want := range map[string]time.Duration{"+0100": time.Hour, "-0330": -210 * time.Minute, "0000": 0, "+01:00": time.Hour, "+013015": 90 * time.Minute} {
		if d, ok := value(v).Offset(); !ok || d != want {
			t.Errorf("%q is %v, %v", v, d, ok)
		}
	}
	for _, v := range []string{"", "+1", "+9900", "+0160", "x"} {
		if d, ok := value(v).Offset(); ok {
			t.Errorf("%q is %v", v, d)
		}
	}
}

func TestRule(t *testing.T) {
	r, ok := value("FREQ=monthly;INTERVAL=2;BYDAY=-1FR,2MO;COUNT=3;WKST=SU;BYSETPOS=-1;BYHOUR=9;").Rule()
	if !ok || r.Freq != "MONTHLY" || r.Interval != 2 || r.Count != 3 || r.WeekStart != time.Sunday ||
		!slices.Equal(r.ByDay, []ical.Day{{N: -1, Weekday: time.Friday}, {N: 2, Weekday: time.Monday}}) || !slices.Equal(r.BySetPos, []int{-1}) {
		t.Errorf("%+v %v", r, ok)
	}
	for _, v := range []string{"", "COUNT=1", "FREQ=DAILY;INTERVAL=0", "FREQ=DAILY;INTERVAL=-1", "FREQ=DAILY;COUNT=0", "FREQ=DAILY;COUNT=9999999999", "FREQ=DAILY;BYDAY=XX",
		"FREQ=DAILY;BYDAY=", "FREQ=DAILY;BYDAY=99MO", "FREQ=DAILY;BYMONTHDAY=0", "FREQ=DAILY;BYMONTHDAY=32", "FREQ=DAILY;FREQ=DAILY", "FREQ=DAILY;COUNT=1;UNTIL=20260101",
		"FREQ=DAILY;UNTIL=x", "FREQ", "FREQ=DAILY;BYMONTH=" + strings.Repeat("1,", 500) + "1"} {
		if r, ok := value(v).Rule(); ok {
			t.Errorf("%q is %+v", v, r)
		}
	}
}

func TestTexts(t *testing.T) {
	for v, want := range map[string][]string{`a,b`: {"a", "b"}, `a\, b,,c\`: {"a, b", `c\`}, ``: nil, `\,`: {","}} {
		if got := value(v).Texts(); !slices.Equal(got, want) {
			t.Errorf("%q is %q", v, got)
		}
	}
}

func TestAddress(t *testing.T) {
	for v, want := range map[string]string{"mailto:a@b.c": "a@b.c", "MAILTO: a@b.c": "a@b.c", "a@b.c": "a@b.c", "mailto:<a@b.c>": "a@b.c",
		"invalid:nomail": "", "http://a@b.c": "", "CN=x": "", "": "", "mailto:a b@c": ""} {
		if got := value(v).Address(); got != want {
			t.Errorf("%q is %q, not %q", v, got, want)
		}
	}
}

// FuzzParse: any text is read, and its values too.
func FuzzParse(f *testing.F) {
	f.Add(calendar("METHOD:REQUEST", "BEGIN:VEVENT", "UID:1", "DTSTART;TZID=X:20260102T030405", "RRULE:FREQ=WEEKLY;BYDAY=MO,-1TU;UNTIL=20260303", "ATTENDEE;CN=\"a:b\":mailto:a@b.c", "EXDATE:20260101,20260102T030405Z", "BEGIN:VALARM", "TRIGGER:-PT15M", "END:VALARM", "END:VEVENT"))
	f.Add("BEGIN:VCALENDAR\r x\r\n\ty\nfoo: bar\nEND")
	f.Fuzz(func(t *testing.T, text string) {
		c := ical.Parse(text)
		var walk func(c *ical.Component, depth int)
		walk = func(c *ical.Component, depth int) {
			if depth > 16 {
				t.Fatal("too deep")
			}
			for _, p := range c.Properties {
				p.Time()
				p.Times()
				p.Duration()
				p.Offset()
				p.Rule()
				p.Texts()
				p.Int()
				if a := p.Address(); strings.ContainsAny(a, " \t") {
					t.Errorf("address %q", a)
				}
				if p.Name != strings.ToUpper(p.Name) {
					t.Errorf("name %q", p.Name)
				}
			}
			for _, sub := range c.Components {
				walk(sub, depth+1)
			}
		}
		walk(&c.Component, 1)
		_ = fmt.Sprint(c.Notes)
	})
}
