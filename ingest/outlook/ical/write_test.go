package ical

import (
	"strings"
	"testing"
	"time"
)

// TestWrite: what is written is read as it was, in lines of at most 75 bytes.
func TestWrite(t *testing.T) {
	event := &Component{Name: "VEVENT"}
	long := strings.Repeat("Größe; a, b\\n\r\n\"€😀\t", 50)
	event.AddText("SUMMARY", long)
	event.AddText("LOCATION", "")
	event.AddTexts("CATEGORIES", []string{"a,b", "c;d", `e\`})
	event.Add("ATTENDEE", "mailto:a@example.com", "CN", "Müller: \"x\" ^ "+strings.Repeat("y", 80), "RSVP", "", "ROLE", "CHAIR")
	event.AddTime("DTSTART", Time{Wall: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Zone: "Europe/Berlin"})
	event.AddTime("DTEND", UTC(time.Date(2026, 3, 4, 7, 6, 7, 0, time.UTC)))
	event.AddTime("RECURRENCE-ID", Time{Wall: time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC), Date: true})
	text := (&Component{Name: "VCALENDAR", Components: []*Component{event}}).String()
	for line := range strings.SplitSeq(text, "\r\n") {
		if len(line) > 75 || strings.ContainsAny(line, "\r\n") {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
	}
	c := Parse(text)
	if len(c.Notes) > 0 || c.Name != "VCALENDAR" || len(c.Components) != 1 {
		t.Fatal(c.Notes, text)
	}
	e := c.Components[0]
	if got := e.Text("SUMMARY"); got != strings.ReplaceAll(long, "\r\n", "\n") {
		t.Errorf("%q", got)
	}
	if _, ok := e.Get("LOCATION"); ok {
		t.Error("a property without a value")
	}
	categories, _ := e.Get("CATEGORIES")
	if got := strings.Join(categories.Texts(), "|"); got != `a,b|c;d|e\` {
		t.Error(got)
	}
	p, _ := e.Get("ATTENDEE")
	if want := "Müller: \"x\" ^ " + strings.Repeat("y", 80); p.Params["CN"] != want || p.Params["ROLE"] != "CHAIR" || len(p.Params) != 2 || p.Address() != "a@example.com" {
		t.Errorf("%+v", p)
	}
	for name, want := range map[string]string{"DTSTART": "20260304T050607", "DTEND": "20260304T070607Z", "RECURRENCE-ID": "20260304"} {
		p, _ := e.Get(name)
		if got, ok := p.Time(); !ok || got.String() != want {
			t.Errorf("%s is %s", name, got)
		}
	}
}
