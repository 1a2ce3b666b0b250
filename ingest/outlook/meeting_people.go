package outlook

import (
	"maps"
	"strings"
	"time"

	"postroom/ingest/message"
	"postroom/ingest/outlook/ical"
)

// guest is an attendee or the organiser.
type guest struct {
	address message.Address
	kind    int32 // PidTagRecipientType
	flags   int32 // PidTagRecipientFlags
	status  int32 // PidTagRecipientTrackStatus
	replied time.Time
	respond bool // is asked to
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

// addressesOf returns the bare addresses of a field.
func addressesOf(h *message.Header, name string) (out []string) {
	for _, a := range h.AddressList(name) {
		out = append(out, a.Address)
	}
	return out
}
