package outlook

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"postroom/ingest/outlook/cfb"
	"postroom/ingest/outlook/ical"
)

// maxDescription is the longest text of a message that its calendar has too.
const maxDescription = 64 << 10

// methodOf is the method (RFC 5546 1.4) of the calendar that a message is, "" if it
// is none (MS-OXCICAL 2.1.3.1.1.1).
func methodOf(it *item) string {
	class := strings.ToLower(it.line(pidTagMessageClass)) + "."
	is := func(name string) bool { return strings.HasPrefix(class, name+".") }
	switch {
	case is("ipm.schedule.meeting.request"):
		return "REQUEST"
	case is("ipm.schedule.meeting.canceled"):
		return "CANCEL"
	case is("ipm.appointment"):
		return "PUBLISH"
	case statusOfReply(class) == "":
		return ""
	case it.namedBool(pidLidAppointmentCounterProposal):
		return "COUNTER"
	}
	return "REPLY"
}

// statusOfReply is the PARTSTAT of an answer, "" if the class, in lower case, is of
// none.
func statusOfReply(class string) string {
	rest, _ := strings.CutPrefix(class, "ipm.schedule.meeting.resp.")
	word, _, _ := strings.Cut(rest, ".")
	return map[string]string{"pos": "ACCEPTED", "neg": "DECLINED", "tent": "TENTATIVE"}[word]
}

func (it *item) namedInt32(name propertyName) (int32, bool) {
	if t := it.named(name); t != 0 {
		return it.int32(t | typeInt32)
	}
	return 0, false
}

func (it *item) namedBool(name propertyName) bool {
	t := it.named(name)
	return t != 0 && it.bool(t|typeBool)
}

func (it *item) namedTime(name propertyName) time.Time {
	if t := it.named(name); t != 0 {
		return it.time(t | typeTime)
	}
	return time.Time{}
}

func (it *item) namedBytes(name propertyName, limit int64) []byte {
	if t := it.named(name); t != 0 {
		return it.bytes(t|typeBinary, limit)
	}
	return nil
}

// calendar returns the calendar that a message is, nil if it is none; and its files
// without those that are in it. A calendar that is attached and is of this message
// goes as it stands; else one is made of properties.
func (m *mailWriter) calendar(it *item, place string, plain *text, files []*attached) (*text, []*attached, error) {
	w := &calendarWriter{m: m, it: it, place: place, method: methodOf(it)}
	if w.method == "" {
		return nil, files, nil
	}
	content := ""
	t := &text{kind: "text/calendar; method=" + w.method, charset: "utf-8"}
	t.open = func() (io.Reader, error) { return strings.NewReader(content), nil }
	kept := -1
	for i, f := range files {
		ok, err := w.has(f)
		if err != nil {
			return nil, nil, err
		}
		if ok && kept < 0 {
			kept, t.open, t.charset = i, f.open, either(f.charset, "utf-8")
		}
	}
	if kept < 0 {
		c, err := w.make(plain)
		if err != nil {
			return nil, nil, err
		}
		if c == nil {
			m.lose(place, "an item of class %s that does not say when it is: its text and attachments are written", it.line(pidTagMessageClass))
			return nil, files, nil
		}
		content = c.String()
	}
	var rest []*attached
	for i, f := range files {
		if i != kept && !w.told[f.instance] {
			rest = append(rest, f)
		}
	}
	return t, rest, t.look(m.out.ctx, nil, nil)
}

// calendarWriter makes a calendar of properties (MS-OXCICAL 2.1.3).
type calendarWriter struct {
	m      *mailWriter
	it     *item
	place  string
	method string
	told   map[*cfb.Entry]bool // messages of instances of which all is in it

	start, end time.Time // UTC
	zone       *zone     // of the start; nil if it is UTC
	endZone    *zone
	zones      []*zone // that are used
	allDay     bool
}

// has reports whether a file is the calendar of the message.
func (w *calendarWriter) has(f *attached) (bool, error) {
	if f.mime != "text/calendar" || f.open == nil || f.inline {
		return false, nil
	}
	r, err := f.open()
	if err != nil {
		return false, err
	}
	b, err := io.ReadAll(io.LimitReader(r, maxCalendar+1))
	if err != nil || len(b) > maxCalendar {
		return false, err
	}
	c := ical.Parse(string(b))
	if c.Word("METHOD") != w.method {
		return false, nil
	}
	uid, _ := w.uid()
	for _, e := range c.Components {
		if e.Name == "VEVENT" {
			own := strings.TrimSpace(e.Text("UID"))
			return uid == "" || own == uid || bytes.Equal(cleanObjectID(globalObjectID(own, "")), cleanObjectID(globalObjectID(uid, ""))), nil
		}
	}
	return false, nil
}

// uid returns the identifier of the appointment (MS-OXCICAL 2.1.3.1.1.20.26), and
// the day of the instance that it is of.
func (w *calendarWriter) uid() (uid string, day time.Time) {
	b := w.it.namedBytes(pidLidGlobalObjectID, maxString)
	if len(b) < 40 {
		b = w.it.namedBytes(pidLidCleanGlobalObjectID, maxString)
	}
	if len(b) < 40 {
		return "", time.Time{}
	}
	if year, month := int(b[16])<<8|int(b[17]), time.Month(b[18]); year >= 1601 && month >= 1 && month <= 12 {
		day = time.Date(year, month, int(b[19]), 0, 0, 0, 0, time.UTC)
	}
	if data, ok := bytes.CutPrefix(b[40:], []byte("vCal-Uid\x01\x00\x00\x00")); ok {
		return strings.TrimRight(string(data), "\x00"), day
	}
	return strings.ToUpper(hex.EncodeToString(cleanObjectID(b))), day
}

// make makes the calendar, nil if there is no time.
func (w *calendarWriter) make(plain *text) (*ical.Component, error) {
	it := w.it
	series, begin, err := w.series()
	if err != nil {
		w.m.lose(w.place, "the series cannot be told in a calendar (%v): it has the first instance, and the pattern as X-POSTROOM-RECURRENCE", err)
	}
	if !w.when(it, series != nil) {
		return nil, nil
	}
	c := &ical.Component{Name: "VCALENDAR"}
	c.Add("METHOD", w.method)
	c.Add("PRODID", "-//postroom//outlook//EN")
	c.Add("VERSION", "2.0")
	e, err := w.event(it, plain)
	if err != nil {
		return nil, err
	}
	original := it.namedTime(pidLidExceptionReplaceTime)
	if _, day := w.uid(); series == nil && original.IsZero() && !day.IsZero() {
		// What is known is its day in the zone of the series.
		local := w.start
		if w.zone != nil {
			local = w.zone.wall(local)
		}
		if original = day.Add(local.Sub(dayOf(local))); w.zone != nil {
			original = w.zone.utc(original)
		}
	}
	if series == nil && !original.IsZero() {
		e.AddTime("RECURRENCE-ID", w.time(original, w.zone, w.allDay))
	}
	events := []*ical.Component{e}
	if series != nil {
		more, err := w.recur(e, series, begin)
		if err != nil {
			return nil, err
		}
		events = append(events, more...)
	} else if b := it.namedBytes(pidLidAppointmentRecur, maxValue); len(b) > 0 {
		e.Add("X-POSTROOM-RECURRENCE", base64.StdEncoding.EncodeToString(b), "ENCODING", "BASE64", "VALUE", "BINARY")
	}
	for _, z := range w.zones {
		c.Components = append(c.Components, z.component())
	}
	c.Components = append(c.Components, events...)
	return c, nil
}

// when reads the times of an appointment, false if it has none.
func (w *calendarWriter) when(it *item, series bool) bool {
	w.start, w.end = it.namedTime(pidLidAppointmentStartWhole), it.namedTime(pidLidAppointmentEndWhole)
	for _, t := range []time.Time{it.namedTime(pidLidCommonStart), it.time(pidTagStartDate)} {
		if w.start.IsZero() {
			w.start = t
		}
	}
	for _, t := range []time.Time{it.namedTime(pidLidCommonEnd), it.time(pidTagEndDate), w.start} {
		if w.end.IsZero() {
			w.end = t
		}
	}
	if w.start.IsZero() || w.start.Year() >= endOfTime || w.end.Year() >= endOfTime {
		return false
	}
	w.zone = w.zoneOf(it, series)
	w.endZone = readDefinition(it.namedBytes(pidLidAppointmentTimeZoneDefinitionEndDisplay, maxValue))
	if w.endZone != nil && w.zone != nil && w.endZone.name == w.zone.name {
		w.endZone = w.zone
	}
	w.allDay = false
	if it.namedBool(pidLidAppointmentSubType) {
		from, to := w.start, w.end
		if w.zone != nil {
			from, to = w.zone.wall(from), w.zone.wall(to)
		}
		if w.allDay = from.Equal(dayOf(from)) && to.Equal(dayOf(to)) && from.Before(to); w.allDay {
			w.endZone = w.zone
		}
	}
	return true
}

// zoneOf returns the time zone that an appointment has, nil if it has none.
func (w *calendarWriter) zoneOf(it *item, series bool) *zone {
	names := []propertyName{pidLidAppointmentTimeZoneDefinitionStartDisplay, pidLidAppointmentTimeZoneDefinitionRecur}
	if series {
		names[0], names[1] = names[1], names[0]
	}
	var z *zone
	for _, name := range names {
		if z == nil {
			z = readDefinition(it.namedBytes(name, maxValue))
		}
	}
	described := it.namedLine(pidLidTimeZoneDescription)
	if z == nil {
		rule, ok := readZoneRule(it.namedBytes(pidLidTimeZoneStruct, maxString))
		if !ok {
			return nil
		}
		z = &zone{name: either(described, "local"), rule: rule}
		z.tzid = z.name
	}
	if described != "" && len(described) <= maxZoneName && windowsName(described) == z.name {
		z.tzid = described
	}
	return z
}

// time returns a time in a zone that the calendar then has; in UTC if there is none,
// clocks in it show that time twice, or the calendar has another of its name.
func (w *calendarWriter) time(t time.Time, z *zone, date bool) ical.Time {
	if z == nil {
		if date {
			return ical.Time{Wall: dayOf(t.UTC()), Date: true}
		}
		return ical.UTC(t)
	}
	wall := z.wall(t)
	if !date && !z.utc(wall).Equal(t) {
		return ical.UTC(t)
	}
	known := slices.IndexFunc(w.zones, func(other *zone) bool { return other.tzid == z.tzid })
	switch {
	case known < 0 && len(w.zones) < maxZones:
		w.zones = append(w.zones, z)
	case !date && (known < 0 || w.zones[known].rule != z.rule):
		return ical.UTC(t)
	}
	return ical.Time{Wall: wall, Date: date, Zone: z.tzid}
}

// event makes the event of an item whose times were read.
func (w *calendarWriter) event(it *item, plain *text) (*ical.Component, error) {
	e := &ical.Component{Name: "VEVENT"}
	uid, _ := w.uid()
	if uid == "" {
		uid = either(strings.Trim(w.it.line(pidTagInternetMessageID), "<>"), w.m.hash+"@postroom.invalid")
	}
	e.AddText("UID", uid)
	stamp := it.namedTime(pidLidOwnerCriticalChange)
	if w.method == "REPLY" || w.method == "COUNTER" {
		stamp = it.namedTime(pidLidAttendeeCriticalChange)
	}
	for _, t := range []time.Time{w.it.time(pidTagClientSubmitTime), w.it.time(pidTagMessageDeliveryTime), w.start} {
		if stamp.IsZero() {
			stamp = t
		}
	}
	e.AddTime("DTSTAMP", ical.UTC(stamp))
	start, end := w.start, w.end
	if from := it.namedTime(pidLidAppointmentProposedStartWhole); w.method == "COUNTER" && !from.IsZero() {
		e.AddTime("X-MS-OLK-ORIGINALSTART", w.time(start, w.zone, w.allDay))
		e.AddTime("X-MS-OLK-ORIGINALEND", w.time(end, w.endZone, w.allDay))
		start, end = from, it.namedTime(pidLidAppointmentProposedEndWhole)
		if end.Before(start) {
			end = start
		}
	}
	e.AddTime("DTSTART", w.time(start, w.zone, w.allDay))
	e.AddTime("DTEND", w.time(end, w.endZone, w.allDay))
	if n, ok := it.namedInt32(pidLidAppointmentSequence); ok {
		e.Add("SEQUENCE", strconv.Itoa(int(n)))
	}
	if t := it.namedTime(pidLidAppointmentSequenceTime); !t.IsZero() {
		e.AddTime("X-MS-OLK-APPTSEQTIME", ical.UTC(t))
	}
	e.AddText("SUMMARY", either(it.field(pidTagNormalizedSubject), it.field(pidTagSubject)))
	e.AddText("LOCATION", either(it.namedLine(pidLidLocation), it.namedLine(pidLidWhere)))
	if plain != nil {
		r, err := plain.open()
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(io.LimitReader(r, maxDescription+1))
		if err != nil {
			return nil, err
		}
		if s := string(b); plain.charset == "utf-8" && len(b) <= maxDescription && strings.TrimSpace(s) != "" {
			e.AddText("DESCRIPTION", s)
		}
	}
	w.qualities(e, it)
	if err := w.people(e, it); err != nil {
		return nil, err
	}
	if it.namedBool(pidLidReminderSet) && w.method != "CANCEL" {
		if n, ok := it.namedInt32(pidLidReminderDelta); ok && n >= 0 && n != 0x5AE980E1 {
			alarm := &ical.Component{Name: "VALARM"}
			alarm.Add("ACTION", "DISPLAY")
			alarm.Add("DESCRIPTION", "REMINDER")
			alarm.Add("TRIGGER", fmt.Sprintf("-PT%dM", n), "RELATED", "START")
			e.Components = append(e.Components, alarm)
		}
	}
	return e, nil
}

// busyNames are the values of PidLidBusyStatus (MS-OXCICAL 2.1.3.1.1.20.31).
var busyNames = []string{"FREE", "TENTATIVE", "BUSY", "OOF", "WORKINGELSEWHERE"}

// qualities adds what an event is like.
func (w *calendarWriter) qualities(e *ical.Component, it *item) {
	busy := func(name string, v int32) {
		if v >= 0 && int(v) < len(busyNames) {
			e.Add(name, busyNames[v])
		}
	}
	v, ok := it.namedInt32(pidLidBusyStatus)
	if intended, said := it.namedInt32(pidLidIntendedBusyStatus); said {
		v, ok = intended, true // the other is what it is until it is answered
	}
	if ok {
		transparency := "OPAQUE"
		if v == 0 {
			transparency = "TRANSPARENT"
		}
		e.Add("TRANSP", transparency)
		busy("X-MICROSOFT-CDO-BUSYSTATUS", v)
	}
	if v, ok := it.namedInt32(pidLidIntendedBusyStatus); ok {
		busy("X-MICROSOFT-CDO-INTENDEDSTATUS", v)
	}
	status := "CONFIRMED"
	switch {
	case w.method == "CANCEL":
		status = "CANCELLED"
	case w.method == "PUBLISH" && v == busyTentative:
		status = "TENTATIVE"
	}
	e.Add("STATUS", status)
	allDay := "FALSE"
	if it.namedBool(pidLidAppointmentSubType) {
		allDay = "TRUE"
	}
	e.Add("X-MICROSOFT-CDO-ALLDAYEVENT", allDay)
	if v, ok := it.int32(pidTagImportance); ok && v >= 0 && v <= 2 {
		e.Add("PRIORITY", []string{"9", "5", "1"}[v])
		e.Add("X-MICROSOFT-CDO-IMPORTANCE", strconv.Itoa(int(v)))
	}
	if v, ok := it.int32(pidTagSensitivity); ok && v >= 0 && v <= 3 {
		e.Add("CLASS", []string{"PUBLIC", "PERSONAL", "PRIVATE", "CONFIDENTIAL"}[v])
	}
	if t := it.named(pidNameKeywords); t != 0 {
		e.AddTexts("CATEGORIES", it.lines(t))
	}
	if v, ok := it.int32(pidTagOwnerAppointmentID); ok {
		e.Add("X-MICROSOFT-CDO-OWNERAPPTID", strconv.Itoa(int(v)))
	}
	if it.namedBool(pidLidAppointmentNotAllowPropose) {
		e.Add("X-MICROSOFT-DISALLOW-COUNTER", "TRUE")
	}
}

// people adds organiser and attendees (MS-OXCICAL 2.1.3.1.1.20.2, .16).
func (w *calendarWriter) people(e *ical.Component, it *item) error {
	type guest struct {
		addressee
		kind, status int32
		flagged      bool
		flags        int32
		replied      time.Time
	}
	var guests []guest
	anyFlag := false
	for _, entry := range it.recipients[:min(len(it.recipients), maxGuests)] {
		r, err := it.f.newItem(entry, headOfOther, it.page, w.m.damaged(w.place))
		if err != nil {
			return fmt.Errorf("recipient %s: %w", entry.Name, err)
		}
		g := guest{addressee: r.person(recipientGroup)}
		g.kind, _ = r.int32(pidTagRecipientType)
		g.status, _ = r.int32(pidTagRecipientTrackStatus)
		g.flags, g.flagged = r.int32(pidTagRecipientFlags)
		g.replied = r.time(pidTagRecipientTrackStatusTime)
		if g.kind &= 3; g.kind == 0 || g.email == "" {
			continue // the originator, or a person without an address of Internet mail
		}
		anyFlag = anyFlag || g.flagged
		guests = append(guests, g)
	}
	from, by := w.it.person(sentRepresenting), w.it.person(sender)
	if from == (addressee{}) {
		from = by
	}
	reply := w.method == "REPLY" || w.method == "COUNTER"
	organiser := from
	if reply {
		organiser = addressee{}
	}
	for i := len(guests) - 1; i >= 0; i-- {
		if g := guests[i]; g.flags&organizer != 0 || reply && organiser == (addressee{}) && i == 0 {
			organiser = g.addressee
		}
	}
	acting := ""
	if by.email != "" && !strings.EqualFold(by.email, from.email) {
		acting = "mailto:" + by.email
	}
	person := func(name string, a addressee, params ...string) {
		if a.email != "" {
			e.Add(name, "mailto:"+a.email, append(params, "CN", a.name)...)
		}
	}
	if strings.EqualFold(organiser.email, from.email) {
		person("ORGANIZER", organiser, "SENT-BY", acting)
	} else {
		person("ORGANIZER", organiser)
	}
	if reply {
		person("ATTENDEE", from, "PARTSTAT", statusOfReply(strings.ToLower(w.it.line(pidTagMessageClass))), "SENT-BY", acting)
		return nil
	}
	rsvp := "FALSE"
	if w.it.bool(pidTagResponseRequested) {
		rsvp = "TRUE"
	}
	if state, ok := w.it.namedInt32(pidLidAppointmentStateFlags); ok && state&stateMeeting == 0 {
		return nil // who is invited to nothing has only received it
	}
	for _, g := range guests {
		if g.flags&organizer != 0 || anyFlag && !g.flagged || strings.EqualFold(g.email, organiser.email) {
			continue
		}
		role := []string{"", "REQ-PARTICIPANT", "OPT-PARTICIPANT", "NON-PARTICIPANT"}[g.kind]
		kind := ""
		if g.kind == 3 {
			kind = "RESOURCE"
		}
		status := "NEEDS-ACTION"
		if g.status >= 2 && g.status <= 4 {
			status = []string{"TENTATIVE", "ACCEPTED", "DECLINED"}[g.status-2]
		}
		replied := ""
		if !g.replied.IsZero() {
			replied = ical.UTC(g.replied).String()
		}
		person("ATTENDEE", g.addressee, "ROLE", role, "CUTYPE", kind, "PARTSTAT", status, "RSVP", rsvp, "X-MS-OLK-RESPTIME", replied)
	}
	return nil
}

// maxGuestsTold bounds how often people are named in a calendar, each of whose
// instances names them all.
const maxGuestsTold = 50_000

// series reads the series that the appointment is, nil if it is none, and when on
// their day its instances begin.
func (w *calendarWriter) series() (*recurrence, time.Duration, error) {
	b := w.it.namedBytes(pidLidAppointmentRecur, maxValue)
	if len(b) == 0 {
		return nil, 0, nil
	}
	s, begin, err := readRecurrence(b)
	if err != nil {
		return nil, 0, err
	}
	if n, guests := len(s.exceptions), len(w.it.recipients); n > maxException || n*guests > maxGuestsTold {
		return nil, 0, fmt.Errorf("%d of its instances differ, for each of %d people", n, guests)
	}
	_, err = s.rule("")
	if err != nil {
		return nil, 0, err
	}
	return s, begin, nil
}

// recur adds to an event that it recurs, and returns the instances that differ
// (MS-OXCICAL 2.1.3.2).
func (w *calendarWriter) recur(e *ical.Component, s *recurrence, begin time.Duration) (more []*ical.Component, err error) {
	zone, allDay := w.zone, w.allDay
	w.time(w.start, zone, true)            // so that the calendar has the zone
	local := func(t time.Time) ical.Time { // t is what the clock shows
		switch {
		case allDay:
			return ical.Time{Wall: dayOf(t), Date: true}
		case zone == nil:
			return ical.UTC(t)
		}
		return ical.Time{Wall: t, Zone: zone.tzid}
	}
	// An instance is at the same time of the day, also where clocks show it twice.
	for i := range e.Properties {
		if e.Properties[i].Name == "DTSTART" {
			wall := s.start.Add(begin)
			e.Properties = append(e.Properties[:i], e.Properties[i+1:]...)
			e.AddTime("DTSTART", local(wall))
			break
		}
	}
	until := ""
	if !s.end.IsZero() {
		switch last := s.end.Add(begin); {
		case allDay:
			until = ical.Time{Wall: s.end, Date: true}.String()
		case zone != nil:
			until = ical.UTC(zone.utc(last)).String()
		default:
			until = ical.UTC(last).String()
		}
	}
	rule, err := s.rule(until)
	if err != nil {
		return nil, err
	}
	e.Add("RRULE", rule)
	replaced := map[time.Time]bool{}
	for _, x := range s.exceptions {
		replaced[dayOf(x.original)] = true
	}
	for _, d := range s.deleted {
		if !replaced[d] {
			e.AddTime("EXDATE", local(d.Add(begin)))
		}
	}
	instances, err := w.instances()
	if err != nil {
		return nil, err
	}
	w.told = map[*cfb.Entry]bool{}
	met := map[time.Time]bool{}
	for _, x := range s.exceptions {
		if met[dayOf(x.original)] {
			w.m.lose(w.place, "another instance of %s, which has one already", x.original.Format(time.DateOnly))
			continue
		}
		met[dayOf(x.original)] = true
		original := x.original
		if zone != nil {
			original = zone.utc(original)
		}
		sub := instances[original.Unix()]
		var c *ical.Component
		if sub != nil && w.when(sub, false) {
			plain, err := sub.storedPlain(w.m.out.ctx)
			if err != nil {
				return nil, err
			}
			if c, err = w.event(sub, plain); err != nil {
				return nil, err
			}
			text := c.Text("DESCRIPTION") != "" || plain == nil && sub.entries[pidTagHTML] == nil && sub.entries[pidTagRtfCompressed] == nil
			w.told[sub.at] = text && len(sub.attachments) == 0
			if x.flags&overrideBody == 0 {
				same(c, e, "DESCRIPTION")
			}
		} else {
			c = &ical.Component{Name: "VEVENT"}
			for _, p := range e.Properties {
				switch {
				case p.Name == "RRULE" || p.Name == "EXDATE" || p.Name == "DTSTART" || p.Name == "DTEND":
				case p.Name == "SUMMARY" && x.flags&overrideSubject != 0, p.Name == "LOCATION" && x.flags&overrideLocation != 0:
				default:
					c.Properties = append(c.Properties, p)
				}
			}
			c.AddText("SUMMARY", x.subject)
			c.AddText("LOCATION", x.location)
			c.AddTime("DTSTART", local(x.start))
			c.AddTime("DTEND", local(x.end))
		}
		c.AddTime("RECURRENCE-ID", local(dayOf(x.original).Add(begin)))
		more = append(more, c)
	}
	w.zone, w.allDay = zone, allDay
	return more, nil
}

// same gives an event a property of another, in the place of its own.
func same(c, of *ical.Component, name string) {
	c.Properties = slices.DeleteFunc(c.Properties, func(p ical.Property) bool { return p.Name == name })
	c.Properties = append(c.Properties, of.All(name)...)
}

// instances returns the messages of instances that differ, by when they would have
// been.
func (w *calendarWriter) instances() (map[int64]*item, error) {
	found := map[int64]*item{}
	for _, entry := range w.it.attachments[:min(len(w.it.attachments), maxAttachments)] {
		a, err := w.it.f.newItem(entry, headOfOther, w.it.page, func(error) {})
		if err != nil {
			return nil, err
		}
		e := a.embedded()
		if e == nil || !a.isInstance() {
			continue
		}
		sub, err := a.f.newItem(e, headOfEmbedded, a.page, w.m.damaged(w.place))
		if err != nil {
			return nil, err
		}
		at := a.time(pidTagExceptionReplaceTime)
		if at.IsZero() {
			at = sub.namedTime(pidLidExceptionReplaceTime)
		}
		found[at.Unix()] = sub
	}
	return found, nil
}

// isInstance reports whether an attachment is an instance of a series that differs
// (MS-OXOCAL 2.2.10.1.2).
func (it *item) isInstance() bool {
	flags, _ := it.int32(pidTagAttachmentFlags)
	return flags&attachmentException != 0
}
