package outlook

import (
	"encoding/binary"
	"fmt"
	"strings"

	"postroom/ingest/message"
	"postroom/ingest/message/mapi"
)

// displayName is the name of an address, or the address where it has none.
func displayName(a message.Address) string {
	if a.Name != "" {
		return a.Name
	}
	return a.Address
}

// addressType is "SMTP", or nothing where there is no address.
func addressType(a message.Address) string {
	if a.Address == "" {
		return ""
	}
	return "SMTP"
}

// oneOff returns the entry identifier of an address (MS-OXCDATA 2.2.5.1).
func oneOff(a message.Address) []byte {
	return mapi.OneOff{Name: displayName(a), Type: addressType(a), Address: a.Address}.Bytes()
}

// searchKey returns what an address is compared by.
func searchKey(a message.Address) []byte {
	return append([]byte(strings.ToUpper("SMTP:"+a.Address)), 0)
}

// person sets the properties of a person (MS-OXCMAIL 2.2.3.1.1).
func (o *object) person(g group, a message.Address) {
	o.text(g.name, displayName(a))
	o.binary(g.entry, oneOff(a))
	if a.Address == "" {
		return
	}
	o.text(g.kind, addressType(a))
	o.text(g.email, a.Address)
	if g.smtp != 0 {
		o.text(g.smtp, a.Address)
	}
	o.binary(g.search, searchKey(a))
}

// flatEntries returns a FlatEntryList (MS-OXCDATA 2.3.3).
func flatEntries(list []message.Address) []byte {
	le := binary.LittleEndian
	var entries []byte
	for i, a := range list {
		id := oneOff(a)
		entries = le.AppendUint32(entries, uint32(len(id)))
		entries = append(entries, id...)
		if i+1 < len(list) {
			entries = append(entries, make([]byte, -len(entries)&3)...)
		}
	}
	b := le.AppendUint32(nil, uint32(len(list)))
	b = le.AppendUint32(b, uint32(len(entries)))
	return append(b, entries...)
}

// maxObjects is how many recipients, and how many attachments, a message may
// have (MS-OXMSG 2.2.1, 2.2.2).
const maxObjects = 2048

// addresses sets the properties of people (MS-OXCMAIL 2.2.3.1.3 to 2.2.3.1.8) and
// returns the number of recipients.
// Those of a delivery report are those of whom it reports.
func (c *converter) addresses(o *object, h *message.Header, report *notification, mt *meeting, place string) (recipients int) {
	from := h.AddressList("From")
	if len(from) > 1 {
		c.lose(place, "the message has %d authors: the first is its sender, all of them are in the transport headers", len(from))
	}
	senders := append(h.AddressList("Sender"), from...)
	if len(senders) == 0 && report != nil && displayName(report.addressee) != "" {
		senders = []message.Address{report.addressee} // MS-OXCMAIL 2.2.3.7.2, step 3
	}
	if len(senders) > 0 {
		o.person(sender, senders[0])
		if len(from) == 0 {
			from = senders
		}
		o.person(sentRepresenting, from[0])
	}
	if list := h.AddressList("Reply-To"); len(list) > 0 {
		var names []string
		for _, a := range list {
			names = append(names, displayName(a))
		}
		o.binary(pidTagReplyRecipientEntries, flatEntries(list))
		o.text(pidTagReplyRecipientNames, strings.Join(names, "; "))
	}
	if list := h.AddressList("Disposition-Notification-To"); len(list) > 0 {
		o.bool(pidTagReadReceiptRequested, true)
		o.person(readReceipt, list[0])
	}
	if len(h.Values("Return-Receipt-To")) > 0 {
		o.bool(pidTagDeliveryReportRequested, true)
	}
	if report != nil && report.delivery {
		return c.reportedRecipients(o, report)
	}
	if o.reserved[pidTagMessageRecipients.id()] {
		return 0
	}
	left := 0
	further := mt.further()
	for i, kind := range []struct {
		field   string
		display tag
	}{{"To", pidTagDisplayTo}, {"Cc", pidTagDisplayCc}, {"Bcc", pidTagDisplayBcc}} {
		var names []string
		for _, a := range append(h.AddressList(kind.field), further[i+1]...) {
			names = append(names, displayName(a))
			if recipients == maxObjects {
				left++
				continue
			}
			c.recipient(o, recipients, int32(i+1), a, mt.attends(a))
			recipients++
		}
		o.textOrEmpty(kind.display, strings.Join(names, "; "))
	}
	if left > 0 {
		c.lose(place, "%d recipients more than the %d that a message can have are in the transport headers alone", left, maxObjects)
	}
	return recipients
}

// recipient writes a recipient, with the properties that more sets.
func (c *converter) recipient(parent *object, n int, kind int32, a message.Address, more ...func(*object)) {
	if parent.err != nil {
		return
	}
	at, err := parent.at.Storage(fmt.Sprintf("__recip_version1.0_#%08X", n))
	if err != nil {
		parent.err = err
		return
	}
	o := newObject(&c.names, at)
	o.int32(pidTagRecipientType, kind)
	o.int32(pidTagRowID, int32(n))
	o.int32(pidTagObjectType, 6) // a user
	o.int32(pidTagDisplayType, 0)
	o.binary(pidTagInstanceKey, binary.LittleEndian.AppendUint32(nil, uint32(n)))
	o.person(group{pidTagDisplayName, pidTagAddressType, pidTagEmailAddress, pidTagSMTPAddress, pidTagEntryID, pidTagSearchKey}, a)
	for _, set := range more {
		set(o)
	}
	parent.err = o.finish(make([]byte, 8))
}
