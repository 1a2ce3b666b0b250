package outlook

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"postroom/ingest/message"
	"postroom/ingest/message/mapi"
)

// Property sets of appointments (MS-OXPROPS 1.3.2).
var (
	psetidAppointment = guid{0x02, 0x20, 0x06, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46}
	psetidMeeting     = guid{0x90, 0xDA, 0xD8, 0x6E, 0x0B, 0x45, 0x1B, 0x10, 0x98, 0xDA, 0, 0xAA, 0, 0x3F, 0x13, 0x05}
)

func appointment(lid uint32) propertyName { return propertyName{set: psetidAppointment, lid: lid} }
func meetingName(lid uint32) propertyName { return propertyName{set: psetidMeeting, lid: lid} }
func common(lid uint32) propertyName      { return propertyName{set: psetidCommon, lid: lid} }

// Named properties of appointments (MS-OXPROPS).
var (
	pidLidAppointmentSequence                       = appointment(0x8201)
	pidLidAppointmentSequenceTime                   = appointment(0x8202)
	pidLidBusyStatus                                = appointment(0x8205)
	pidLidLocation                                  = appointment(0x8208)
	pidLidAppointmentStartWhole                     = appointment(0x820D)
	pidLidAppointmentEndWhole                       = appointment(0x820E)
	pidLidAppointmentDuration                       = appointment(0x8213)
	pidLidAppointmentSubType                        = appointment(0x8215)
	pidLidAppointmentRecur                          = appointment(0x8216)
	pidLidAppointmentStateFlags                     = appointment(0x8217)
	pidLidResponseStatus                            = appointment(0x8218)
	pidLidAppointmentReplyTime                      = appointment(0x8220)
	pidLidRecurring                                 = appointment(0x8223)
	pidLidIntendedBusyStatus                        = appointment(0x8224)
	pidLidExceptionReplaceTime                      = appointment(0x8228)
	pidLidRecurrenceType                            = appointment(0x8231)
	pidLidTimeZoneStruct                            = appointment(0x8233)
	pidLidTimeZoneDescription                       = appointment(0x8234)
	pidLidClipStart                                 = appointment(0x8235)
	pidLidClipEnd                                   = appointment(0x8236)
	pidLidAppointmentProposedStartWhole             = appointment(0x8250)
	pidLidAppointmentProposedEndWhole               = appointment(0x8251)
	pidLidAppointmentProposedDuration               = appointment(0x8256)
	pidLidAppointmentCounterProposal                = appointment(0x8257)
	pidLidAppointmentNotAllowPropose                = appointment(0x825A)
	pidLidAppointmentTimeZoneDefinitionStartDisplay = appointment(0x825E)
	pidLidAppointmentTimeZoneDefinitionEndDisplay   = appointment(0x825F)
	pidLidAppointmentTimeZoneDefinitionRecur        = appointment(0x8260)

	pidLidAttendeeCriticalChange  = meetingName(0x01)
	pidLidWhere                   = meetingName(0x02)
	pidLidGlobalObjectID          = meetingName(0x03)
	pidLidIsRecurring             = meetingName(0x05)
	pidLidIsException             = meetingName(0x0A)
	pidLidOwnerCriticalChange     = meetingName(0x1A)
	pidLidCleanGlobalObjectID     = meetingName(0x23)
	pidLidAppointmentMessageClass = meetingName(0x24)
	pidLidMeetingType             = meetingName(0x26)

	pidLidReminderDelta      = common(0x8501)
	pidLidReminderTime       = common(0x8502)
	pidLidReminderSet        = common(0x8503)
	pidLidPrivate            = common(0x8506)
	pidLidCommonStart        = common(0x8516)
	pidLidCommonEnd          = common(0x8517)
	pidLidReminderSignalTime = common(0x8560)
	pidLidSideEffects        = common(0x8510)
)

const (
	pidTagStartDate          tag = 0x00600040
	pidTagEndDate            tag = 0x00610040
	pidTagOwnerAppointmentID tag = 0x00620003
	pidTagResponseRequested  tag = 0x0063000B
	pidTagReplyRequested     tag = 0x0C17000B

	pidTagExceptionReplaceTime tag = 0x7FF90040
	pidTagAttachmentLinkID     tag = 0x7FFA0003
	pidTagExceptionStartTime   tag = 0x7FFB0040
	pidTagExceptionEndTime     tag = 0x7FFC0040

	pidTagRecipientFlags           tag = 0x5FFD0003
	pidTagRecipientTrackStatus     tag = 0x5FFF0003
	pidTagRecipientTrackStatusTime tag = 0x5FFB0040
)

// attachmentException marks an attachment as an instance that differs
// (MS-OXOCAL 2.2.10.1.2).
const attachmentException = 2

func (o *object) namedInt32(name propertyName, v int32) {
	if t, ok := o.named(name, typeInt32); ok {
		o.int32(t, v)
	}
}

func (o *object) namedBool(name propertyName, v bool) {
	if t, ok := o.named(name, typeBool); ok {
		o.bool(t, v)
	}
}

func (o *object) namedTime(name propertyName, v time.Time) {
	if mapi.FileTime(v) == 0 {
		return
	}
	if t, ok := o.named(name, typeTime); ok {
		o.time(t, v)
	}
}

func (o *object) namedText(name propertyName, s string) {
	if s == "" {
		return
	}
	if t, ok := o.named(name, typeString); ok {
		o.text(t, s)
	}
}

func (o *object) namedBinary(name propertyName, b []byte) {
	if t, ok := o.named(name, typeBinary); ok {
		o.binary(t, b)
	}
}

// override sets a property that is set already.
func (o *object) override(t tag, v int32) {
	for i := range o.entries {
		if binary.LittleEndian.Uint32(o.entries[i][:]) == uint32(t) {
			binary.LittleEndian.PutUint32(o.entries[i][8:], uint32(v))
			return
		}
	}
	o.int32(t, v)
}

// minutesBetween returns whole minutes.
func minutesBetween(from, to time.Time) int32 {
	return int32(min(to.Sub(from)/time.Minute, 1<<31-1))
}

// properties sets what the message has for being one of an appointment.
func (mt *meeting) properties(c *converter, o *object, h *message.Header, place string) {
	if mt == nil {
		return
	}
	e := mt.event
	mt.when(o)
	mt.where(o)
	busy := mt.busy()
	switch mt.method {
	case "REQUEST":
		intended, ok := busyWords["X-MICROSOFT-CDO-INTENDEDSTATUS "+e.Word("X-MICROSOFT-CDO-INTENDEDSTATUS")]
		if !ok {
			intended = busy
		}
		o.namedInt32(pidLidIntendedBusyStatus, intended)
		busy = busyTentative
	case "CANCEL":
		busy = 0
	}
	o.namedInt32(pidLidBusyStatus, busy)
	o.namedInt32(pidLidAppointmentStateFlags, mt.state)
	o.namedInt32(pidLidResponseStatus, mt.response)
	mt.identity(o)
	mt.said(o, h)
	mt.reminder(c, o, h, place)

	icon := mt.icon
	if mt.series != nil && mt.method == "PUBLISH" {
		icon++
	}
	o.int32(pidTagIconIndex, icon)
	if mt.method == "PUBLISH" {
		o.namedInt32(pidLidSideEffects, 0x171) // what Outlook has for all appointments
	}
	if mt.method == "REQUEST" {
		o.namedText(pidLidAppointmentMessageClass, "IPM.Appointment")
		kind := int32(1) // the first request
		if n, ok := mt.sequence(); ok && n > 0 {
			kind = 0x10000 // a full update
		}
		o.namedInt32(pidLidMeetingType, kind)
		o.bool(pidTagResponseRequested, mt.asked(c))
		o.bool(pidTagReplyRequested, mt.asked(c))
	}
	if mt.method == "COUNTER" {
		o.namedBool(pidLidAppointmentCounterProposal, true)
		o.namedTime(pidLidAppointmentProposedStartWhole, mt.proposedStart)
		o.namedTime(pidLidAppointmentProposedEndWhole, mt.proposedEnd)
		o.namedInt32(pidLidAppointmentProposedDuration, minutesBetween(mt.proposedStart, mt.proposedEnd))
	}
	mt.texts(c, o)
}

// where sets the place.
func (mt *meeting) where(o *object) {
	location := oneLine(mt.event.Text("LOCATION"))
	o.namedText(pidLidLocation, location)
	o.namedText(pidLidWhere, location)
}

// attachments returns how many the instances that differ are.
func (mt *meeting) attachments() int {
	if mt == nil {
		return 0
	}
	return len(mt.instances)
}

// instance writes an instance that differs as an attachment (MS-OXCICAL
// 2.1.3.1.1.20.20, MS-OXOCAL 2.2.10).
func (c *converter) instance(parent *object, n int, i instance) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if parent.err != nil {
		return parent.err
	}
	at, err := parent.at.Storage(fmt.Sprintf("__attach_version1.0_#%08X", n))
	if err != nil {
		return err
	}
	mt := i.meeting
	o := newObject(&c.names, at)
	o.int32(pidTagAttachNumber, int32(n))
	o.int32(pidTagObjectType, 7)
	o.int32(pidTagRenderingPosition, -1)
	o.int32(pidTagAttachMethod, embeddedMessage)
	o.int32(pidTagAttachSize, 0)
	o.int32(pidTagAttachFlags, 0)
	o.int32(pidTagAttachmentFlags, attachmentException)
	o.int32(pidTagAttachmentLinkID, 0)
	o.bool(pidTagAttachmentHidden, true)
	o.text(pidTagDisplayName, either(oneLine(mt.event.Text("SUMMARY")), "Untitled"))
	o.time(pidTagExceptionStartTime, i.exception.start)
	o.time(pidTagExceptionEndTime, i.exception.end)
	o.time(pidTagExceptionReplaceTime, mt.original)
	in := o.storage(pidTagAttachDataObject)
	if o.err != nil {
		return o.err
	}
	if err := c.instanceMessage(newObject(&c.names, in), mt); err != nil {
		return err
	}
	return o.finish(make([]byte, 8))
}

// instanceMessage writes the appointment that an instance is.
func (c *converter) instanceMessage(o *object, mt *meeting) error {
	o.text(pidTagMessageClass, "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}")
	o.int32(pidTagStoreSupportMask, 0x00040E79)
	o.int32(pidTagAccess, 2)
	o.int32(pidTagAccessLevel, 0)
	o.int32(pidTagMessageFlags, mfUnmodified|mfRead)
	o.bool(pidTagHasAttachments, false)
	mt.when(o)
	mt.where(o)
	o.namedInt32(pidLidBusyStatus, mt.busy())
	o.namedInt32(pidLidAppointmentStateFlags, mt.state)
	o.namedInt32(pidLidResponseStatus, mt.response)
	mt.identity(o)
	mt.texts(c, o)
	guests := mt.guests[:min(len(mt.guests), maxObjects)]
	for n, g := range guests {
		c.recipient(o, n, g.kind, g.address, mt.attends(g.address))
	}
	header := make([]byte, 8, 24)
	for _, n := range []int{len(guests), 0, len(guests), 0} {
		header = binary.LittleEndian.AppendUint32(header, uint32(n))
	}
	return o.finish(header)
}

// when sets the properties of time, zone and series.
func (mt *meeting) when(o *object) {
	o.time(pidTagStartDate, mt.start)
	o.time(pidTagEndDate, mt.end)
	o.namedTime(pidLidAppointmentStartWhole, mt.start)
	o.namedTime(pidLidAppointmentEndWhole, mt.end)
	o.namedTime(pidLidCommonStart, mt.start)
	o.namedTime(pidLidCommonEnd, mt.end)
	o.namedInt32(pidLidAppointmentDuration, minutesBetween(mt.start, mt.end))
	o.namedBool(pidLidAppointmentSubType, mt.allDay)
	if mt.zone != nil {
		o.namedBinary(pidLidAppointmentTimeZoneDefinitionStartDisplay, mt.zone.definition(ruleEffective))
	}
	if mt.endZone != nil {
		o.namedBinary(pidLidAppointmentTimeZoneDefinitionEndDisplay, mt.endZone.definition(ruleEffective))
	}
	o.namedBool(pidLidRecurring, mt.series != nil)
	o.namedBool(pidLidIsRecurring, mt.series != nil || !mt.original.IsZero())
	clipStart, clipEnd := mt.start, mt.end
	if s := mt.series; s != nil {
		local := mt.zone.wall(mt.start)
		begin := minutesOf(local) - minutesOf(dayOf(local))
		o.namedBinary(pidLidAppointmentRecur, s.blob(begin, begin+uint32(minutesBetween(mt.start, mt.end))))
		o.namedInt32(pidLidRecurrenceType, int32(s.frequency-daily)+1)
		o.namedBinary(pidLidTimeZoneStruct, mt.zone.rule.blob())
		o.namedText(pidLidTimeZoneDescription, mt.zone.tzid)
		o.namedBinary(pidLidAppointmentTimeZoneDefinitionRecur, mt.zone.definition(ruleRecurs|ruleEffective))
		clipStart = mt.zone.utc(s.start)
		clipEnd = time.Date(4500, 8, 31, 23, 59, 0, 0, time.UTC)
		if !s.end.IsZero() {
			clipEnd = mt.zone.utc(s.end)
		}
	}
	o.namedTime(pidLidClipStart, clipStart)
	o.namedTime(pidLidClipEnd, clipEnd)
	if !mt.original.IsZero() {
		o.namedBool(pidLidIsException, true)
		o.namedTime(pidLidExceptionReplaceTime, mt.original)
	}
}

func (mt *meeting) sequence() (int32, bool) {
	for _, name := range []string{"X-MICROSOFT-CDO-APPT-SEQUENCE", "SEQUENCE"} {
		if p, ok := mt.event.Get(name); ok {
			if n, ok := p.Int(); ok && n >= 0 {
				return n, true
			}
		}
	}
	return 0, false
}

// identity sets by what the appointment is found again.
func (mt *meeting) identity(o *object) {
	e := mt.event
	if uid := strings.TrimSpace(e.Text("UID")); uid != "" {
		id := globalObjectID(uid, mt.replaced)
		o.namedBinary(pidLidGlobalObjectID, id)
		o.namedBinary(pidLidCleanGlobalObjectID, cleanObjectID(id))
	}
	if n, ok := mt.sequence(); ok {
		o.namedInt32(pidLidAppointmentSequence, n)
	}
	stamp := func(name string) time.Time {
		p, _ := e.Get(name)
		t, ok := p.Time()
		if !ok {
			return time.Time{}
		}
		return t.Wall
	}
	o.namedTime(pidLidAppointmentSequenceTime, stamp("X-MS-OLK-APPTSEQTIME"))
	critical := pidLidOwnerCriticalChange
	if mt.method == "REPLY" || mt.method == "COUNTER" {
		critical = pidLidAttendeeCriticalChange
		o.namedTime(pidLidAppointmentReplyTime, stamp("DTSTAMP"))
	}
	o.namedTime(critical, stamp("DTSTAMP"))
	if p, ok := e.Get("X-MICROSOFT-CDO-OWNERAPPTID"); ok {
		if n, ok := p.Int(); ok {
			o.int32(pidTagOwnerAppointmentID, n)
		}
	}
	if e.Word("X-MICROSOFT-DISALLOW-COUNTER") == "TRUE" {
		o.namedBool(pidLidAppointmentNotAllowPropose, true)
	}
}

// said sets importance, sensitivity and categories that the header does not.
func (mt *meeting) said(o *object, h *message.Header) {
	e := mt.event
	if importanceOf(h) == 1 {
		importance := int32(-1)
		p, _ := e.Get("X-MICROSOFT-CDO-IMPORTANCE")
		if n, ok := p.Int(); ok && n >= 0 && n <= 2 {
			importance = n
		} else if p, _ := e.Get("PRIORITY"); p.Value != "" {
			switch n, ok := p.Int(); {
			case !ok || n < 1 || n > 9:
			case n < 5:
				importance = 2
			case n > 5:
				importance = 0
			}
		}
		if importance >= 0 {
			o.override(pidTagImportance, importance)
			o.override(pidTagPriority, importance-1)
		}
	}
	sensitivity := sensitivityOf(h)
	if sensitivity == 0 {
		sensitivity = map[string]int32{"PERSONAL": 1, "PRIVATE": 2, "CONFIDENTIAL": 3}[e.Word("CLASS")]
		o.override(pidTagSensitivity, sensitivity)
	}
	o.namedBool(pidLidPrivate, sensitivity == 2)
	categories := mt.categories()
	categories = categories[:min(len(categories), maxCategories)]
	if t, ok := o.named(pidNameKeywords, typeStrings); ok && len(categories) > 0 && !o.have[t.id()] {
		o.texts(t, categories)
	}
}

// asked reports whether the person whose mailbox it is, else anybody, is asked to
// respond.
func (mt *meeting) asked(c *converter) bool {
	asked := false
	for _, g := range mt.guests {
		if strings.EqualFold(g.address.Address, c.options.Mailbox) {
			return g.respond
		}
		asked = asked || g.respond
	}
	return asked
}

// reminder sets the properties of a reminder (MS-OXCICAL 2.1.3.1.1.20.62), which
// is set if there is an instance after the message arrived.
func (mt *meeting) reminder(c *converter, o *object, h *message.Header, place string) {
	delta, set := int32(15), false
	if mt.allDay {
		delta = 18 * 60
	}
	signal := time.Time{}
	for _, alarm := range mt.event.Components {
		p, ok := alarm.Get("TRIGGER")
		if alarm.Name != "VALARM" || !ok {
			continue
		}
		if d, ok := p.Duration(); ok {
			delta, set = int32(d.Abs()/time.Minute), true
		} else if t, ok := p.Time(); ok && t.UTC {
			delta, set, signal = max(minutesBetween(t.Wall, mt.start), 0), true, t.Wall
		}
		break
	}
	now := c.arrival(h, place)
	next := mt.start
	if mt.series != nil {
		local, ok := mt.series.next(mt.zone.wall(now), mt.clock())
		next = mt.zone.utc(local)
		set = set && ok
	}
	set = set && next.After(now) && mt.method != "CANCEL"
	o.namedInt32(pidLidReminderDelta, delta)
	o.namedBool(pidLidReminderSet, set)
	if !set {
		return
	}
	if signal.IsZero() {
		signal = next.Add(-time.Duration(delta) * time.Minute)
	}
	o.namedTime(pidLidReminderTime, next)
	o.namedTime(pidLidReminderSignalTime, signal)
}

// arrival is when the message came.
func (c *converter) arrival(h *message.Header, place string) time.Time {
	at := h.Arrived()
	if place == "" && !c.options.Received.IsZero() {
		at = c.options.Received
	}
	if at.IsZero() {
		at = h.Date()
	}
	return at
}

// texts sets what the message does not say itself: its subject, and its text
// (MS-OXCMAIL 2.2.3.3.2, rule 4).
func (mt *meeting) texts(c *converter, o *object) {
	if summary := oneLine(mt.event.Text("SUMMARY")); !o.have[pidTagSubject.id()] {
		o.text(pidTagSubject, summary)
		o.text(pidTagNormalizedSubject, summary)
		if !o.have[pidTagConversationTopic.id()] {
			o.text(pidTagConversationTopic, summary)
		}
	}
	description := mt.description()
	if o.have[pidTagBody.id()] || strings.TrimSpace(description) == "" {
		return
	}
	o.stream(pidTagBody, func(w io.Writer) error {
		l := newLineWriter(stopper{c.ctx, w})
		if _, err := io.WriteString(l, description); err != nil {
			return err
		}
		return l.end()
	})
	if !o.have[pidTagNativeBody.id()] { // there may be RTF of which no text could be made
		o.int32(pidTagInternetCodepage, utf8Page)
		o.int32(pidTagNativeBody, nativePlain)
	}
}
