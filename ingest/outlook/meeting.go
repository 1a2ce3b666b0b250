package outlook

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

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
