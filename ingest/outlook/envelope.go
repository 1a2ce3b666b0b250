package outlook

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"postroom/ingest/message"
	"postroom/ingest/message/mapi"
)

// envelope sets the properties that header fields map to (MS-OXCMAIL 2.2.3.2).
func (c *converter) envelope(o *object, h *message.Header, place string) {
	date := h.Date()
	received := h.Arrived()
	if place == "" && !c.options.Received.IsZero() {
		received = c.options.Received
	}
	if received.IsZero() {
		received = date
	}
	o.time(pidTagClientSubmitTime, date)
	o.time(pidTagMessageDeliveryTime, received)
	o.time(pidTagCreationTime, received)
	o.time(pidTagLastModificationTime, received)
	if place == "" && c.options.Mailbox != "" {
		a := message.Address{Address: c.options.Mailbox}
		o.person(receivedBy, a)
		o.person(receivedRepresenting, a)
	}

	subject := oneLine(h.Text("Subject"))
	topic := oneLine(h.Text("Thread-Topic"))
	prefix, normalized := splitSubject(subject, topic)
	o.text(pidTagSubject, prefix+normalized)
	o.textOrEmpty(pidTagSubjectPrefix, prefix)
	o.text(pidTagNormalizedSubject, normalized)
	o.text(pidTagConversationTopic, conversationTopic(h, subject, topic))
	if index, made := conversationIndex(h, received); index != nil {
		o.binary(pidTagConversationIndex, index)
		if made {
			o.bool(pidTagConversationTracking, true)
		}
	}
	o.text(pidTagInternetMessageID, identifier(h, "Message-ID"))
	o.text(pidTagInReplyToID, identifier(h, "In-Reply-To"))
	if !o.have[pidTagInternetReferences.id()] { // by a read receipt
		o.text(pidTagInternetReferences, oneLine(h.Text("References")))
	}

	importance := importanceOf(h)
	o.int32(pidTagImportance, importance)
	o.int32(pidTagPriority, importance-1)
	o.int32(pidTagSensitivity, sensitivityOf(h))
	expiry, ok := message.ParseDate(h.Raw("Expires"))
	if !ok {
		expiry, _ = message.ParseDate(h.Raw("Expiry-Date"))
	}
	o.time(pidTagExpiryTime, expiry)
	reply, _ := message.ParseDate(h.Raw("Reply-By"))
	o.time(pidTagReplyTime, reply)
	if v := suppressed(h); v != 0 {
		o.int32(pidTagAutoResponseSuppress, v)
	}
	for _, list := range []struct {
		t    tag
		name string
	}{{pidTagListHelp, "List-Help"}, {pidTagListSubscribe, "List-Subscribe"}, {pidTagListUnsubscribe, "List-Unsubscribe"}} {
		v := h.Text(list.name)
		if v == "" {
			v = h.Text("X-" + list.name)
		}
		o.text(list.t, oneLine(v))
	}
	first, _, _ := strings.Cut(h.Raw("Content-Language"), ",")
	if id := locales[strings.ToLower(strings.TrimSpace(first))]; id != 0 {
		o.int32(pidTagMessageLocaleID, id)
	}
	var keywords []string
	for k := range strings.SplitSeq(h.Text("Keywords"), ",") {
		if k = oneLine(k); k != "" {
			keywords = append(keywords, k)
		}
	}
	if t, ok := o.named(pidNameKeywords, typeStrings); len(keywords) > 0 && ok {
		o.texts(t, keywords)
	}
	if flag := oneLine(h.Text("X-Message-Flag")); flag != "" {
		c.flag(o, flag, prefix+normalized)
	}
	c.specialFields(o, h)
}

// oneLine returns a text with runs of white space and control characters as one
// blank.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7F }), " ")
}

// splitSubject returns the prefix of a subject, such as "RE: ", and what is after
// it (MS-OXCMAIL 2.2.3.2.6.1). The topic tells where a longer prefix ends.
func splitSubject(subject, topic string) (prefix, normalized string) {
	if rest, ok := strings.CutSuffix(subject, topic); ok && topic != "" && (rest == "" || strings.HasSuffix(rest, ": ")) {
		return rest, topic
	}
	before, after, ok := strings.Cut(subject, ":")
	if n := utf8.RuneCountInString(before); !ok || n < 1 || n > 3 || strings.ContainsAny(before, " 0123456789") {
		return "", subject
	}
	return before + ": ", strings.TrimLeft(after, " ")
}

// conversationTopic is PidTagConversationTopic (MS-OXCMAIL 2.2.3.2.7).
func conversationTopic(h *message.Header, subject, topic string) string {
	prefix, normalized := splitSubject(subject, "")
	switch {
	case topic == "":
		return normalized
	case subject == "":
		return topic
	case strings.HasSuffix(subject, topic) && (prefix == "" || topicFirst(h)):
		return topic
	}
	return normalized
}

// topicFirst reports whether Thread-Topic stands before Subject.
func topicFirst(h *message.Header) bool {
	for _, f := range h.Fields {
		switch {
		case strings.EqualFold(f.Name, "Thread-Topic"):
			return true
		case strings.EqualFold(f.Name, "Subject"):
			return false
		}
	}
	return false
}

// conversationIndex is PidTagConversationIndex (MS-OXOMSG 2.2.1.3): that of the
// message (MS-OXCMAIL 2.2.3.2.8), or one that is made of the identifier of the
// message that began the conversation, so that all of it has the same.
func conversationIndex(h *message.Header, at time.Time) (index []byte, made bool) {
	text := strings.Join(strings.Fields(h.Raw("Thread-Index")), "")
	if b, err := base64.StdEncoding.DecodeString(text); err == nil && len(b) >= 22 && (len(b)-22)%5 == 0 {
		return b, false
	}
	for _, name := range []string{"References", "In-Reply-To", "Message-ID"} {
		if ids := h.MessageIDs(name); len(ids) > 0 {
			var ft [8]byte
			binary.BigEndian.PutUint64(ft[:], mapi.FileTime(at))
			sum := sha256.Sum256([]byte(ids[0]))
			b := append([]byte{1}, ft[1:6]...)
			return append(b, sum[:16]...), true
		}
	}
	return nil, false
}

// identifier returns the first identifier of a field in its brackets, or its
// text if there is none.
func identifier(h *message.Header, name string) string {
	if ids := h.MessageIDs(name); len(ids) > 0 {
		return ids[0]
	}
	return oneLine(h.Text(name))
}

// firstWord returns the first word of a field in lower case.
func firstWord(h *message.Header, name string) string {
	f := strings.FieldsFunc(h.Raw(name), func(r rune) bool { return r == ' ' || r == '\t' || r == '(' || r == ';' || r == ',' })
	if len(f) == 0 {
		return ""
	}
	return strings.ToLower(f[0])
}

// importanceOf is PidTagImportance (MS-OXCMAIL 2.2.3.2.5).
func importanceOf(h *message.Header) int32 {
	for _, name := range []string{"Importance", "X-Priority", "X-MSMail-Priority", "Priority"} {
		switch firstWord(h, name) {
		case "low", "non-urgent", "5", "4":
			return 0
		case "normal", "3":
			return 1
		case "high", "urgent", "2", "1":
			return 2
		}
	}
	return 1
}

// sensitivityOf is PidTagSensitivity (MS-OXCMAIL 2.2.3.2.4).
func sensitivityOf(h *message.Header) int32 {
	switch firstWord(h, "Sensitivity") {
	case "personal":
		return 1
	case "private":
		return 2
	case "company-confidential":
		return 3
	}
	return 0
}

// suppressed is PidTagAutoResponseSuppress (MS-OXCMAIL 2.2.3.2.14).
func suppressed(h *message.Header) int32 {
	if h.Raw("Precedence") != "" {
		return -1
	}
	v := int32(0)
	for word := range strings.SplitSeq(h.Raw("X-Auto-Response-Suppress"), ",") {
		switch strings.ToLower(strings.TrimSpace(word)) {
		case "all":
			return -1
		case "dr":
			v |= 1
		case "ndr":
			v |= 2
		case "rn":
			v |= 4
		case "nrn":
			v |= 8
		case "oof":
			v |= 0x10
		case "autoreply":
			v |= 0x20
		default:
			return 0
		}
	}
	return v
}

// flag marks the message for a follow-up (MS-OXCMAIL 2.2.3.2.16).
func (c *converter) flag(o *object, request, subject string) {
	o.int32(pidTagFlagStatus, 2)
	o.int32(pidTagToDoItemFlags, 8)
	if t, ok := o.named(pidLidFlagRequest, typeString); ok {
		o.text(t, request)
	}
	if t, ok := o.named(pidLidToDoTitle, typeString); ok {
		o.text(t, subject)
	}
	if t, ok := o.named(pidLidTaskStatus, typeInt32); ok {
		o.int32(t, 0)
	}
	if t, ok := o.named(pidLidPercentComplete, typeDouble); ok {
		o.entry(t, 0)
	}
	o.namedBool(pidLidTaskComplete, false)
}

// Bounds of PidTagTransportMessageHeaders and of the headers that are properties
// of their own.
const (
	maxTransport = 4 << 20 // bytes
	maxGeneric   = 200     // of a message
)

// headers sets PidTagTransportMessageHeaders (MS-OXCMAIL 2.2.3.2.28) and a
// property for each field that maps to no other (2.2.3.2.29).
func (c *converter) headers(o *object, m *message.Message, root *message.Part, place string) {
	h := root.Header
	if len(h.Fields) > 0 {
		c.transport(o, m, root, place)
	}
	seen := map[string]bool{}
	for _, f := range h.Fields {
		name := strings.ToLower(f.Name)
		if seen[name] || mapped[name] || organisational(f.Name) > 0 || strings.HasPrefix(name, "resent-") {
			continue
		}
		value := oneLine(h.FieldText(f))
		if value == "" {
			continue
		}
		if len(seen) == maxGeneric {
			c.lose(place, "more than %d header fields: further ones are in the transport headers alone", maxGeneric)
			return
		}
		seen[name] = true
		t, ok := o.named(propertyName{set: psInternetHeaders, text: name}, typeString)
		if ok {
			o.text(t, value)
		}
	}
}

// transport sets PidTagTransportMessageHeaders: the header section as it stands,
// with what of it the reader did not keep.
func (c *converter) transport(o *object, m *message.Message, root *message.Part, place string) {
	h := root.Header
	dropped, kept, over := 0, int64(0), false
	left := func(name string) bool { return place == "" && organisational(name) == 2 }
	fits := func(f message.Field) bool { return !left(f.Name) && f.Range.Len() <= maxTransport }
	write := func(w io.Writer) error {
		l := newLineWriter(stopper{c.ctx, w})
		src := newRangeReader(m)
		defer src.release()
		// What is between the fields is none of them; after the last may be some that the
		// reader did not keep.
		between := func(from, to int64) error {
			if from >= to {
				return nil
			}
			room := maxTransport - kept
			const separator = 4
			cut := to-from > room+separator
			raw, err := src.read(message.Range{Start: from, End: min(to, from+room)})
			if err != nil {
				return err
			}
			if over = over || cut; cut {
				if end := bytes.LastIndexAny(raw, "\r\n"); end >= 0 {
					raw = raw[:end]
				}
			}
			kept += int64(len(raw))
			first, drop := from == root.Whole.Start, false
			if first {
				raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
			}
			for i, line := range bytes.FieldsFunc(raw, func(r rune) bool { return r == '\r' || r == '\n' }) {
				text := rawText(line)
				name, _, colon := strings.Cut(text, ":")
				name = strings.TrimRight(name, " \t")
				switch {
				case text[0] == ' ' || text[0] == '\t': // of the field before
				case first:
					if i == 0 && (strings.HasPrefix(text, "From ") || strings.HasPrefix(text, ">From ")) {
						continue // of an mbox
					}
				case h.Cut && to == root.Body.Start && colon && name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7F }):
					if drop = left(name); drop {
						dropped++
					}
				default: // of the field before, whose folding is broken
					text = " " + text
				}
				if drop {
					continue
				}
				if _, err := io.WriteString(l, text+"\r\n"); err != nil {
					return err
				}
			}
			return nil
		}
		at := root.Whole.Start
		for _, f := range h.Fields {
			if err := between(at, f.Range.Start); err != nil {
				return err
			}
			at = f.Range.End
			if !fits(f) || kept+f.Range.Len() > maxTransport {
				dropped++
				continue
			}
			kept += f.Range.Len()
			raw, err := src.read(f.Range)
			if err != nil {
				return err
			}
			if raw = bytes.TrimRight(raw, "\r\n"); !utf8.Valid(raw) {
				raw = []byte(rawText(raw))
			}
			if _, err := l.Write(raw); err != nil {
				return err
			}
			if _, err := io.WriteString(l, "\r\n"); err != nil {
				return err
			}
		}
		if err := between(at, root.Body.Start); err != nil {
			return err
		}
		return l.end()
	}
	if h.Cut || slices.ContainsFunc(h.Fields, fits) {
		o.stream(pidTagTransportMessageHeaders, write)
	} else {
		dropped = len(h.Fields)
	}
	if dropped > 0 {
		c.lose(place, "%d header fields are left out: those of an Exchange organisation (MS-OXCMAIL 2.2.3.2.28), or more than %d MiB", dropped, maxTransport>>20)
	}
	if h.Cut {
		c.lose(place, "the header is longer than is read: further fields, or the end of a long one, are in the transport headers alone")
	}
	if over {
		c.lose(place, "the header is of more than %d MiB: what is after them is left out", maxTransport>>20)
	}
}

// rangeReader reads ranges of a message that follow each other, together.
type rangeReader struct {
	m    *message.Message
	r    *bufio.Reader
	at   int64 // that r is at
	last []byte
}

// rangeReaders are those that are not in use.
var rangeReaders = sync.Pool{New: func() any { return &rangeReader{r: bufio.NewReader(nil)} }}

func newRangeReader(m *message.Message) *rangeReader {
	rr := rangeReaders.Get().(*rangeReader)
	rr.m, rr.at = m, -1
	return rr
}

// release gives the buffers back, after which nothing may be read.
func (rr *rangeReader) release() {
	rr.m = nil
	rr.r.Reset(nil)
	rangeReaders.Put(rr)
}

// read returns the bytes of a range, valid until the next read.
func (rr *rangeReader) read(r message.Range) ([]byte, error) {
	if r.Start != rr.at {
		rr.r.Reset(rr.m.Raw(message.Range{Start: r.Start, End: rr.m.Whole.End}))
	}
	rr.last = slices.Grow(rr.last[:0], int(r.Len()))[:r.Len()]
	_, err := io.ReadFull(rr.r, rr.last)
	rr.at = r.End
	return rr.last, err
}

// rawText returns raw bytes of a header as text.
func rawText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

// organisational returns 2 for a field that Exchange keeps to its own
// organisation, as others could forge it; 1 for one of those that are headers all
// the same (MS-OXCMAIL 2.1.3.2), but no property of their own; 0 for any other.
func organisational(name string) int {
	name = strings.ToLower(name)
	if !strings.HasPrefix(name, "x-ms-exchange-organization-") && !strings.HasPrefix(name, "x-ms-exchange-forest-") {
		return 0
	}
	switch strings.TrimPrefix(name, "x-ms-exchange-organization-") {
	case "authas", "authdomain", "authmechanism", "authsource":
		return 0
	case "autoforwarded", "prd", "scl", "senderidresult":
		return 1
	}
	return 2
}

// mapped has the fields that are no properties of their own: those that map to
// another one, and those that MS-OXCMAIL 2.2.3.2.29 names.
var mapped = func() map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(`
		from sender reply-to to cc bcc disposition-notification-to return-receipt-to
		message-id date references sensitivity importance priority x-priority x-msmail-priority
		subject thread-topic thread-index in-reply-to reply-by content-language keywords expires expiry-date
		x-auto-response-suppress precedence x-message-flag list-help list-subscribe list-unsubscribe
		x-list-help x-list-subscribe x-list-unsubscribe content-location
		received content-type content-disposition content-description content-transfer-encoding content-id content-md5
		mime-version return-path comments adhoc apparently-to approved control distribution encoding followup-to lines bytes
		article supercedes newsgroups nntppostinghost organization path rr summary trace encrypted x-mimeole
		x-ms-tnef-correlator x-callingtelephonenumber x-voicemessagesendername x-attachmentorder x-callid
		x-voicemessageduration x-faxnumberofpages`) {
		set[name] = true
	}
	return set
}()

// locales has language tags and their identifiers (MS-LCID 2.2).
var locales = func() map[string]int32 {
	set := map[string]int32{}
	for pair := range strings.FieldsSeq(`
		ar=0401 ar-sa=0401 bg=0402 bg-bg=0402 ca=0403 ca-es=0403 cs=0405 cs-cz=0405 da=0406 da-dk=0406
		de=0407 de-de=0407 de-ch=0807 de-at=0C07 de-lu=1007 de-li=1407 el=0408 el-gr=0408
		en=0409 en-us=0409 en-gb=0809 en-au=0C09 en-ca=1009 en-nz=1409 en-ie=1809 en-za=1C09 en-in=4009
		es=0C0A es-es=0C0A es-mx=080A es-ar=2C0A es-co=240A es-cl=340A et=0425 et-ee=0425 fi=040B fi-fi=040B
		fr=040C fr-fr=040C fr-be=080C fr-ca=0C0C fr-ch=100C fr-lu=140C he=040D he-il=040D hi=0439 hi-in=0439
		hr=041A hr-hr=041A hu=040E hu-hu=040E id=0421 id-id=0421 is=040F is-is=040F it=0410 it-it=0410 it-ch=0810
		ja=0411 ja-jp=0411 ko=0412 ko-kr=0412 lt=0427 lt-lt=0427 lv=0426 lv-lv=0426 nb=0414 nb-no=0414 no=0414
		nl=0413 nl-nl=0413 nl-be=0813 nn=0814 nn-no=0814 pl=0415 pl-pl=0415 pt=0416 pt-br=0416 pt-pt=0816
		ro=0418 ro-ro=0418 ru=0419 ru-ru=0419 sk=041B sk-sk=041B sl=0424 sl-si=0424 sv=041D sv-se=041D sv-fi=081D
		th=041E th-th=041E tr=041F tr-tr=041F uk=0422 uk-ua=0422 vi=042A vi-vn=042A
		zh=0804 zh-cn=0804 zh-tw=0404 zh-hk=0C04 zh-sg=1004`) {
		name, hex, _ := strings.Cut(pair, "=")
		id, err := strconv.ParseInt(hex, 16, 32)
		if err != nil {
			panic(err)
		}
		set[name] = int32(id)
	}
	return set
}()
