package tnef

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"postroom/ingest/message/mapi"
)

// An AttributeID has the type of an attribute's data in its upper 16 bits and the
// identifier in the lower (MS-OXTNEF 2.1.3.2).
type AttributeID uint32

// Attributes (MS-OXTNEF 2.1.3.3).
const (
	AttOwner                   AttributeID = 0x00060000
	AttSentFor                 AttributeID = 0x00060001
	AttDelegate                AttributeID = 0x00060002
	AttOriginalMessageClass    AttributeID = 0x00070006
	AttDateStart               AttributeID = 0x00030006
	AttDateEnd                 AttributeID = 0x00030007
	AttAidOwner                AttributeID = 0x00050008
	AttRequestRes              AttributeID = 0x00040009
	AttFrom                    AttributeID = 0x00008000
	AttSubject                 AttributeID = 0x00018004
	AttDateSent                AttributeID = 0x00038005
	AttDateRecd                AttributeID = 0x00038006
	AttMessageStatus           AttributeID = 0x00068007
	AttMessageClass            AttributeID = 0x00078008
	AttMessageID               AttributeID = 0x00018009
	AttParentID                AttributeID = 0x0001800A
	AttConversationID          AttributeID = 0x0001800B
	AttBody                    AttributeID = 0x0002800C
	AttPriority                AttributeID = 0x0004800D
	AttAttachData              AttributeID = 0x0006800F
	AttAttachTitle             AttributeID = 0x00018010
	AttAttachMetaFile          AttributeID = 0x00068011
	AttAttachCreateDate        AttributeID = 0x00038012
	AttAttachModifyDate        AttributeID = 0x00038013
	AttDateModified            AttributeID = 0x00038020
	AttAttachTransportFilename AttributeID = 0x00069001
	AttAttachRendData          AttributeID = 0x00069002
	AttMsgProps                AttributeID = 0x00069003
	AttRecipTable              AttributeID = 0x00069004
	AttAttachment              AttributeID = 0x00069005
	AttTnefVersion             AttributeID = 0x00089006
	AttOemCodepage             AttributeID = 0x00069007
)

var attributeNames = map[AttributeID]string{
	AttOwner: "attOwner", AttSentFor: "attSentFor", AttDelegate: "attDelegate",
	AttOriginalMessageClass: "attOriginalMessageClass", AttDateStart: "attDateStart", AttDateEnd: "attDateEnd",
	AttAidOwner: "attAidOwner", AttRequestRes: "attRequestRes", AttFrom: "attFrom", AttSubject: "attSubject",
	AttDateSent: "attDateSent", AttDateRecd: "attDateRecd", AttMessageStatus: "attMessageStatus",
	AttMessageClass: "attMessageClass", AttMessageID: "attMessageID", AttParentID: "attParentID",
	AttConversationID: "attConversationID", AttBody: "attBody", AttPriority: "attPriority",
	AttAttachData: "attAttachData", AttAttachTitle: "attAttachTitle", AttAttachMetaFile: "attAttachMetaFile",
	AttAttachCreateDate: "attAttachCreateDate", AttAttachModifyDate: "attAttachModifyDate",
	AttDateModified: "attDateModified", AttAttachTransportFilename: "attAttachTransportFilename",
	AttAttachRendData: "attAttachRendData", AttMsgProps: "attMsgProps", AttRecipTable: "attRecipTable",
	AttAttachment: "attAttachment", AttTnefVersion: "attTnefVersion", AttOemCodepage: "attOemCodepage",
}

func (id AttributeID) String() string {
	if s, ok := attributeNames[id]; ok {
		return s
	}
	return fmt.Sprintf("attribute %#08x", uint32(id))
}

// known finds the attribute that has the identifier of id, whatever its type:
// some writers leave the type out. Identifiers below 0x8000 are ambiguous.
func (id AttributeID) known() (AttributeID, bool) {
	if _, ok := attributeNames[id]; ok {
		return id, true
	}
	if id&0x8000 != 0 {
		for k := range attributeNames {
			if k&0xFFFF == id&0xFFFF {
				return k, true
			}
		}
	}
	return id, false
}

// translate makes the properties that an attribute stands for (MS-OXTNEF
// 2.1.3.3, and 2.3.3 for what a reader does). Text and bytes stay ranges of the
// stream. class is that of the message, which some attributes go by.
func translate(a Attribute, class string) (Properties, error) {
	ranged := func(tag Tag) (Properties, error) {
		return Properties{{Tag: tag, Values: []Value{a.Value}, From: a.ID}}, nil
	}
	if tag, ok := rangedAttributes[a.ID]; ok {
		return ranged(tag)
	}
	if !translated[a.ID] {
		return nil, nil
	}
	if a.n > maxText {
		return nil, nil // no such attribute is anywhere near that long
	}
	b, err := a.Bytes()
	if err != nil {
		return nil, err
	}
	one := func(tag Tag, v []byte) (Properties, error) {
		return Properties{{Tag: tag, Values: []Value{made(v)}, From: a.ID}}, nil
	}
	num := func(tag Tag, n uint32) (Properties, error) { return one(tag, binary.LittleEndian.AppendUint32(nil, n)) }
	switch a.ID {
	case AttMessageClass, AttOriginalMessageClass:
		return one(map[AttributeID]Tag{AttMessageClass: PidTagMessageClass, AttOriginalMessageClass: PidTagOriginalMessageClass}[a.ID]&^0xFFFF|Tag(TypeString8),
			[]byte(mapClass(cstring(b))))
	case AttMessageID, AttParentID, AttConversationID:
		if v := unhex(b); len(v) > 0 {
			return one(map[AttributeID]Tag{AttMessageID: PidTagSearchKey, AttParentID: PidTagParentKey, AttConversationID: PidTagConversationKey}[a.ID], v)
		}
	case AttDateSent, AttDateRecd, AttDateModified, AttDateStart, AttDateEnd, AttAttachCreateDate, AttAttachModifyDate:
		if t, ok := dtr(b); ok {
			return one(dateAttributes[a.ID], binary.LittleEndian.AppendUint64(nil, mapi.FileTime(t)))
		}
	case AttPriority:
		// 1 is high, 3 low; importance counts the other way.
		if len(b) >= 2 {
			if n := binary.LittleEndian.Uint16(b); n >= 1 && n <= 3 {
				return num(PidTagImportance, uint32(3-n))
			}
		}
	case AttMessageStatus:
		if len(b) >= 1 {
			return num(PidTagMessageFlags, messageFlags(b[0]))
		}
	case AttAidOwner:
		if len(b) >= 4 {
			return num(PidTagOwnerAppointmentID, binary.LittleEndian.Uint32(b))
		}
	case AttRequestRes:
		if len(b) >= 2 {
			return one(PidTagResponseRequested, b[:2])
		}
	case AttFrom:
		if name, addr, ok := triple(b); ok {
			return person(a.ID, name, addr, PidTagSenderName, PidTagSenderAddressType, PidTagSenderEmailAddress), nil
		}
	case AttSentFor, AttOwner:
		// The owner of an answer to a meeting is who received the request
		// (MS-OXTNEF 2.2.3.11).
		name, addr, ok := counted(b)
		switch {
		case !ok:
		case a.ID == AttOwner && strings.Contains(strings.ToLower(class), "meeting.resp"):
			return person(a.ID, name, addr, PidTagReceivedRepresentingName, PidTagReceivedRepresentingAddressType, PidTagReceivedRepresentingEmailAddress), nil
		default:
			return person(a.ID, name, addr, PidTagSentRepresentingName, PidTagSentRepresentingAddressType, PidTagSentRepresentingEmailAddress), nil
		}
	case AttAttachRendData:
		if r, ok := parseRendData(b); ok {
			method, _ := num(PidTagAttachMethod, map[bool]uint32{false: MethodFile, true: MethodOLE}[r.ole])
			position, _ := num(PidTagRenderingPosition, uint32(r.position))
			return append(method, position...), nil
		}
	}
	return nil, nil
}

// rangedAttributes have data that are a property's value as they stand.
var rangedAttributes = map[AttributeID]Tag{
	AttSubject:                 PidTagSubject&^0xFFFF | Tag(TypeString8),
	AttBody:                    PidTagBody&^0xFFFF | Tag(TypeString8),
	AttAttachTitle:             PidTagAttachFilename&^0xFFFF | Tag(TypeString8),
	AttAttachTransportFilename: PidTagAttachTransportName&^0xFFFF | Tag(TypeString8),
	AttAttachMetaFile:          PidTagAttachRendering,
	AttAttachData:              PidTagAttachDataBinary,
}

var dateAttributes = map[AttributeID]Tag{
	AttDateSent: PidTagClientSubmitTime, AttDateRecd: PidTagMessageDeliveryTime, AttDateModified: PidTagLastModificationTime,
	AttDateStart: PidTagStartDate, AttDateEnd: PidTagEndDate,
	AttAttachCreateDate: PidTagCreationTime, AttAttachModifyDate: PidTagLastModificationTime,
}

var translated = map[AttributeID]bool{
	AttMessageClass: true, AttOriginalMessageClass: true, AttMessageID: true, AttParentID: true, AttConversationID: true,
	AttDateSent: true, AttDateRecd: true, AttDateModified: true, AttDateStart: true, AttDateEnd: true,
	AttAttachCreateDate: true, AttAttachModifyDate: true, AttPriority: true, AttMessageStatus: true, AttAidOwner: true,
	AttRequestRes: true, AttFrom: true, AttSentFor: true, AttOwner: true, AttAttachRendData: true,
}

func cstring(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// classes are the names that attMessageClass has for classes of Exchange
// (MS-OXTNEF 2.1.3.3.5).
var classes = map[string]string{
	"ipm.microsoft mail.note":          "IPM.Note",
	"ipm.microsoft mail.read receipt":  "Report.IPM.Note.IPNRN",
	"ipm.microsoft mail.non-delivery":  "Report.IPM.Note.NDR",
	"ipm.microsoft schedule.mtgrespp":  "IPM.Schedule.Meeting.Resp.Pos",
	"ipm.microsoft schedule.mtgrespn":  "IPM.Schedule.Meeting.Resp.Neg",
	"ipm.microsoft schedule.mtgrespa":  "IPM.Schedule.Meeting.Resp.Tent",
	"ipm.microsoft schedule.mtgreq":    "IPM.Schedule.Meeting.Request",
	"ipm.microsoft schedule.mtgcncl":   "IPM.Schedule.Meeting.Canceled",
	"ipm.microsoft mail.unread notice": "Report.IPM.Note.IPNNRN",
}

func mapClass(s string) string {
	if c, ok := classes[strings.ToLower(s)]; ok {
		return c
	}
	return s
}

// messageFlags maps attMessageStatus (MS-OXTNEF 2.1.3.3, fms…) to
// PidTagMessageFlags (MS-OXCMSG 2.2.1.6).
func messageFlags(b byte) (flags uint32) {
	for _, m := range []struct {
		status byte
		flag   uint32
	}{{0x20, 0x01}, {0x04, 0x04}, {0x02, 0x08}, {0x80, 0x10}} {
		if b&m.status != 0 {
			flags |= m.flag
		}
	}
	if b&0x01 == 0 {
		flags |= 0x02 // unmodified
	}
	return flags
}

// dtr reads a DTR: year, month, day, hour, minute, second and day of the week in
// 16 bits each. It states no zone, and what writers put there is the time of
// their wall; it is given as if it were UTC.
func dtr(b []byte) (time.Time, bool) {
	if len(b) < 12 {
		return time.Time{}, false
	}
	f := func(i int) int { return int(binary.LittleEndian.Uint16(b[2*i:])) }
	year, month, day, hour, minute, second := f(0), f(1), f(2), f(3), f(4), f(5)
	if year < 1601 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	return t, t.Day() == day || second == 60
}

// triple reads attFrom: four lengths, a display name and an address, each with
// its terminator and padding.
func triple(b []byte) (name, addr []byte, ok bool) {
	const head = 8
	if len(b) < head {
		return nil, nil, false
	}
	cch, cb := int(binary.LittleEndian.Uint16(b[4:])), int(binary.LittleEndian.Uint16(b[6:]))
	if head+cch+cb > len(b) {
		return nil, nil, false
	}
	name, _, _ = bytes.Cut(b[head:head+cch], []byte{0})
	addr, _, _ = bytes.Cut(b[head+cch:head+cch+cb], []byte{0})
	return name, addr, len(name)+len(addr) > 0
}

// counted reads attOwner and attSentFor (MS-OXTNEF 2.1.3.3.16): two strings with
// their lengths before.
func counted(b []byte) (name, addr []byte, ok bool) {
	for _, s := range []*[]byte{&name, &addr} {
		if len(b) < 2 {
			return nil, nil, false
		}
		n := int(binary.LittleEndian.Uint16(b))
		if n > len(b)-2 {
			return nil, nil, false
		}
		*s, _, _ = bytes.Cut(b[2:2+n], []byte{0})
		b = b[2+n:]
	}
	return name, addr, len(name)+len(addr) > 0
}

// person makes properties of a name and an address of the form TYPE:address.
func person(from AttributeID, name, addr []byte, nameTag, typeTag, emailTag Tag) (ps Properties) {
	kind, email, ok := bytes.Cut(addr, []byte{':'})
	if !ok {
		kind, email = nil, addr
	}
	for _, p := range []struct {
		tag   Tag
		value []byte
	}{{nameTag, name}, {typeTag, kind}, {emailTag, email}} {
		if len(p.value) > 0 {
			ps = append(ps, Property{Tag: p.tag&^0xFFFF | Tag(TypeString8), Values: []Value{made(p.value)}, From: from})
		}
	}
	return ps
}

// rendData is attAttachRendData (MS-OXTNEF 2.1.3.3.15).
type rendData struct {
	ole       bool
	position  int32
	macBinary bool
}

func parseRendData(b []byte) (rendData, bool) {
	if len(b) < 14 {
		return rendData{position: -1}, false
	}
	return rendData{
		ole:       binary.LittleEndian.Uint16(b) == 2,
		position:  int32(binary.LittleEndian.Uint32(b[2:])),
		macBinary: binary.LittleEndian.Uint32(b[10:])&1 != 0,
	}, true
}
