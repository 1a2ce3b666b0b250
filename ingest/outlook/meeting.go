package outlook

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"

	"postroom/ingest/message"
	"postroom/ingest/outlook/ical"
)

// maxCalendar is the longest calendar that is read, in bytes. Outlook and Google
// stay far below it, also with thousands of attendees.
const maxCalendar = 1 << 20

// meeting is what a message says of an appointment (MS-OXCICAL, MS-OXOCAL).
type meeting struct {
	ctx    context.Context
	part   *message.Part // the calendar
	whole  bool          // nothing of it is lost, so it is no attachment
	class  string
	icon   int32
	method string
	event  *ical.Component

	start, end time.Time // UTC
	allDay     bool
	zone       *zone // of the start; nil if it is in UTC
	endZone    *zone
	series     *recurrence // nil if it does not recur
	original   time.Time   // UTC; which instance of a series it is; zero if it is none
	replaced   string      // the date of that in its zone, as the bytes of an identifier

	proposedStart, proposedEnd time.Time

	instances   []instance // of the series, that differ
	inInstances int        // attendees of those
	zones       *zones
	header      *message.Header
	from        map[string]bool // addresses of From and Sender, in lower case

	guests   []guest
	known    map[string]int // guests by their addresses in lower case
	response int32          // PidLidResponseStatus
	state    int32          // PidLidAppointmentStateFlags
	lost     []string
}

// guest is an attendee or the organiser.
type guest struct {
	address message.Address
	kind    int32 // PidTagRecipientType
	flags   int32 // PidTagRecipientFlags
	status  int32 // PidTagRecipientTrackStatus
	replied time.Time
	respond bool // is asked to
}

// Values of PidLidAppointmentStateFlags, PidTagRecipientFlags, PidLidBusyStatus and
// PidLidResponseStatus (MS-OXOCAL 2.2.1.10, 2.2.4.10.1, 2.2.1.2, 2.2.1.11).
const (
	stateMeeting  = 1
	stateReceived = 2
	stateCanceled = 4
	sendable      = 1
	organizer     = 2
	busyTentative = 1
	busyBusy      = 2
	notResponded  = 5
)

// meetingNames is more than the named properties of a meeting, its instances and
// the message that it is.
const meetingNames = 256

// Bounds of what is read of a calendar.
const (
	maxGuests      = 10_000
	maxCategories  = 200
	maxPlainInBody = 1 << 20
	maxLost        = 20 // that are named
)

// meeting reads the invitation that a message is, nil if it is none or one that
// Outlook has nothing for; a loss says so then, and the calendar is an attachment.
func (c *converter) meeting(m *message.Message, root *message.Part, place string) (*meeting, error) {
	if root.Protection() != message.Unprotected {
		return nil, nil
	}
	l := root.Layout()
	part, several := calendarPart(l)
	if part == nil {
		return nil, nil
	}
	why := func(format string, args ...any) (*meeting, error) {
		c.lose(place, "the calendar is an attachment: "+format, args...)
		return nil, nil
	}
	if several {
		return why("there are several")
	}
	text, err := m.Text(part, maxCalendar)
	if err != nil {
		return nil, err
	}
	if text.Cut {
		return why("it has more than %d bytes", maxCalendar)
	}
	calendar := ical.Parse(text.String)
	mt := &meeting{ctx: c.ctx, part: part, header: root.Header, from: map[string]bool{}}
	for _, a := range slices.Concat(addressesOf(root.Header, "From"), addressesOf(root.Header, "Sender")) {
		mt.from[strings.ToLower(a)] = true
	}
	mt.method = calendar.Word("METHOD")
	if mt.method == "" {
		mt.method = strings.ToUpper(strings.TrimSpace(part.Params["method"]))
	}
	for _, n := range calendar.Notes {
		mt.lose("%s", n)
	}
	err = mt.read(calendar)
	if err := c.ctx.Err(); err != nil { // then it is not read to its end
		return nil, err
	}
	if err != nil {
		return why("%v", err)
	}
	if err := c.compare(mt, m, l); err != nil {
		return nil, err
	}
	mt.whole = len(mt.lost) == 0
	if !mt.whole {
		for _, s := range mt.lost {
			c.lose(place, "the calendar is an attachment too: %s", s)
		}
	}
	return mt, nil
}

// calendarPart returns the calendar that is the text of a message, or a version or
// a part of it (MS-OXCMAIL 2.2.3.3.2).
func calendarPart(l *message.Layout) (part *message.Part, several bool) {
	var all []*message.Part
	take := func(p *message.Part) {
		if p != nil && p.Type == "text/calendar" && p.Disposition != "attachment" && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	take(l.Other)
	for _, p := range slices.Concat(l.Alternatives, l.More) {
		take(p)
	}
	if len(all) == 0 {
		for _, a := range l.Attachments {
			if a.Params["method"] != "" && !a.Related {
				take(a.Part)
			}
		}
	}
	if len(all) == 0 {
		return nil, false
	}
	return all[0], len(all) > 1
}

// lose says of something in the calendar that Outlook has nothing for it.
func (mt *meeting) lose(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); len(mt.lost) < maxLost && !slices.Contains(mt.lost, s) {
		mt.lost = append(mt.lost, s)
	}
}

// attached returns the attachments without the calendar, if all of it is in
// properties.
func (mt *meeting) attached(c *converter, files []*file, place string) []*file {
	if n := len(mt.instances); len(files)+n > maxObjects {
		c.lose(place, "the calendar is an attachment too: there is no room for %d instances that differ", n)
		mt.instances, mt.whole = nil, false
	}
	if !c.names.room(meetingNames) {
		c.lose(place, "the calendar is an attachment too: there is no room for its named properties")
		mt.whole = false
	}
	if !mt.whole {
		return files
	}
	return slices.DeleteFunc(files, func(f *file) bool { return f.part == mt.part })
}

// read takes the appointment out of the calendar. The error says why there is
// none.
func (mt *meeting) read(calendar *ical.Calendar) error {
	switch {
	case calendar.Name == "":
		return fmt.Errorf("it is none")
	case calendar.More > 0:
		return fmt.Errorf("there are several in it")
	}
	var changed []*ical.Component
	for _, c := range calendar.Components {
		switch c.Name {
		case "VEVENT":
			if _, instance := c.Get("RECURRENCE-ID"); instance {
				changed = append(changed, c)
			} else if mt.event != nil {
				return fmt.Errorf("it has several events")
			} else {
				mt.event = c
			}
		case "VTIMEZONE":
		default:
			mt.lose("Outlook has nothing for its %.60s", c.Name)
		}
	}
	if mt.event == nil {
		if len(changed) != 1 {
			return fmt.Errorf("it has no event, or several instances of one alone")
		}
		mt.event, changed = changed[0], nil
	}
	if err := mt.classify(); err != nil {
		return err
	}
	for _, p := range calendar.Properties {
		if !covered["CALENDAR "+p.Name] && !strings.HasPrefix(p.Name, "X-") {
			mt.lose("Outlook has nothing for its %.60s", p.Name)
		}
	}
	mt.zones = newZones(mt.ctx, &calendar.Component)
	if err := mt.times(); err != nil {
		return err
	}
	mt.people()
	mt.fit()
	mt.recur(changed)
	mt.unmapped()
	return nil
}

// classify finds the class of the message (MS-OXCICAL 2.1.3.1.1.1).
func (mt *meeting) classify() error {
	const prefix = "IPM.Schedule.Meeting."
	attendees := mt.event.All("ATTENDEE")
	switch mt.method {
	case "REQUEST":
		mt.class, mt.icon = prefix+"Request", 0x404
		mt.state, mt.response = stateMeeting|stateReceived, notResponded
	case "CANCEL":
		mt.class, mt.icon = prefix+"Canceled", 0x408
		mt.state, mt.response = stateMeeting|stateReceived|stateCanceled, notResponded
	case "REPLY", "COUNTER":
		p, ok := mt.replier(attendees)
		if !ok {
			return fmt.Errorf("it is a reply, and does not say whose")
		}
		switch status := strings.ToUpper(p.Params["PARTSTAT"]); {
		case status == "TENTATIVE" || mt.method == "COUNTER":
			mt.class, mt.icon = prefix+"Resp.Tent", 0x407
		case status == "ACCEPTED":
			mt.class, mt.icon = prefix+"Resp.Pos", 0x405
		case status == "DECLINED":
			mt.class, mt.icon = prefix+"Resp.Neg", 0x406
		default:
			return fmt.Errorf("it is a reply that is neither yes nor no: %.40q", status)
		}
		mt.state = stateMeeting | stateReceived
	case "PUBLISH":
		mt.class, mt.icon = "IPM.Appointment", 0x400
		if len(attendees) > 0 {
			mt.state, mt.icon = stateMeeting|stateReceived, 0x402
		}
	case "":
		return fmt.Errorf("it has no method")
	default:
		return fmt.Errorf("its method is %.40q", mt.method)
	}
	return nil
}

// replier returns the attendee whose reply it is.
func (mt *meeting) replier(attendees []ical.Property) (ical.Property, bool) {
	if len(attendees) == 1 {
		return attendees[0], true
	}
	for _, p := range attendees {
		if mt.from[strings.ToLower(p.Address())] {
			return p, true
		}
	}
	return ical.Property{}, false
}

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

// people reads the attendees and the organiser (MS-OXCICAL 2.1.3.1.1.20.2, .16).
func (mt *meeting) people() {
	for _, p := range mt.event.All("ATTENDEE") {
		if len(mt.guests) == maxGuests {
			mt.lose("more than %d attendees", maxGuests)
			break
		}
		g := guest{kind: 1, flags: sendable, address: message.Address{Name: oneLine(p.Params["CN"]), Address: p.Address()}}
		role, kind := strings.ToUpper(p.Params["ROLE"]), strings.ToUpper(p.Params["CUTYPE"])
		switch {
		case kind == "RESOURCE" || kind == "ROOM":
			g.kind = 3
		case role == "OPT-PARTICIPANT":
			g.kind = 2
		case role == "NON-PARTICIPANT":
			g.kind = 3
		}
		switch strings.ToUpper(p.Params["PARTSTAT"]) {
		case "ACCEPTED":
			g.status = 3
		case "TENTATIVE":
			g.status = 2
		case "DECLINED":
			g.status = 4
		case "DELEGATED":
			mt.lose("an attendee has delegated")
		}
		g.respond = strings.EqualFold(p.Params["RSVP"], "TRUE")
		g.replied, _ = utcParam(p, "X-MS-OLK-RESPTIME")
		if g.address.Address == "" {
			mt.lose("an attendee has no address of mail")
			continue
		}
		mt.sentBy(p)
		for _, name := range []string{"DELEGATED-FROM", "DELEGATED-TO", "MEMBER"} {
			if v := p.Params[name]; v != "" {
				mt.lose("the %s of an attendee: %.100q", name, v)
			}
		}
		mt.add(g)
	}
	if p, ok := mt.event.Get("ORGANIZER"); ok {
		mt.sentBy(p)
		g := guest{kind: 1, flags: sendable | organizer, address: message.Address{Name: oneLine(p.Params["CN"]), Address: p.Address()}}
		if g.address.Address == "" {
			mt.lose("the organiser has no address of mail")
			return
		}
		if mt.from[strings.ToLower(g.address.Address)] {
			return
		}
		if i, ok := mt.known[strings.ToLower(g.address.Address)]; ok {
			mt.guests[i].flags |= organizer
			return
		}
		mt.add(g)
	}
}

// sentBy names who acts for somebody, but if the message is from them.
func (mt *meeting) sentBy(p ical.Property) {
	v := p.Params["SENT-BY"]
	key := strings.ToLower(ical.Property{Value: v}.Address())
	if v != "" && (key == "" || !mt.from[key] && key != strings.ToLower(p.Address())) {
		mt.lose("who acts for somebody: %.100q", v)
	}
}

// add takes somebody, the first time that they are named.
func (mt *meeting) add(g guest) {
	key := strings.ToLower(g.address.Address)
	if _, again := mt.known[key]; again {
		return
	}
	if mt.known == nil {
		mt.known = map[string]int{}
	}
	mt.known[key] = len(mt.guests)
	mt.guests = append(mt.guests, g)
}

// fit names the people for whom a message has no room: only the calendar has them.
func (mt *meeting) fit() {
	n := 0
	for _, name := range []string{"To", "Cc", "Bcc"} {
		n += len(mt.header.AddressList(name))
	}
	for _, list := range mt.further() {
		n += len(list)
	}
	if n > maxObjects {
		mt.lose("%d attendees more than the %d recipients that a message can have", n-maxObjects, maxObjects)
	}
}

func utcParam(p ical.Property, name string) (time.Time, bool) {
	t, ok := ical.Property{Value: p.Params[name]}.Time()
	return t.Wall, ok && t.UTC
}

// further returns the people that the header names in none of its fields, by
// PidTagRecipientType.
func (mt *meeting) further() (list [4][]message.Address) {
	if mt == nil {
		return list
	}
	seen := map[string]bool{}
	for _, name := range []string{"To", "Cc", "Bcc"} {
		for _, a := range addressesOf(mt.header, name) {
			seen[strings.ToLower(a)] = true
		}
	}
	if mt.method == "REPLY" || mt.method == "COUNTER" { // the attendee is who it is from
		maps.Copy(seen, mt.from)
	}
	for _, g := range mt.guests {
		if key := strings.ToLower(g.address.Address); !seen[key] {
			seen[key] = true
			list[g.kind] = append(list[g.kind], g.address)
		}
	}
	return list
}

// attends returns what sets the properties that a recipient has for being an
// attendee.
func (mt *meeting) attends(a message.Address) func(*object) {
	return func(o *object) {
		if mt == nil {
			return
		}
		i, ok := mt.known[strings.ToLower(a.Address)]
		if !ok {
			return
		}
		g := mt.guests[i]
		o.int32(pidTagRecipientFlags, g.flags)
		if g.status != 0 {
			o.int32(pidTagRecipientTrackStatus, g.status)
			o.time(pidTagRecipientTrackStatusTime, g.replied)
		}
	}
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

// busyOf is PidLidBusyStatus (MS-OXCICAL 2.1.3.1.1.20.23, .25, .31).
func busyOf(c *ical.Component) (int32, bool) {
	for _, name := range []string{"X-MICROSOFT-CDO-BUSYSTATUS", "X-MICROSOFT-MSNCALENDAR-BUSYSTATUS", "TRANSP", "STATUS"} {
		if v, ok := busyWords[name+" "+c.Word(name)]; ok {
			return v, true
		}
	}
	return busyBusy, false
}

var busyWords = func() map[string]int32 {
	set := map[string]int32{"TRANSP TRANSPARENT": 0, "TRANSP OPAQUE": 2, "STATUS CANCELLED": 0, "STATUS TENTATIVE": 1, "STATUS CONFIRMED": 2}
	for _, name := range []string{"X-MICROSOFT-CDO-BUSYSTATUS", "X-MICROSOFT-MSNCALENDAR-BUSYSTATUS", "X-MICROSOFT-CDO-INTENDEDSTATUS"} {
		for word, v := range map[string]int32{"FREE": 0, "TENTATIVE": 1, "BUSY": 2, "OOF": 3, "WORKINGELSEWHERE": 4} {
			set[name+" "+word] = v
		}
	}
	return set
}()

// busy is what the organiser has the time as.
func (mt *meeting) busy() int32 {
	b, _ := busyOf(mt.event)
	return b
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

// categories are those of the event.
func (mt *meeting) categories() (out []string) {
	for _, p := range mt.event.All("CATEGORIES") {
		out = append(out, p.Texts()...)
	}
	return out
}

// description is what the event is about (MS-OXCMAIL 2.2.3.3.2, rule 4).
func (mt *meeting) description() string {
	if s := mt.event.Text("DESCRIPTION"); strings.TrimSpace(s) != "" {
		return s
	}
	return mt.event.Text("COMMENT")
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

// globalObjectID returns PidLidGlobalObjectId for a UID, with the date of the
// instance that it is of (MS-OXOCAL 2.2.1.27, MS-OXCICAL 2.1.3.1.1.20.26).
func globalObjectID(uid, date string) []byte {
	class := []byte{4, 0, 0, 0, 0x82, 0, 0xE0, 0, 0x74, 0xC5, 0xB7, 0x10, 0x1A, 0x82, 0xE0, 8}
	id, err := hex.DecodeString(uid)
	if err != nil || len(uid) < 82 || !strings.HasPrefix(string(id), string(class)) {
		data := append([]byte("vCal-Uid\x01\x00\x00\x00"), uid...)
		data = append(data, 0)
		id = append(class, make([]byte, 4+8+8)...)
		id = binary.LittleEndian.AppendUint32(id, uint32(len(data)))
		id = append(id, data...)
	}
	if date != "" {
		copy(id[16:20], date)
	}
	return id
}

// cleanObjectID is PidLidCleanGlobalObjectId, which all instances have.
func cleanObjectID(id []byte) []byte {
	id = slices.Clone(id)
	clear(id[16:20])
	return id
}

// windows1252 returns a text for those that know no Unicode.
func windows1252(s string) []byte {
	b, err := encoding.ReplaceUnsupported(charmap.Windows1252.NewEncoder()).Bytes([]byte(strings.ToValidUTF8(s, "?")))
	if err != nil {
		return nil
	}
	for i := range b {
		if b[i] == 0x1A {
			b[i] = '?'
		}
	}
	return b
}

// addressesOf returns the bare addresses of a field.
func addressesOf(h *message.Header, name string) (out []string) {
	for _, a := range h.AddressList(name) {
		out = append(out, a.Address)
	}
	return out
}
