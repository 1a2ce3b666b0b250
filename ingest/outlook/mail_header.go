package outlook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"postroom/ingest/message"
	"postroom/ingest/outlook/cfb"
)

// original reads PidTagTransportMessageHeaders, nil if there are none: header
// fields as they came, with those of the body that the message had.
func (m *mailWriter) original(it *item) (*message.Message, string, error) {
	text := it.string(pidTagTransportMessageHeaders, maxHeaders)
	for strings.Contains(text, "\r\r") {
		text = strings.ReplaceAll(text, "\r\r", "\r")
	}
	text = strings.TrimLeft(text, " \t\r\n")
	if text == "" {
		return nil, "", nil
	}
	raw, err := message.Read(m.out.ctx, strings.NewReader(text), int64(len(text)), message.Limits{Header: maxTransport, Memory: 2 * maxTransport})
	if err != nil || len(raw.Header.Fields) == 0 {
		return nil, "", err
	}
	return raw, text, nil
}

// ofBody has the fields that say what the body is, which is another one now.
var ofBody = func() map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(`mime-version content-type content-transfer-encoding content-disposition content-id
		content-description content-md5 content-length content-location content-base lines`) {
		set[name] = true
	}
	return set
}()

// field is a header field with its line ends.
type field struct {
	name, lines string
	list        []addressee // that it holds
	losses      []Loss      // if it is written
}

// use returns the lines of a field that is written.
func (m *mailWriter) use(f field) string {
	for _, l := range f.losses {
		m.lose(l.Place, "%s", l.What)
	}
	return f.lines
}

// header returns the header of a message without the fields of its body
// (MS-OXCMAIL 2.1.3.1, 2.1.3.2): the transport headers as they stand if there are
// any, and made of properties what they lack.
func (m *mailWriter) header(it *item, place string, original *message.Message, text string) (string, error) {
	made, err := m.fields(it, place, original == nil)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if original == nil {
		for _, f := range made {
			b.WriteString(m.use(f))
		}
		return b.String(), nil
	}
	h := original.Header
	if h.Cut {
		m.lose(place, "the transport headers have more fields than are read: those after them are left out")
	}
	have := map[string]bool{}
	for _, f := range h.Fields {
		have[strings.ToLower(f.Name)] = true
	}
	replaced := map[string]bool{}
	for _, f := range h.Fields {
		name := strings.ToLower(f.Name)
		raw := text[f.Range.Start:f.Range.End]
		switch {
		case ofBody[name]:
		case standsAsIs(raw):
			b.WriteString(lineEnds(raw))
		default:
			// The property has a better reading of what is no ASCII, if there is one.
			i := slices.IndexFunc(made, func(f field) bool { return strings.EqualFold(f.name, name) })
			switch {
			case i < 0:
				b.WriteString(m.encoded(it, h, f, nil, place))
			case addressFields[name]:
				b.WriteString(m.encoded(it, h, f, made[i].list, place))
			case !replaced[name]:
				b.WriteString(m.use(made[i]))
			}
			replaced[name] = true
		}
	}
	for _, f := range made {
		if name := strings.ToLower(f.name); !have[name] && lacking(name, have) {
			b.WriteString(m.use(f))
		}
	}
	return b.String(), nil
}

// lacking reports whether a field is to be made of properties that the transport
// headers do not have. What others of them say already is not said again.
func lacking(name string, have map[string]bool) bool {
	switch name {
	case "from":
		return !have["sender"]
	case "importance":
		return !have["x-priority"] && !have["x-msmail-priority"] && !have["priority"]
	case "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "in-reply-to", "references", "sensitivity", "keywords":
		return true
	}
	return false
}

// standsAsIs reports whether a header field can be written as it stands.
func standsAsIs(raw string) bool {
	line := 0
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '\n' || c == '\r':
			line = 0
		case c == '\t' || c >= ' ' && c <= '~':
			if line++; line > maxLine {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// lineEnds returns a header field with the line ends CR LF, and without lines that
// are blank, which could be taken for the end of the header.
func lineEnds(raw string) string {
	var b strings.Builder
	for i, line := range strings.FieldsFunc(raw, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if i > 0 && line[0] != ' ' && line[0] != '\t' {
			b.WriteByte(' ') // its folding was broken
		}
		b.WriteString(line + "\r\n")
	}
	return b.String()
}

// addressFields are those that hold addresses.
var addressFields = map[string]bool{
	"from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true,
	"resent-from": true, "resent-sender": true, "resent-to": true, "resent-cc": true, "resent-bcc": true,
	"disposition-notification-to": true, "return-receipt-to": true, "errors-to": true, "x-original-to": true, "delivered-to": true,
}

// encoded returns a field of the transport headers that cannot stand as it is.
// Known are the addresses that properties have for it.
func (m *mailWriter) encoded(it *item, h *message.Header, f message.Field, known []addressee, place string) string {
	name := strings.ToLower(f.Name)
	if !token(f.Name) {
		return ""
	}
	if !addressFields[name] {
		text := h.FieldText(f)
		if own := it.namedLine(propertyName{set: psInternetHeaders, text: name}); own != "" {
			text = own
		}
		return textField(f.Name, text)
	}
	var list []addressee
	for _, a := range message.ParseAddresses(string(f.Raw)) {
		list = append(list, addressee{a.Name, a.Address, a.Group})
	}
	if slices.EqualFunc(list, known, func(a, b addressee) bool { return a.email == b.email }) {
		for i := range list {
			list[i].name = either(known[i].name, list[i].name)
		}
	}
	return m.addressField(f.Name, list, place)
}

// unknownAddress stands where a person has no address of Internet mail: it can be
// nobody's (RFC 2606 2).
const unknownAddress = "unknown@address.invalid"

// addressField returns a field of addresses (RFC 5322 3.4), "" if there are none.
func (m *mailWriter) addressField(name string, list []addressee, place string) string {
	var out []string
	unknown := 0
	wide := false
	group := ""
	for _, a := range list {
		a.name, a.email, a.group = oneLine(a.name), oneLine(a.email), oneLine(a.group)
		if a.email == "" && a.name == "" {
			continue
		}
		if a.email == "" {
			unknown++
			a.email = unknownAddress
		} else if !isAddress(a.email) {
			a.email = strings.Map(func(r rune) rune {
				if r <= ' ' || strings.ContainsRune(`<>,;()[]"\:`, r) {
					return '_'
				}
				return r
			}, a.email)
		}
		wide = wide || !isASCII(a.email)
		one := a.email
		if a.name != "" {
			one = phrase(a.name) + " <" + a.email + ">"
		}
		if a.group != group {
			if group != "" {
				out[len(out)-1] += ";"
			}
			if group = a.group; group != "" {
				one = phrase(group) + ": " + one
			}
		}
		out = append(out, one)
	}
	if group != "" {
		out[len(out)-1] += ";"
	}
	if unknown > 0 {
		m.lose(place, "%s: %d without an address of Internet mail are there by name, with the address %s", name, unknown, unknownAddress)
	}
	if wide {
		m.lose(place, "%s: an address is not in ASCII, and stands in UTF-8 (RFC 6532)", name)
	}
	if len(out) == 0 {
		return ""
	}
	return foldField(name, strings.Join(out, ", "))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Properties that only reading uses (MS-OXPROPS).
const pidTagAutoForwarded tag = 0x0005000B

// Named properties that only reading uses.
var (
	pidNameAcceptLanguage           = propertyName{set: psInternetHeaders, text: "acceptlanguage"}
	pidNameContentClass             = propertyName{set: psInternetHeaders, text: "content-class"}
	pidNameCrossReference           = propertyName{set: psInternetHeaders, text: "xref"}
	pidLidClassified                = propertyName{set: psetidCommon, lid: 0x85B5}
	pidLidClassification            = propertyName{set: psetidCommon, lid: 0x85B6}
	pidLidClassificationDescription = propertyName{set: psetidCommon, lid: 0x85B7}
	pidLidClassificationGuid        = propertyName{set: psetidCommon, lid: 0x85B8}
	pidLidClassificationKeep        = propertyName{set: psetidCommon, lid: 0x85BA}
)

// fields makes header fields of properties: all, or those that transport headers
// may lack.
func (m *mailWriter) fields(it *item, place string, all bool) (out []field, err error) {
	before := len(m.said.Losses)
	add := func(name, lines string) {
		if lines != "" {
			out = append(out, field{name: name, lines: lines, losses: slices.Clone(m.said.Losses[before:])})
			m.said.Losses = m.said.Losses[:before]
		}
	}
	people := func(name string, list ...addressee) {
		if lines := m.addressField(name, list, place); lines != "" {
			add(name, lines)
			out[len(out)-1].list = list
		}
	}
	words := func(name, text string) { add(name, textField(name, text)) }
	// 2.1.3.1
	from, by := it.person(sentRepresenting), it.person(sender)
	none := addressee{}
	if from == none {
		from = by
	}
	people("From", from)
	if by != none && (by.email != "" && !strings.EqualFold(by.email, from.email) || by.email == "" && by.name != from.name) {
		people("Sender", by)
	}
	people("Reply-To", replyTo(it)...)
	lists, err := m.recipients(it, place)
	if err != nil {
		return nil, err
	}
	for i, name := range []string{"To", "Cc", "Bcc"} {
		people(name, lists[i]...)
	}
	if it.bool(pidTagReadReceiptRequested) {
		a := it.person(readReceipt)
		if a == none {
			a = from
		}
		people("Disposition-Notification-To", a)
	}
	if it.bool(pidTagDeliveryReportRequested) {
		for _, a := range []addressee{it.person(readReceipt), by, from} {
			if a != none {
				people("Return-Receipt-To", a)
				break
			}
		}
	}

	// 2.1.3.2
	subject := it.field(pidTagSubject)
	if subject == "" {
		subject = oneLine(it.string(pidTagSubjectPrefix, maxString) + it.string(pidTagNormalizedSubject, maxField))
	}
	words("Subject", subject)
	date := it.time(pidTagClientSubmitTime)
	if date.IsZero() && all {
		date = it.time(pidTagMessageDeliveryTime)
	}
	if !date.IsZero() {
		add("Date", foldField("Date", date.UTC().Format("Mon, 2 Jan 2006 15:04:05 -0700")))
	}
	words("Message-ID", it.line(pidTagInternetMessageID))
	words("In-Reply-To", it.line(pidTagInReplyToID))
	words("References", it.field(pidTagInternetReferences))
	switch v, _ := it.int32(pidTagImportance); {
	case v == 2:
		words("Importance", "High")
	case v == 0 && it.has(pidTagImportance):
		words("Importance", "Low")
	}
	if v, _ := it.int32(pidTagSensitivity); v >= 1 && v <= 3 {
		words("Sensitivity", []string{"Personal", "Private", "Company-Confidential"}[v-1])
	}
	if t := it.named(pidNameKeywords); t != 0 {
		list := it.lines(t)
		comma := slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, ",") })
		if !comma || methodOf(it) == "" { // else the calendar has them
			words("Keywords", strings.Join(list, ", "))
		}
	}
	if !all {
		return out, nil
	}
	words("Thread-Topic", it.field(pidTagConversationTopic))
	if index := it.bytes(pidTagConversationIndex, 22+5*1000); len(index) > 0 {
		add("Thread-Index", foldField("Thread-Index", chunks(base64.StdEncoding.EncodeToString(index), 60)))
	}
	words("Expires", mailDate(it.time(pidTagExpiryTime)))
	if flag := it.namedLine(pidLidFlagRequest); flag != "" {
		words("X-Message-Flag", flag)
		words("Reply-By", mailDate(it.time(pidTagReplyTime)))
	}
	words("List-Help", it.line(pidTagListHelp))
	words("List-Subscribe", it.line(pidTagListSubscribe))
	words("List-Unsubscribe", it.line(pidTagListUnsubscribe))
	words("Accept-Language", it.namedLine(pidNameAcceptLanguage))
	if v, _ := it.int32(pidTagMessageLocaleID); v != 0 {
		words("Content-Language", languageOf(v))
	}
	if t := it.named(pidLidClassified); t != 0 && it.bool(t|typeBool) {
		words("X-Microsoft-Classified", "true")
		words("X-Microsoft-Classification", it.namedLine(pidLidClassification))
		words("X-Microsoft-ClassDesc", it.namedLine(pidLidClassificationDescription))
		words("X-Microsoft-ClassID", it.namedLine(pidLidClassificationGuid))
		if t := it.named(pidLidClassificationKeep); t != 0 && it.bool(t|typeBool) {
			words("X-Microsoft-ClassKeep", "true")
		}
	}
	if v, ok := it.int32(pidTagAutoResponseSuppress); ok {
		words("X-Auto-Response-Suppress", suppression(v))
	}
	if it.bool(pidTagAutoForwarded) {
		words("X-MS-Exchange-Organization-AutoForwarded", "true")
	}
	words("Content-Class", contentClass(it))
	words("XRef", it.namedLine(pidNameCrossReference))

	// 2.1.3.2.4: what maps to no other property.
	have := map[string]bool{}
	for _, f := range out {
		have[strings.ToLower(f.name)] = true
	}
	type generic struct {
		name string
		t    tag
	}
	var others []generic
	for t := range it.entries {
		n := it.f.names[t.id()]
		name := strings.ToLower(n.text)
		if kind := t & 0xFFFF; kind != typeString && kind != typeString8 || n.set != psInternetHeaders || !token(name) || len(name) > 100 ||
			have[name] || mapped[name] || ofBody[name] || name == "acceptlanguage" || organisational(name) > 0 && place == "" {
			continue
		}
		others = append(others, generic{name, t})
	}
	slices.SortFunc(others, func(a, b generic) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return int(int64(a.t) - int64(b.t))
	})
	for _, o := range others {
		if !have[o.name] {
			have[o.name] = true
			words(textproto.CanonicalMIMEHeaderKey(o.name), it.line(o.t))
		}
	}
	return out, nil
}

func (it *item) has(t tag) bool { _, ok := it.values[t]; return ok }

// chunks puts a blank after every n characters, where a field may be folded.
func chunks(s string, n int) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + " ")
		s = s[n:]
	}
	return b.String() + s
}

func mailDate(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("Mon, 2 Jan 2006 15:04:05 -0700")
}

// replyTo returns the reply recipients (MS-OXCMAIL 2.1.3.1.2).
func replyTo(it *item) []addressee {
	list := readFlatEntries(it.bytes(pidTagReplyRecipientEntries, 1<<20), it.page)
	names := strings.Split(it.line(pidTagReplyRecipientNames), ";")
	for i := range list {
		if len(names) == len(list) {
			if n := strings.TrimSpace(names[i]); list[i].name == "" || list[i].email == "" && n != "" {
				list[i].name = n
			}
		}
		if list[i].email == "" && isAddress(list[i].name) {
			list[i].email = list[i].name
		}
		if !isAddress(list[i].email) {
			list[i].email = ""
		}
		if strings.EqualFold(strings.Trim(list[i].name, `'"<>`), list[i].email) {
			list[i].name = ""
		}
	}
	return list
}

var recipientGroup = group{pidTagDisplayName, pidTagAddressType, pidTagEmailAddress, pidTagSMTPAddress, pidTagEntryID, pidTagSearchKey}

// maxRecipients is how many recipients of a message are read.
const maxRecipients = 1 << 16

// recipients returns those of To, Cc and Bcc (MS-OXCMAIL 2.1.3.1.1).
func (m *mailWriter) recipients(it *item, place string) (lists [3][]addressee, err error) {
	if isReport(it.line(pidTagMessageClass)) {
		// Its recipients are those that it is about.
		for _, g := range []group{receivedRepresenting, receivedBy} {
			if a := it.person(g); a.email != "" {
				lists[0] = []addressee{a}
				break
			}
		}
		return lists, nil
	}
	list := it.recipients
	if len(list) > maxRecipients {
		m.lose(place, "%d recipients more than %d are left out", len(list)-maxRecipients, maxRecipients)
		list = list[:maxRecipients]
	}
	for _, e := range list {
		r, err := it.f.newItem(e, headOfOther, it.page, m.damaged(place))
		if err != nil {
			return lists, fmt.Errorf("recipient %s: %w", e.Name, err)
		}
		kind, ok := r.int32(pidTagRecipientType)
		if !ok {
			kind = 1
		}
		if kind &= 3; kind == 0 {
			continue // the originator
		}
		a := r.person(recipientGroup)
		if a.name == "" && a.email == "" {
			a.name = r.line(0x5FF6001F) // PidTagRecipientDisplayName
		}
		lists[kind-1] = append(lists[kind-1], a)
	}
	if len(it.recipients) > 0 {
		return lists, nil
	}
	for i, t := range []tag{pidTagDisplayTo, pidTagDisplayCc, pidTagDisplayBcc} {
		for name := range strings.SplitSeq(it.line(t), ";") {
			if name = strings.TrimSpace(name); isAddress(strings.Trim(name, "'")) {
				lists[i] = append(lists[i], addressee{email: strings.Trim(name, "'")})
			} else if name != "" {
				lists[i] = append(lists[i], addressee{name: name})
			}
		}
	}
	return lists, nil
}

// suppression is the value of X-Auto-Response-Suppress (MS-OXCMAIL 2.1.3.2.20).
func suppression(v int32) string {
	switch v {
	case 0:
		return ""
	case -1:
		return "All"
	}
	var words []string
	for i, w := range []string{"DR", "NDR", "RN", "NRN", "OOF", "AutoReply"} {
		if v>>i&1 != 0 {
			words = append(words, w)
		}
	}
	return strings.Join(words, ", ")
}

// contentClass is the value of Content-Class (MS-OXCMAIL 2.1.3.2.2).
func contentClass(it *item) string {
	class := it.line(pidTagMessageClass)
	for _, c := range []struct{ class, value string }{
		{"IPM.Note.Microsoft.Fax", "fax"}, {"IPM.Note.Microsoft.Fax.CA", "fax-ca"},
		{"IPM.Note.Microsoft.Missed.Voice", "missedcall"}, {"IPM.Note.Microsoft.Conversation.Voice", "voice-uc"},
		{"IPM.Note.Microsoft.Voicemail.UM.CA", "voice-ca"}, {"IPM.Note.Microsoft.Voicemail.UM", "voice"},
	} {
		if strings.EqualFold(class, c.class) {
			return c.value
		}
	}
	if rest, ok := strings.CutPrefix(class, "IPM.Note.Custom."); ok {
		return "urn:content-class:custom." + rest
	}
	return it.namedLine(pidNameContentClass)
}

// languages has the language tags of locales: the longest of each.
var languages = func() map[int32]string {
	set := map[int32]string{}
	for name, id := range locales {
		if old := set[id]; len(name) > len(old) || len(name) == len(old) && name < old {
			set[id] = name
		}
	}
	return set
}()

// languageOf returns a language tag (RFC 5646 2.1.1: the region in upper case).
func languageOf(id int32) string {
	language, region, ok := strings.Cut(languages[id], "-")
	if ok {
		return language + "-" + strings.ToUpper(region)
	}
	return language
}

// damaged returns what item.damaged is: it makes a loss of what cannot be read.
func (m *mailWriter) damaged(place string) func(error) {
	return func(err error) {
		var f *cfb.FormatError
		if errors.As(err, &f) || errors.Is(err, io.ErrUnexpectedEOF) {
			m.lose(place, "a property is damaged or too long, and left out or cut (%v)", err)
			return
		}
		if m.err == nil {
			m.err = err
		}
	}
}
