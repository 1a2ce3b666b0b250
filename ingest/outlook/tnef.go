package outlook

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"postroom/ingest/message"
	"postroom/ingest/message/tnef"
	"postroom/ingest/outlook/cfb"
)

// winmail is the TNEF that holds what a message is made of (MS-OXCMAIL 2.2.3.8).
type winmail struct {
	*tnef.Message
}

// isTNEF reports whether a part says that it is TNEF.
func isTNEF(p *message.Part) bool {
	switch p.Type {
	case "application/ms-tnef", "application/vnd.ms-tnef":
		return true
	case "application/octet-stream":
		return strings.EqualFold(p.Name, "winmail.dat") || strings.EqualFold(p.Name, "win.dat")
	}
	return false
}

// winmail finds the TNEF of a message among its files, and returns it with the
// class and the files that the message has then. It is nil if there is none that
// can be relied upon: TNEF that is damaged or of another message stays a file.
func (c *converter) takeTNEF(m *message.Message, h *message.Header, l *layout, class string, files []*file, place string) (*winmail, string, []*file, error) {
	if strings.Contains(class, ".SMIME") {
		return nil, class, files, nil // it has one attachment, which is all of it
	}
	var found *winmail
	for i := 0; i < len(files); i++ {
		f := files[i]
		if f.tnef != nil || !isTNEF(f.part) {
			continue
		}
		t, why, err := c.openTNEF(m, h, f.part)
		switch {
		case err != nil:
			return nil, "", nil, err
		case t != nil && found != nil:
			why = "the message has another one"
		}
		if why != "" {
			c.lose(place, "%s is an attachment as it stands: %s", either(oneLine(f.part.Name), "winmail.dat"), why)
			continue
		}
		found = &winmail{t}
		left, err := c.unmapped(t, "")
		if err != nil {
			return nil, "", nil, err
		}
		if (l.HTML != nil || l.pieces != nil) && (present(t.Properties, tnef.PidTagHTML) || present(t.Properties, tnef.PidTagRtfCompressed)) {
			left = append(left, "its text, as the message has one in HTML")
		}
		room := maxObjects - len(files)
		if n := len(t.Attachments); n > room+1 || n > room && len(left) > 0 {
			left = append(left, fmt.Sprintf("%d of its attachments, as a message can have %d", n-room, maxObjects))
		}
		var own []*file
		for _, a := range t.Attachments {
			own = append(own, &file{tnef: a, of: t, inline: a.Hidden})
		}
		if len(left) > 0 {
			c.lose(place, "%s is taken apart and an attachment too, as a message cannot have all that is in it: %s",
				either(oneLine(f.part.Name), "winmail.dat"), strings.Join(left, "; "))
			own = append([]*file{f}, own[:min(len(own), room)]...)
		}
		files = slices.Replace(files, i, i+1, own...)
		i += len(own) - 1
	}
	if found != nil {
		// IPM.Note says nothing that a header field may not say better (2.2.3.2.15).
		if own := oneLine(found.Class); own != "" && !strings.EqualFold(own, "IPM.Note") {
			class = own
		}
	}
	return found, class, files, nil
}

func present(ps tnef.Properties, t tnef.Tag) bool {
	p := ps.Get(t)
	return p != nil && p.Values[0].Size() > 0
}

// rich reports whether there is a text in HTML or RTF.
func (w *winmail) rich() (bool, error) {
	if w == nil {
		return false, nil
	}
	if present(w.Properties, tnef.PidTagHTML) {
		return true, nil
	}
	if !present(w.Properties, tnef.PidTagRtfCompressed) {
		return false, nil
	}
	_, err := soundRTF(w.Properties.Get(tnef.PidTagRtfCompressed).Values[0])
	if errors.Is(err, errDamagedRTF) {
		return false, nil
	}
	return err == nil, err
}

// openTNEF opens the TNEF that a part is. Why says what forbids to make use of it
// (MS-OXCMAIL 2.2.3.8, step 4); the error is one of the raw bytes.
func (c *converter) openTNEF(m *message.Message, h *message.Header, p *message.Part) (t *tnef.Message, why string, err error) {
	stream, size, err := m.OpenAt(p, c.options.Memory)
	if err != nil {
		return nil, "", err
	}
	if stream == nil {
		return nil, fmt.Sprintf("its encoding is damaged, and it has more than %d bytes", c.options.Memory), nil
	}
	t, err = tnef.Open(interruptible{c.ctx, stream}, size)
	if why, err = damage(t, err); why != "" || err != nil {
		return nil, why, err
	}
	if why, err = correlate(t, h); why != "" || err != nil {
		return nil, why, err
	}
	return t, "", nil
}

// damage says what is wrong with a stream, of which err is the error of opening
// it, or with one in it. What is damaged may say anything.
func damage(t *tnef.Message, err error) (why string, _ error) {
	format := new(tnef.FormatError)
	switch {
	case errors.Is(err, tnef.ErrSignature):
		return "it is no TNEF", nil
	case errors.As(err, &format):
		return "it is damaged: " + format.Error(), nil
	case err != nil:
		return "", err
	}
	check := func(list []tnef.Attribute) bool {
		return !slices.ContainsFunc(list, func(a tnef.Attribute) bool { return a.Checksum != a.Sum })
	}
	if !check(t.Attributes) {
		return "it is damaged: a checksum is wrong", nil
	}
	for _, a := range t.Attachments {
		if !check(a.Attributes) {
			return "it is damaged: a checksum is wrong", nil
		}
		if !a.IsMessage() {
			continue
		}
		inner, err := a.Message()
		if errors.Is(err, tnef.ErrNoMessage) || errors.Is(err, tnef.ErrDepth) {
			continue // it becomes a file
		}
		if why, err := damage(inner, err); why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}

// correlate says why TNEF is not of the message that it came with: one that was
// forwarded by a program that does not know TNEF still has that of the message
// before. The message and its TNEF have the same key (MS-OXCMAIL 2.1.3.2.26).
// Where gateways took it off the message, the key may be its Message-ID, and else
// the subject must be the same.
func correlate(t *tnef.Message, h *message.Header) (why string, err error) {
	var key []byte
	if p := t.Properties.Get(0x007F0102); p != nil && p.Values[0].Size() < 1<<10 {
		if key, err = p.Values[0].Bytes(); err != nil {
			return "", err
		}
	}
	trim := func(s string) string { return strings.Trim(s, "<> \t\x00") }
	ours, theirs := trim(h.Text("X-MS-TNEF-Correlator")), trim(string(key))
	switch subject := oneLine(t.Subject); {
	case ours != "" && theirs != "":
		if ours != theirs {
			return "it is of another message (X-MS-TNEF-Correlator)", nil
		}
	case theirs != "" && theirs == trim(identifier(h, "Message-ID")):
	case subject != "" && h.Raw("Subject") != "" && subject != oneLine(h.Text("Subject")):
		return "it is of another message (it has another subject)", nil
	}
	return "", nil
}

// unmapped names what a message cannot have of a stream and those in it.
func (c *converter) unmapped(t *tnef.Message, in string) (list []string, err error) {
	const most = 10
	add := func(format string, args ...any) {
		if len(list) < most {
			list = append(list, in+fmt.Sprintf(format, args...))
		}
	}
	look := func(ps tnef.Properties, of string) {
		for i := range ps {
			if p := &ps[i]; !left[p.Tag.ID()] && !mappable(p) {
				add("property %v of %s", p.Tag, of)
			}
		}
	}
	look(t.Properties, "the message")
	for i, r := range t.Recipients {
		if i == maxObjects {
			add("%d recipients, as a message can have %d", len(t.Recipients)-i, maxObjects)
			break
		}
		look(r.Properties, "a recipient")
	}
	if p := t.Properties.Get(tnef.PidTagRtfCompressed); p != nil && p.Values[0].Size() > 0 {
		if _, err := soundRTF(p.Values[0]); errors.Is(err, errDamagedRTF) {
			add("its text in RTF, as that is damaged")
		} else if err != nil {
			return nil, err
		}
	}
	for i, a := range t.Attachments {
		if in != "" && i == maxObjects {
			add("%d attachments, as a message can have %d", len(t.Attachments)-i, maxObjects)
			break
		}
		look(a.Properties, "an attachment")
		if !a.IsMessage() {
			continue
		}
		switch inner, err := a.Message(); {
		case errors.Is(err, tnef.ErrNoMessage), errors.Is(err, tnef.ErrDepth):
		case err != nil:
			return nil, err
		default:
			more, err := c.unmapped(inner, "in an attached message, ")
			if err != nil {
				return nil, err
			}
			for _, s := range more {
				if len(list) < most {
					list = append(list, s)
				}
			}
		}
	}
	return list, nil
}

// left has the properties that are not taken over: what a store computes or has
// for itself (MS-OXPROPS 1.3.3), and what is set otherwise.
var left = func() (set [1 << 16]bool) {
	for id := 0x0E00; id < 0x1000; id++ {
		set[id] = true // not transmitted
	}
	for id := 0x6600; id < 0x6800; id++ {
		set[id] = true // of the store
	}
	for _, t := range []tag{pidTagMessageDeliveryTime, pidTagNormalizedSubject, pidTagToDoItemFlags} {
		set[t.id()] = false
	}
	for _, t := range []tag{
		pidTagMessageClass, pidTagStoreSupportMask, pidTagBody, pidTagRtfCompressed, pidTagHTML, pidTagNativeBody,
		pidTagInternetCodepage, pidTagRowID, pidTagRecipientType, pidTagAttachDataBinary, pidTagAttachMethod,
		pidTagAttachLongFilename, pidTagAttachFilename, pidTagAttachExtension, pidTagRenderingPosition, 0x370C001F,
	} {
		set[t.id()] = true
	}
	return set
}()

// maxValue is the longest text, or set of values, that is held in memory.
const maxValue = 1 << 20

// mappable reports whether a property of TNEF can be one of a .msg file.
func mappable(p *tnef.Property) bool {
	if len(p.Values) == 0 {
		return true // it says nothing
	}
	size := int64(0)
	for _, v := range p.Values {
		size += v.Size()
	}
	switch p.Tag.Type() {
	case tnef.TypeNull, tnef.TypeErrorCode, tnef.TypeBinary, tnef.TypeServerID, tnef.TypeGUID:
		return true
	case tnef.TypeString, tnef.TypeString8, tnef.TypeMultiple | tnef.TypeString, tnef.TypeMultiple | tnef.TypeString8, tnef.TypeMultiple | tnef.TypeBinary:
		return size <= maxValue
	}
	return fixed[p.Tag.Type()] > 0 || fixed[p.Tag.Type()&^tnef.TypeMultiple] > 0 && p.Tag.Type() != tnef.TypeMultiple|tnef.TypeBoolean && size <= maxValue
}

// fixed has the types of values of up to eight bytes, and how many they have.
var fixed = map[tnef.Type]int{
	tnef.TypeInteger16: 2, tnef.TypeInteger32: 4, tnef.TypeFloating32: 4, tnef.TypeFloating64: 8, tnef.TypeCurrency: 8,
	tnef.TypeFloatTime: 8, tnef.TypeBoolean: 2, tnef.TypeInteger64: 8, tnef.TypeTime: 8,
}

// fill sets the properties of TNEF that the object does not have yet.
func (c *converter) fill(o *object, t *tnef.Message, ps tnef.Properties) error {
	// Of an identifier that is there twice, Unicode goes first.
	narrow := func(p *tnef.Property) bool { return p.Tag.Type()&^tnef.TypeMultiple == tnef.TypeString8 }
	for _, eightBit := range []bool{false, true} {
		for i := range ps {
			p := &ps[i]
			if p.Name == nil && left[p.Tag.ID()] || narrow(p) != eightBit || len(p.Values) == 0 || !mappable(p) {
				continue
			}
			if err := c.take(o, t, p); err != nil {
				return err
			}
			if o.err != nil {
				return o.err
			}
		}
	}
	return nil
}

// take sets a property as TNEF has it. The error is one of the raw bytes.
func (c *converter) take(o *object, t *tnef.Message, p *tnef.Property) error {
	typ := uint16(p.Tag.Type())
	switch p.Tag.Type() {
	case tnef.TypeNull, tnef.TypeErrorCode:
		return nil
	case tnef.TypeString8:
		typ = typeString
	case tnef.TypeMultiple | tnef.TypeString8:
		typ = typeStrings
	}
	target := tag(p.Tag.ID())<<16 | tag(typ)
	if p.Name != nil {
		name := propertyName{set: guid(p.Name.Set), lid: p.Name.ID, text: strings.ReplaceAll(p.Name.Text, "\x00", "")}
		if name.set == psInternetHeaders {
			name.text = strings.ToLower(name.text)
		}
		var ok bool
		if target, ok = o.named(name, typ); !ok {
			return nil
		}
	}
	if o.have[target.id()] {
		return nil
	}
	v := p.Values[0]
	switch {
	case typ == typeString:
		s, err := p.Text(t.CodePage)
		if err != nil {
			return fmt.Errorf("read property %v of winmail.dat: %w", p.Tag, err)
		}
		o.text(target, s)
	case typ == typeStrings:
		list, err := p.Texts(t.CodePage)
		if err != nil {
			return fmt.Errorf("read property %v of winmail.dat: %w", p.Tag, err)
		}
		o.texts(target, list)
	case typ == typeBinaries:
		return o.binaries(target, p.Values)
	case fixed[p.Tag.Type()] > 0:
		var b [8]byte
		if _, err := io.ReadFull(v.Open(), b[:min(v.Size(), 8)]); err != nil {
			return err
		}
		n := binary.LittleEndian.Uint64(b[:])
		if typ == typeBool && n != 0 {
			n = 1
		}
		o.entry(target, n)
	default:
		// Bytes as they stand; of several values of the same size, all of them.
		o.stream(target, func(w io.Writer) error {
			for _, v := range p.Values {
				if _, err := io.Copy(stopper{c.ctx, w}, v.Open()); err != nil {
					return err
				}
				if typ&0x1000 == 0 {
					break
				}
			}
			return nil
		})
	}
	return nil
}

// reserve keeps the properties for TNEF that are made up when the header does not
// say them: what the header says goes first (MS-OXCMAIL 2.2.3.8, step 2).
func (w *winmail) reserve(o *object, h *message.Header, n *notification) {
	if w == nil {
		return
	}
	has := func(t tag) bool { return present(w.Properties, tnef.Tag(t)) }
	lacks := func(fields ...string) bool {
		return !slices.ContainsFunc(fields, func(f string) bool { return h.Raw(f) != "" })
	}
	o.reserved = map[uint16]bool{}
	reserve := func(when bool, tags ...tag) {
		for _, t := range tags {
			if when {
				o.reserved[t.id()] = true
			}
		}
	}
	reserve(lacks("Importance", "X-Priority", "X-MSMail-Priority", "Priority") && has(pidTagImportance), pidTagImportance, pidTagPriority)
	reserve(lacks("Sensitivity") && has(pidTagSensitivity), pidTagSensitivity)
	reserve(lacks("Subject"), pidTagSubject, pidTagSubjectPrefix, pidTagNormalizedSubject)
	reserve(lacks("Thread-Topic") && has(pidTagConversationTopic), pidTagConversationTopic)
	if _, made := conversationIndex(h, h.Date()); made && has(pidTagConversationIndex) {
		reserve(true, pidTagConversationIndex, pidTagConversationTracking)
	}
	// Recipients are those of the header, but for a report (2.2.3.1.5).
	// Those of whom a delivery status reports go before both.
	named := slices.ContainsFunc([]string{"To", "Cc", "Bcc"}, func(f string) bool { return len(h.AddressList(f)) > 0 })
	delivery := n != nil && n.delivery
	reserve(len(w.Recipients) > 0 && !delivery && (isReport(w.Class) || !named), pidTagMessageRecipients, pidTagDisplayTo, pidTagDisplayCc, pidTagDisplayBcc)
	// Of the same subject, TNEF knows better what its prefix is (2.2.3.2.6).
	if prefix, normalized, ok := w.subject(); ok && prefix+normalized == oneLine(h.Text("Subject")) {
		reserve(true, pidTagSubjectPrefix, pidTagNormalizedSubject)
	}
}

// subject returns prefix and rest of the subject, if TNEF has them apart.
func (w *winmail) subject() (prefix, normalized string, ok bool) {
	read := func(t tnef.Tag) string {
		s, err := w.Properties.Get(t).Text(w.CodePage)
		if err != nil {
			return ""
		}
		return s
	}
	if normalized = oneLine(read(tnef.PidTagNormalizedSubject)); normalized == "" {
		return "", "", false
	}
	prefix, _, _ = strings.Cut(strings.TrimLeft(read(tnef.PidTagSubjectPrefix), " "), "\x00")
	if prefix == "" {
		prefix, _ = strings.CutSuffix(oneLine(w.Subject), normalized)
		if prefix == oneLine(w.Subject) {
			prefix = ""
		}
	}
	return prefix, normalized, true
}

// properties sets what the message has from TNEF beside its text and its
// attachments, and returns how many recipients there are of it.
func (c *converter) properties(o *object, w *winmail, recipients int, place string) (int, error) {
	if w == nil {
		return recipients, nil
	}
	o.reserved = nil
	if recipients == 0 {
		recipients = c.recipientsOf(o, w.Message, place)
	}
	if !o.have[pidTagNormalizedSubject.id()] {
		prefix, normalized, ok := w.subject()
		if !ok {
			prefix, normalized = splitSubject(oneLine(w.Subject), "")
		}
		if !o.have[pidTagSubject.id()] {
			o.text(pidTagSubject, prefix+normalized)
		}
		if o.have[pidTagSubjectPrefix.id()] {
			o.have[pidTagNormalizedSubject.id()] = true // that of the header is a prefix alone
		} else {
			o.textOrEmpty(pidTagSubjectPrefix, prefix)
			o.text(pidTagNormalizedSubject, normalized)
		}
		if !o.have[pidTagConversationTopic.id()] && !present(w.Properties, tnef.Tag(pidTagConversationTopic)) {
			o.text(pidTagConversationTopic, normalized)
		}
	}
	// A person is of the header or of TNEF, and not of both.
	for _, g := range []group{sender, sentRepresenting, readReceipt, receivedBy, receivedRepresenting} {
		if o.have[g.name.id()] {
			for _, t := range []tag{g.kind, g.email, g.smtp, g.entry, g.search} {
				o.have[t.id()] = true
			}
		}
	}
	if err := c.fill(o, w.Message, w.Properties); err != nil {
		return 0, err
	}
	o.complete(sender, w.Sender)
	o.complete(sentRepresenting, w.From)
	if p := w.Properties.Get(tnef.PidTagImportance); p != nil && !o.have[pidTagPriority.id()] {
		n, err := p.Int()
		if err == nil {
			o.int32(pidTagPriority, int32(n)-1)
		}
	}
	for _, t := range []tag{pidTagImportance, pidTagPriority, pidTagSensitivity} {
		if !o.have[t.id()] {
			o.int32(t, map[tag]int32{pidTagImportance: 1}[t])
		}
	}
	return recipients, o.err
}

// complete sets what is missing of a person whose Internet address is known.
func (o *object) complete(g group, a tnef.Address) {
	p := message.Address{Name: a.Name, Address: a.SMTP}
	set := func(t tag, f func(tag)) {
		if !o.have[t.id()] {
			f(t)
		}
	}
	if a.IsZero() || displayName(p) == "" {
		return
	}
	set(g.name, func(t tag) { o.text(t, displayName(p)) })
	set(g.entry, func(t tag) { o.binary(t, oneOff(p)) })
	if a.SMTP == "" {
		return
	}
	set(g.smtp, func(t tag) { o.text(t, a.SMTP) })
	if !o.have[g.email.id()] {
		set(g.kind, func(t tag) { o.text(t, "SMTP") })
		o.text(g.email, a.SMTP)
	}
	set(g.search, func(t tag) { o.binary(t, searchKey(p)) })
}

// recipientsOf writes the recipients that TNEF has, and returns their number.
func (c *converter) recipientsOf(o *object, t *tnef.Message, place string) int {
	var names [4][]string
	n := 0
	for _, r := range t.Recipients {
		if o.err != nil || n == maxObjects {
			break
		}
		kind := r.Kind
		if kind < tnef.To || kind > tnef.Bcc {
			kind = tnef.To
		}
		a := message.Address{Name: oneLine(r.Name), Address: either(r.SMTP, r.Email)}
		if displayName(a) == "" {
			continue
		}
		names[kind] = append(names[kind], displayName(a))
		at, err := o.at.Storage(fmt.Sprintf("__recip_version1.0_#%08X", n))
		if err != nil {
			o.err = err
			break
		}
		ro := newObject(&c.names, at)
		ro.int32(pidTagRecipientType, int32(kind))
		ro.int32(pidTagRowID, int32(n))
		ro.int32(pidTagObjectType, 6) // a user
		ro.int32(pidTagDisplayType, 0)
		ro.binary(pidTagInstanceKey, binary.LittleEndian.AppendUint32(nil, uint32(n)))
		if p := r.Properties.Get(tnef.PidTagEntryID); p != nil && p.Values[0].Size() > 0 && p.Values[0].Size() < maxValue {
			b, err := p.Values[0].Bytes()
			if err != nil {
				o.err = err
				break
			}
			ro.binary(pidTagEntryID, b)
		}
		if err := c.fill(ro, t, r.Properties); err != nil {
			o.err = err
			break
		}
		ro.complete(personal, r.Address)
		if !ro.have[pidTagDisplayName.id()] {
			ro.text(pidTagDisplayName, displayName(a))
		}
		if !ro.have[pidTagEntryID.id()] {
			ro.binary(pidTagEntryID, oneOff(a))
		}
		o.err = ro.finish(make([]byte, 8))
		n++
	}
	for i, t := range []tag{pidTagDisplayTo, pidTagDisplayCc, pidTagDisplayBcc} {
		if !o.have[t.id()] {
			o.textOrEmpty(t, strings.Join(names[i+1], "; "))
		}
	}
	return n
}

// personal is a recipient as a group of properties.
var personal = group{pidTagDisplayName, pidTagAddressType, pidTagEmailAddress, pidTagSMTPAddress, pidTagEntryID, pidTagSearchKey}

// embedTNEF writes a message that is attached in TNEF. It has no header.
func (c *converter) embedTNEF(t *tnef.Message, at *cfb.Storage, place string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	w := &winmail{t}
	o := newObject(&c.names, at)
	attachments := t.Attachments[:min(len(t.Attachments), maxObjects)]
	class := either(oneLine(t.Class), "IPM.Note")
	o.text(pidTagMessageClass, class)
	o.int32(pidTagStoreSupportMask, 0x00040E79)
	o.int32(pidTagAccess, 2)
	o.int32(pidTagAccessLevel, 0)
	flags := int32(mfUnmodified)
	if len(attachments) > 0 {
		flags |= mfHasAttach
	}
	o.int32(pidTagMessageFlags, flags)
	o.bool(pidTagHasAttachments, len(attachments) > 0)
	if err := c.body(o, nil, &layout{Layout: &message.Layout{}, tnef: w}, nil, class, place); err != nil {
		return err
	}
	for i, a := range attachments {
		if err := c.attachTNEF(o, i, t, a, place); err != nil {
			return err
		}
	}
	recipients, err := c.properties(o, w, 0, place)
	if err != nil {
		return err
	}
	header := make([]byte, 8, 24)
	for _, n := range []int{recipients, len(attachments), recipients, len(attachments)} {
		header = binary.LittleEndian.AppendUint32(header, uint32(n))
	}
	return o.finish(header)
}

// attachTNEF writes an attachment that TNEF has.
func (c *converter) attachTNEF(parent *object, n int, t *tnef.Message, a *tnef.Attachment, place string) error {
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
	o := newObject(&c.names, at)
	o.int32(pidTagAttachNumber, int32(n))
	o.int32(pidTagObjectType, 7)
	o.int32(pidTagRenderingPosition, a.RenderingPosition)
	data := a.Data()
	var inner *tnef.Message
	if a.IsMessage() {
		inner, err = a.Message()
		switch {
		case errors.Is(err, tnef.ErrNoMessage), errors.Is(err, tnef.ErrDepth):
			c.lose(place, "an attached message in winmail.dat is a file as it stands: %v", err)
			inner = nil
		case err != nil:
			return err
		}
	}
	name := a.FileName()
	if inner != nil || a.Method == tnef.MethodOLE {
		// What is no file has names such as "Untitled Attachment".
		name = either(a.LongName, either(a.DisplayName, name))
	}
	base, ext := fileName(name)
	switch {
	case inner != nil:
		name = either(oneLine(name), oneLine(inner.Subject))
		base, ext = fileName(name)
	case a.IsMessage() && ext == "":
		ext = "tnef"
	case ext == "":
		ext = endings[strings.ToLower(a.MediaType)]
	}
	base = either(base, fmt.Sprintf("ATT%05d", n+1))
	long := base
	if ext != "" {
		long += "." + ext
	}
	o.text(pidTagAttachLongFilename, long)
	o.text(pidTagAttachFilename, shortName(long, n+1))
	if ext != "" {
		o.text(pidTagAttachExtension, "."+ext)
	}
	if a.DisplayName == "" {
		o.text(pidTagDisplayName, either(name, long))
	}
	o.text(pidTagAttachContentID, a.ContentID)
	switch {
	case inner != nil:
		o.int32(pidTagAttachMethod, embeddedMessage)
		sub := o.storage(pidTagAttachDataObject)
		if o.err != nil {
			return o.err
		}
		in := "attached message " + fmt.Sprintf("%.100q", either(name, "without a subject"))
		if place != "" {
			in = place + ", " + in
		}
		if err := c.embedTNEF(inner, sub, in); err != nil {
			return err
		}
	case a.Method == tnef.MethodOLE && c.readableOLE(data):
		o.int32(pidTagAttachMethod, oleStorage)
		o.foreign(pidTagAttachDataObject, func(s *cfb.Storage) error {
			f, err := cfb.Open(data.Open(), data.Size())
			if err != nil {
				return err
			}
			return copyStorage(c.ctx, s, f.Root, 0)
		})
		o.tagOf(a.Properties, storageTag)
	case data.Size() == 0 && a.Path != "" && a.Method != tnef.MethodFile:
		// A link to where the file is.
		o.int32(pidTagAttachMethod, int32(a.Method))
	default:
		if a.Method == tnef.MethodOLE {
			c.lose(place, "an OLE object in winmail.dat is a file as it stands: it is no compound file")
		}
		o.int32(pidTagAttachMethod, byValue)
		o.stream(pidTagAttachDataBinary, func(w io.Writer) error {
			_, err := io.Copy(stopper{c.ctx, w}, a.Open())
			return err
		})
		if a.MacBinary && !present(a.Properties, tnef.PidTagAttachEncoding) {
			o.binary(pidTagAttachEncoding, macBinaryOID)
		}
	}
	o.int32(pidTagAttachSize, int32(min(data.Size(), math.MaxInt32)))
	if err := c.fill(o, t, a.Properties); err != nil {
		return err
	}
	return o.finish(make([]byte, 8))
}

// storageTag is PidTagAttachTag of an OLE object (MS-OXCMSG 2.2.2.15).
var storageTag = []byte{0x2A, 0x86, 0x48, 0x86, 0xF7, 0x14, 0x03, 0x0A, 0x03, 0x02, 0x01}

// tagOf sets PidTagAttachTag where TNEF does not.
func (o *object) tagOf(ps tnef.Properties, oid []byte) {
	if !present(ps, tnef.Tag(pidTagAttachTag)) {
		o.binary(pidTagAttachTag, oid)
	}
}

// interruptible ends reading when the context does.
type interruptible struct {
	ctx context.Context
	r   io.ReaderAt
}

func (i interruptible) ReadAt(p []byte, off int64) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.ReadAt(p, off)
}

// nowhere takes what is written for no one to see.
type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// readableOLE reports whether data are a compound file that can be copied.
func (c *converter) readableOLE(v tnef.Value) bool {
	f, err := cfb.Open(v.Open(), v.Size())
	if err != nil {
		return false
	}
	w := cfb.NewWriter(nowhere{})
	return copyStorage(c.ctx, w.Root(), f.Root, 0) == nil && w.Close() == nil
}
