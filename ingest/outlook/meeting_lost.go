package outlook

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"postroom/ingest/message"
)

// lose says of something in the calendar that Outlook has nothing for it.
func (mt *meeting) lose(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); len(mt.lost) < maxLost && !slices.Contains(mt.lost, s) {
		mt.lost = append(mt.lost, s)
	}
}

// covered has the properties of calendars and events that properties of Outlook
// take, or that say nothing that a person would miss.
var covered = func() map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(`METHOD PRODID VERSION CALSCALE`) {
		set["CALENDAR "+name] = true
	}
	for name := range strings.FieldsSeq(`
		ATTENDEE CATEGORIES CLASS CREATED DESCRIPTION DTEND DTSTAMP DTSTART DURATION EXDATE LAST-MODIFIED LOCATION
		ORGANIZER PRIORITY RECURRENCE-ID RRULE SEQUENCE STATUS SUMMARY TRANSP UID REQUEST-STATUS X-ALT-DESC
		X-MOZ-GENERATION X-MOZ-LASTACK X-GOOGLE-CALENDAR-CONTENT-ICON X-APPLE-TRAVEL-ADVISORY-BEHAVIOR`) {
		set[name] = true
	}
	return set
}()

// once has the properties of which an event has one, so that only the first counts
// (RFC 5545 3.6.1).
var once = func() map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(`
		CLASS DESCRIPTION DTEND DTSTAMP DTSTART DURATION LOCATION ORGANIZER PRIORITY RECURRENCE-ID SEQUENCE STATUS SUMMARY
		TRANSP UID X-ALT-DESC`) {
		set[name] = true
	}
	return set
}()

// vendors are the prefixes of properties that tell programs of their own writers
// what they know anyhow.
var vendors = []string{"X-MICROSOFT-", "X-MS-OLK-", "X-LOTUS-", "X-ENTOURAGE", "X-LIC-", "X-EVOLUTION-", "X-CALENDARSERVER-", "X-ZIMBRA-"}

// remindsOnly are the texts of reminders, in lower case, that programs write of
// themselves: Outlook, Google, Apple and Mozilla.
var remindsOnly = map[string]bool{"reminder": true, "this is an event reminder": true, "event reminder": true, "default mozilla description": true}

// unmapped names what the event has that no property of Outlook takes.
func (mt *meeting) unmapped() {
	_, recurs := mt.event.Get("RRULE")
	description := mt.description()
	first := map[string]string{}
	for _, p := range mt.event.Properties {
		if v, again := first[p.Name]; again && once[p.Name] && v != p.Value {
			mt.lose("it has several of %s", p.Name)
		} else if !again && strings.TrimSpace(p.Value) != "" {
			first[p.Name] = p.Value
		}
		known := covered[p.Name]
		for _, v := range vendors {
			known = known || strings.HasPrefix(p.Name, v)
		}
		switch {
		case p.Name == "RDATE" || p.Name == "EXRULE":
			if !recurs {
				mt.lose("it has further dates")
			}
		case p.Name == "COMMENT" && p.Text() == description:
		case !known && strings.TrimSpace(p.Value) != "":
			mt.lose("Outlook has nothing for its %.60s", p.Name)
		}
	}
	alarms := 0
	for _, c := range mt.event.Components {
		if c.Name != "VALARM" {
			mt.lose("Outlook has nothing for its %.60s", c.Name)
			continue
		}
		if alarms++; alarms > 1 {
			mt.lose("a further reminder")
			continue
		}
		if action := c.Word("ACTION"); action == "EMAIL" || action == "PROCEDURE" {
			mt.lose("a reminder by %s", strings.ToLower(action))
		}
		text := strings.TrimSpace(c.Text("DESCRIPTION"))
		known := remindsOnly[strings.ToLower(text)]
		for _, said := range []string{mt.event.Text("SUMMARY"), description} {
			known = known || strings.EqualFold(oneLine(text), oneLine(said))
		}
		if text != "" && !known {
			mt.lose("the text of its reminder: %.100q", text)
		}
		if p, _ := c.Get("TRIGGER"); p.Value != "" {
			if d, ok := p.Duration(); ok && d > 0 || strings.EqualFold(p.Params["RELATED"], "END") {
				mt.lose("a reminder after it has begun")
			}
		}
	}
}

// compare finds what the message says otherwise than its calendar: what is shown
// is what the message says.
func (c *converter) compare(mt *meeting, m *message.Message, l *message.Layout) error {
	h := mt.header
	if summary := mt.event.Text("SUMMARY"); oneLine(h.Text("Subject")) != "" && !contains(h.Text("Subject"), summary) {
		mt.lose("its summary is not that of the message: %.100q", oneLine(summary))
	}
	categories := mt.categories()
	if len(categories) > maxCategories {
		mt.lose("%d categories more than %d", len(categories)-maxCategories, maxCategories)
	}
	if keywords := h.Text("Keywords"); keywords != "" {
		known := map[string]bool{}
		for k := range strings.SplitSeq(keywords, ",") {
			known[essence(k)] = true
		}
		if slices.ContainsFunc(categories, func(k string) bool { return !known[essence(k)] }) {
			mt.lose("its categories are not those of the message")
		}
	}
	if p, ok := mt.event.Get("X-ALT-DESC"); ok && l.HTML == nil && strings.EqualFold(p.Params["FMTTYPE"], "text/html") {
		mt.lose("its formatted description")
	}
	description := mt.description()
	if strings.TrimSpace(description) == "" || l.Plain == nil && l.HTML == nil {
		return nil
	}
	part := l.Plain
	if part == nil {
		part = l.HTML
	}
	text, err := m.Text(part, maxPlainInBody)
	if err != nil {
		return err
	}
	body := text.String
	if part == l.HTML {
		var b strings.Builder
		if err := htmlText(&b, strings.NewReader(body)); err != nil {
			return err
		}
		body = b.String()
	}
	if strings.TrimSpace(body) != "" && !contains(body, description) {
		mt.lose("its description is not in the text of the message")
	}
	return nil
}

// contains reports whether a text has the letters and digits of another in it.
func contains(text, part string) bool { return strings.Contains(essence(text), essence(part)) }

func essence(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}
