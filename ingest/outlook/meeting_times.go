package outlook

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postroom/ingest/outlook/ical"
)

// times reads when the appointment is (MS-OXCICAL 2.1.3.1.1.20.8, .10).
func (mt *meeting) times() error {
	p, _ := mt.event.Get("DTSTART")
	start, ok := p.Time()
	if !ok || start.Wall.Year() >= endOfTime {
		return fmt.Errorf("the event has no time, or one that Outlook has not")
	}
	end, err := endOf(mt.event, start)
	if err == nil && end.Wall.Year() >= endOfTime {
		end, err = start, errNoTime
	}
	if err != nil {
		mt.lose("%v", err)
	}
	mt.allDay = mt.isAllDay(start, end)
	floats := start.Floating()
	mt.zone = mt.zoneFor(start)
	mt.start = mt.instant(start, mt.zone)
	mt.endZone = mt.zone
	if !end.Floating() {
		mt.endZone = mt.zoneFor(end)
	}
	mt.end = mt.instant(end, mt.endZone)
	if floats && !mt.allDay {
		mt.lose("its time is in no time zone: it is taken as that of %s", mt.zone.tzid)
	}
	if mt.end.Before(mt.start) {
		mt.lose("it ends before it begins")
		mt.end = mt.start
	}
	if mt.method == "COUNTER" {
		mt.proposedStart, mt.proposedEnd = mt.start, mt.end
		var whole [2]time.Time
		for i, name := range []string{"X-MS-OLK-ORIGINALSTART", "X-MS-OLK-ORIGINALEND"} {
			p, _ := mt.event.Get(name)
			if t, ok := p.Time(); ok {
				whole[i] = mt.instant(t, mt.zoneFor(t))
			}
		}
		if !whole[0].IsZero() && !whole[1].Before(whole[0]) {
			mt.start, mt.end = whole[0], whole[1]
		}
	}
	if p, ok := mt.event.Get("RECURRENCE-ID"); ok {
		t, good := p.Time()
		if !good || p.Params["RANGE"] != "" {
			mt.lose("which instances of the series it is of: %.60q", p.Value)
		}
		if good {
			z := mt.zoneFor(t)
			mt.original = mt.instant(t, z)
			local := t.Wall
			if t.UTC && mt.zone != nil {
				local = mt.zone.wall(mt.original)
			}
			mt.replaced = string([]byte{byte(local.Year() >> 8), byte(local.Year()), byte(local.Month()), byte(local.Day())})
		}
	}
	return nil
}

var errNoTime = fmt.Errorf("it is at a time that Outlook has not")

// endOf returns when an event ends (RFC 5545 3.6.1).
func endOf(event *ical.Component, start ical.Time) (ical.Time, error) {
	if p, ok := event.Get("DTEND"); ok {
		if end, ok := p.Time(); ok {
			return end, nil
		}
		return start, fmt.Errorf("when it ends is no time: %.40q", p.Value)
	}
	end := start
	if p, ok := event.Get("DURATION"); ok {
		d, ok := p.Duration()
		if !ok || d < 0 {
			return start, fmt.Errorf("how long it is is no duration: %.40q", p.Value)
		}
		end.Wall = start.Wall.Add(d)
		return end, nil
	}
	if start.Date {
		end.Wall = start.Wall.AddDate(0, 0, 1)
	}
	return end, nil
}

// isAllDay reports whether the event is one of whole days.
func (mt *meeting) isAllDay(start, end ical.Time) bool {
	midnights := start.Wall.Equal(dayOf(start.Wall)) && end.Wall.Equal(dayOf(end.Wall)) && start.Wall.Before(end.Wall)
	said := mt.event.Word("X-MICROSOFT-CDO-ALLDAYEVENT") == "TRUE" || mt.event.Word("X-MICROSOFT-MSNCALENDAR-ALLDAYEVENT") == "TRUE"
	return midnights && (start.Floating() && end.Floating() || said && !start.UTC)
}

// zoneFor returns the zone of a time, nil if it is in UTC.
func (mt *meeting) zoneFor(t ical.Time) *zone {
	if t.UTC {
		return nil
	}
	z, known := mt.zones.get(t.Zone, t.Wall.Year())
	if !known {
		mt.lose("the time zone %.60q is not known: its times are taken as those of %s", t.Zone, z.tzid)
	}
	return z
}

// instant returns a time in UTC.
func (mt *meeting) instant(t ical.Time, z *zone) time.Time {
	if z == nil {
		return t.Wall
	}
	return z.utc(t.Wall)
}

// recur reads the series that the appointment is (MS-OXCICAL 2.1.3.2).
func (mt *meeting) recur(changed []*ical.Component) {
	rules := slices.Concat(mt.event.All("RRULE"), mt.event.All("X-MICROSOFT-RRULE"))
	if len(rules) == 0 {
		for range changed {
			mt.lose("an instance of a series that has no rule")
		}
		return
	}
	p, _ := mt.event.Get("DTSTART")
	start, _ := p.Time()
	z := mt.zone
	if z == nil {
		z = utcZone()
	}
	fail := func(format string, args ...any) {
		mt.lose("it recurs in a way that Outlook has not, so it has the first instance alone: "+format, args...)
	}
	rule, ok := rules[0].Rule()
	switch {
	case len(rules) > 1:
		fail("it has several rules")
		return
	case !ok:
		fail("%.60q is no rule", rules[0].Value)
		return
	case len(mt.event.All("RDATE")) > 0 || len(mt.event.All("EXRULE")) > 0:
		fail("it has further dates")
		return
	case !mt.original.IsZero():
		fail("it is one of its instances")
		return
	}
	until := rule.Until.Wall
	switch {
	case until.IsZero():
	case rule.Until.UTC && !start.UTC:
		until = dayOf(z.wall(until))
	default:
		until = dayOf(until)
	}
	series, err := newRecurrence(rule, start.Wall, until)
	if err != nil {
		fail("%s", err)
		return
	}
	mt.zone = z
	mt.series = series
	for _, p := range slices.Concat(mt.event.All("EXDATE"), mt.event.All("X-MICROSOFT-EXDATE")) {
		times, ok := p.Times()
		if !ok {
			mt.lose("%.60q are no dates", p.Value)
		}
		for _, t := range times {
			if mt.ctx.Err() != nil {
				return
			}
			if d := dayOf(mt.local(t)); series.has(d) {
				series.deleted = append(series.deleted, d)
			}
		}
	}
	whole := mt.wording()
	for _, c := range changed {
		if mt.ctx.Err() != nil {
			return
		}
		mt.change(c, whole)
	}
	slices.SortFunc(series.deleted, time.Time.Compare)
	series.deleted = slices.CompactFunc(series.deleted, time.Time.Equal)
	slices.SortFunc(series.exceptions, func(a, b exception) int { return a.start.Compare(b.start) })
}

// local returns a time in the zone of the series.
func (mt *meeting) local(t ical.Time) time.Time {
	if t.Date || t.Floating() {
		return t.Wall
	}
	if mt.zone.tzid == t.Zone {
		return t.Wall
	}
	return mt.zone.wall(mt.instant(t, mt.zoneFor(t)))
}

// wording is what an event says that an instance of it may say otherwise.
type wording struct {
	uid, summary, location, description, alarm string
	busy                                       int32
	others                                     map[string]string // by the name of the property
}

// unsaid are the properties that the appointment of an instance has nothing for.
var unsaid = []string{"CATEGORIES", "CLASS", "PRIORITY", "X-MICROSOFT-CDO-IMPORTANCE", "X-ALT-DESC"}

func (mt *meeting) wording() wording {
	e := mt.event
	s := wording{
		uid: e.Text("UID"), summary: oneLine(e.Text("SUMMARY")), location: oneLine(e.Text("LOCATION")),
		description: strings.TrimSpace(mt.description()), alarm: alarmOf(e), busy: mt.busy(), others: map[string]string{},
	}
	for _, name := range unsaid {
		s.others[name] = e.Text(name)
	}
	return s
}

// change takes an instance that differs from the series, which says whole
// (MS-OXCICAL 2.1.3.1.1.20.20).
func (mt *meeting) change(c *ical.Component, whole wording) {
	id, _ := c.Get("RECURRENCE-ID")
	original, ok := id.Time()
	p, _ := c.Get("DTSTART")
	start, good := p.Time()
	if !ok || !good || id.Params["RANGE"] != "" || !strings.EqualFold(c.Text("UID"), whole.uid) {
		mt.lose("an instance that is not one of the series: %.60q", id.Value)
		return
	}
	end, err := endOf(c, start)
	if start.Wall.Year() >= endOfTime || end.Wall.Year() >= endOfTime {
		err = errNoTime
	}
	day := dayOf(mt.local(original))
	switch {
	case err != nil || !mt.series.has(day):
		mt.lose("an instance that is not one of the series: %.60q", id.Value)
		return
	case len(mt.series.exceptions) == maxException:
		mt.lose("more than %d instances that differ", maxException)
		return
	case slices.ContainsFunc(mt.series.exceptions, func(e exception) bool { return dayOf(e.original).Equal(day) }):
		mt.lose("an instance stands there twice")
		return
	}
	mt.series.deleted = append(mt.series.deleted, day)
	if c.Word("STATUS") == "CANCELLED" {
		return
	}
	sub := &meeting{ctx: mt.ctx, method: mt.method, state: mt.state, response: mt.response, event: c, header: mt.header, from: mt.from, zones: mt.zones}
	if err := sub.times(); err != nil {
		mt.lose("an instance that differs: %v", err)
		return
	}
	sub.people()
	if mt.inInstances += len(sub.guests); mt.inInstances > maxObjects {
		sub.guests, sub.known = nil, nil
		mt.lose("attendees of instances past %d", maxObjects)
	}
	sub.unmapped()
	own := sub.wording()
	for _, name := range unsaid {
		if v := own.others[name]; v != "" && v != whole.others[name] {
			mt.lose("the %s of an instance", name)
		}
	}
	for _, s := range sub.lost {
		mt.lose("%s", s)
	}
	e := exception{original: day.Add(mt.clock()), start: mt.zone.wall(sub.start), end: mt.zone.wall(sub.end), allDay: sub.allDay}
	if own.summary != whole.summary {
		e.flags, e.subject = e.flags|overrideSubject, cut(own.summary)
	}
	if own.location != whole.location {
		e.flags, e.location = e.flags|overrideLocation, cut(own.location)
	}
	if own.busy != whole.busy {
		e.flags, e.busy = e.flags|overrideBusy, own.busy
	}
	if e.allDay != mt.allDay {
		e.flags |= overrideAllDay
	}
	if own.description != whole.description {
		e.flags |= overrideBody
	}
	if own.alarm != whole.alarm {
		mt.lose("the reminder of an instance: %.40q", id.Value)
	}
	mt.series.exceptions = append(mt.series.exceptions, e)
	mt.instances = append(mt.instances, instance{sub, e})
}

// instance is one that differs from its series.
type instance struct {
	meeting   *meeting
	exception exception
}

// alarmOf returns when an event reminds.
func alarmOf(c *ical.Component) string {
	for _, a := range c.Components {
		if a.Name == "VALARM" {
			return a.Text("TRIGGER")
		}
	}
	return ""
}

// cut returns a text that is not longer than a structure can have.
func cut(s string) string {
	if r := []rune(s); len(r) > 1000 {
		return string(r[:1000])
	}
	return s
}

// clock returns the time of the day at which the instances of a series begin.
func (mt *meeting) clock() time.Duration {
	local := mt.zone.wall(mt.start)
	return local.Sub(dayOf(local))
}
