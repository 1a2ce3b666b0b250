package outlook

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"postroom/ingest/message"
)

// notification is what a report (RFC 6522) says of another message: a delivery
// status notification (RFC 3464, RFC 6533 3) or a message disposition
// notification (RFC 8098).
type notification struct {
	part     *message.Part // that says it
	whole    bool          // the properties say all of it
	suffix   string        // of the class
	icon     int32         // PidTagIconIndex (MS-OXOMSG 2.2.1.10), 0 if it has none
	sent     time.Time
	original *message.Header // of the other message, nil if it is not returned
	id       string          // of the other message, as the report says

	delivery   bool       // it is a delivery status notification
	agent      string     // Reporting-MTA
	recipients []reported // those of the worst action

	disposition string
	addressee   message.Address // who got the other message
	key         []byte          // PidTagParentKey
}

// reported is a recipient of whom something is reported.
type reported struct {
	address message.Address
	failed  bool
	remote  string // Remote-MTA, without its type
	status  string // the code (RFC 3463 2), empty if there is none
	info    string // PidTagSupplementaryInfo
}

// maxStatus is how many bytes the part of a report may have that is for programs.
// It is held in memory.
const maxStatus = 1 << 20

// notification reads a message that is a report (MS-OXCMAIL 2.2.3.7). One that
// cannot be mapped is ordinary mail: nil.
func (c *converter) notification(m *message.Message, root *message.Part, place string) (*notification, error) {
	if root.Protection() != message.Unprotected {
		return nil, nil
	}
	for p := range within(root) {
		if p != root && p.Type == "multipart/report" {
			c.lose(place, "a report is only a part of the message: what it reports is in its attachments")
		}
	}
	if root.Type != "multipart/report" {
		return nil, nil
	}
	var n *notification
	var over leftover
	why := "none of its parts is a delivery status or a disposition"
	for _, p := range root.Parts {
		if !says(p) {
			continue
		}
		n, over = &notification{part: p, sent: root.Header.Date()}, leftover{}
		text, err := io.ReadAll(io.LimitReader(m.Open(p), maxStatus+1))
		if err != nil {
			return nil, err
		}
		groups := statusGroups(string(text), &over)
		switch n.delivery = strings.HasSuffix(p.Type, "delivery-status"); {
		case len(text) > maxStatus:
			why = fmt.Sprintf("what it reports has more than %d bytes", maxStatus)
		case n.delivery:
			why = n.readDelivery(groups, &over)
		default:
			why = n.readDisposition(groups, root.Header, &over)
		}
		if why == "" {
			break // others stay attachments
		}
	}
	if why != "" {
		c.lose(place, "the message is a report, but %s: it is ordinary mail, with what it reports in its attachments", why)
		return nil, nil
	}
	if n.whole = len(over.names) == 0; !n.whole {
		c.lose(place, "a message has no properties for all that the report says (%s): that is an attachment too", over)
	}
	if left := len(n.recipients) - maxObjects; left > 0 {
		c.lose(place, "%d recipients more than the %d that a message can have are in the attached report alone", left, maxObjects)
		n.recipients, n.whole = n.recipients[:maxObjects], false
	}
	return n, n.readOriginal(m, root)
}

// says reports whether a part says what is reported.
func says(p *message.Part) bool {
	switch p.Type {
	case "message/delivery-status", "message/global-delivery-status",
		"message/disposition-notification", "message/global-disposition-notification":
		return true
	}
	return false
}

// readOriginal reads the header of the other message, which is returned with its
// body or without.
func (n *notification) readOriginal(m *message.Message, root *message.Part) (err error) {
	i := slices.IndexFunc(root.Parts, func(p *message.Part) bool {
		return p.IsMessage() || p.Type == "text/rfc822-headers" || p.Type == "message/global-headers"
	})
	if i < 0 {
		return nil
	}
	if p := root.Parts[i]; p.IsMessage() && len(p.Parts) == 1 {
		n.original = p.Parts[0].Header
	} else {
		n.original, err = message.ReadHeader(m.Open(p))
	}
	return err
}

// actions are the values of Action by their severity (MS-OXCMAIL 2.2.3.7.1.1).
var actions = []struct {
	word, suffix string
	icon         int32
}{
	{"delivered", ".DR", 0x108}, {"expanded", ".Expanded.DR", 0}, {"relayed", ".Relayed.DR", 0},
	{"delayed", ".Delayed.DR", 0}, {"failed", ".NDR", 0x10A},
}

// severity returns the index of an action, -1 if it is none.
func severity(g statusGroup) int {
	word := strings.ToLower(firstOf(g.get("Action")))
	for i, a := range actions {
		if a.word == word {
			return i
		}
	}
	return -1
}

// readDelivery reads a delivery status (MS-OXCMAIL 2.2.3.7.1), and says why not.
func (n *notification) readDelivery(groups []statusGroup, over *leftover) (why string) {
	worst, named := -1, false
	for _, g := range groups {
		if g.about() {
			named = true
			worst = max(worst, severity(g))
		}
	}
	switch {
	case !named:
		return "it names no recipient"
	case worst < 0:
		return "it says of no recipient what became of the message"
	}
	n.suffix, n.icon = actions[worst].suffix, actions[worst].icon
	for _, g := range groups {
		if n.agent == "" {
			n.agent = readable(g.get("Reporting-MTA"))
		}
		if n.id == "" {
			n.id = readable(g.get("X-Original-Message-ID"))
		}
		used := map[string]bool{"reporting-mta": n.agent == readable(g.get("Reporting-MTA")), "x-original-message-id": n.id == readable(g.get("X-Original-Message-ID"))}
		switch {
		case g.about() && severity(g) == worst:
			n.recipients = append(n.recipients, readRecipient(g, actions[worst].word, used))
		case g.about():
			over.add("other recipients")
			continue
		}
		over.fields(g, used)
	}
	return ""
}

// about reports whether the fields are of a recipient.
func (g statusGroup) about() bool { return g.get("Final-Recipient")+g.get("Original-Recipient") != "" }

// readRecipient reads the fields of a recipient, and enters into used those that
// are read wholly.
func readRecipient(g statusGroup, action string, used map[string]bool) (r reported) {
	field := cmp.Or(g.first("Final-Recipient"), "Original-Recipient")
	exact := false
	r.address, exact = mailbox(g.get(field))
	used[strings.ToLower(field)] = exact
	if a, exact := mailbox(g.get("Original-Recipient")); exact && a.Address == r.address.Address {
		used["original-recipient"] = true
	}
	if name := readable(g.get("X-Display-Name")); name != "" {
		r.address.Name = name
		used["x-display-name"] = true
	}
	r.failed = action == "failed"
	used["action"] = strings.EqualFold(g.get("Action"), action)
	if m := statusCode.FindStringSubmatch(g.get("Status")); m != nil {
		r.status = m[1]
	}
	kind, name := typed(g.get("Remote-MTA"))
	r.remote = readable(uncommented(name))
	used["remote-mta"] = kind == "dns" && r.remote == readable(name)
	diagnosis := readable(g.get("Diagnostic-Code"))
	if r.info = readable(g.get("X-Supplementary-Info")); r.info != "" {
		used["x-supplementary-info"] = true
		used["diagnostic-code"] = diagnosis == ""
	} else if r.status != "" {
		// MS-OXCMAIL 2.2.3.7.1.2
		r.info = "<" + r.remote + " #" + r.status
		if diagnosis != "" {
			r.info += " " + diagnosis
		}
		r.info += ">"
		used["diagnostic-code"] = true
	}
	used["status"] = r.status != "" && r.status == g.get("Status") && strings.Contains(r.info, "#"+r.status)
	return r
}

// statusCode is a status-code (RFC 3464 2.3.4).
var statusCode = regexp.MustCompile(`^([0-9]\.[0-9]{1,3}\.[0-9]{1,3})(?:[^0-9.]|$)`)

// reasons returns PidTagNonDeliveryReportStatusCode, -DiagCode and -ReasonCode of
// a status (MS-OXCMAIL 2.2.3.7.1.3).
func reasons(status string) (code, diagnosis, reason int32) {
	var kind, subject, detail int32
	if _, err := fmt.Sscanf(status, "%d.%d.%d", &kind, &subject, &detail); err != nil {
		return 0, -1, 0
	}
	if subject > 9 {
		subject = 0
	}
	if detail > 9 {
		detail = 0
	}
	code, diagnosis = kind*100+subject*10+detail, -1
	if row, ok := diagnoses[subject]; ok {
		diagnosis, ok = row[detail]
		if !ok {
			diagnosis = row[other]
		}
	}
	switch [2]int32{subject, detail} {
	case [2]int32{1, 1}:
		reason = 1
	case [2]int32{4, 3}:
		reason = 6
	case [2]int32{6, 5}:
		reason = 2
	}
	return code, diagnosis, reason
}

// other stands for the details that a row does not name.
const other = -1

// diagnoses has the diagnostic codes by subject and detail.
var diagnoses = map[int32]map[int32]int32{
	1: {1: 35, 2: 48, 3: 32, 4: 1, 6: 40, other: 0},
	2: {1: 38, 2: 13, 3: 13, 4: 30, other: 38},
	3: {1: 38, 2: -1, 3: 18, 4: 13, 5: 18, other: 38},
	4: {0: -1, 3: -1, 4: -1, 6: 3, 7: 5, 8: 3, other: 2},
	5: {3: 16, 4: 11, other: 17},
	6: {2: 9, 3: 8, 4: 25, 5: -1, other: 15},
	7: {1: 29, 2: 28, 3: 26, other: 46},
}

// dispositions are the values of disposition-type.
var dispositions = map[string]struct {
	suffix string
	icon   int32
}{
	"displayed": {".IPNRN", 0x109}, "dispatched": {".IPNRN", 0x109}, "processed": {".IPNRN", 0x109},
	"deleted": {".IPNNRN", 0x10B}, "denied": {".IPNNRN", 0x10B}, "failed": {".IPNNRN", 0x10B},
}

// readDisposition reads a disposition (MS-OXCMAIL 2.2.3.7.2), and says why not.
func (n *notification) readDisposition(groups []statusGroup, h *message.Header, over *leftover) (why string) {
	var g statusGroup
	for _, more := range groups {
		if g == nil && more.get("Disposition") != "" {
			g = more
		} else {
			over.fields(more, nil)
		}
	}
	n.disposition = readable(g.get("Disposition"))
	_, kind, ok := strings.Cut(n.disposition, ";")
	if !ok {
		kind = n.disposition // without the mode
	}
	d, ok := dispositions[strings.ToLower(firstOf(kind))]
	if !ok {
		return "it does not say what became of the message"
	}
	n.suffix, n.icon = d.suffix, d.icon
	n.id = readable(g.get("Original-Message-ID"))
	used := map[string]bool{"disposition": true, "original-message-id": true}

	field := cmp.Or(g.first("Original-Recipient"), "Final-Recipient")
	addressee, exact := mailbox(g.get(field))
	n.addressee = addressee
	used[strings.ToLower(field)] = exact && addressee.Name == ""
	var from message.Address
	if list := append(h.AddressList("Sender"), h.AddressList("From")...); len(list) > 0 {
		from = list[0]
	} else {
		from = addressee
	}
	if a, exact := mailbox(g.get("Final-Recipient")); exact && strings.EqualFold(a.Address, from.Address) {
		used["final-recipient"] = true
	}
	used["x-display-name"] = readable(g.get("X-Display-Name")) == from.Name
	if key, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(g.get("X-MSExch-Correlation-Key")), "")); err == nil {
		n.key = key
		used["x-msexch-correlation-key"] = true
	}
	over.fields(g, used)
	return ""
}

// without returns the files but for the part of the report, if the properties say
// all of it.
func (n *notification) without(files []*file) []*file {
	return slices.DeleteFunc(files, func(f *file) bool { return n.whole && f.part == n.part })
}

// properties sets those of the report. They go before those of the header fields
// that they take the place of.
func (n *notification) properties(o *object) {
	if n.icon != 0 {
		o.int32(pidTagIconIndex, n.icon)
	}
	o.text(pidTagOriginalMessageID, n.id)
	if n.delivery {
		o.text(pidTagReportingMessageTransferAgent, n.agent)
	} else {
		o.text(pidTagOriginalDisplayTo, displayName(n.addressee))
		o.time(pidTagOriginalDeliveryTime, n.sent)
		o.time(pidTagReceiptTime, n.sent)
		o.time(pidTagReportTime, n.sent)
		o.text(pidTagReportText, n.disposition)
		o.text(pidTagInternetReferences, n.id)
		if len(n.key) > 0 {
			o.binary(pidTagParentKey, n.key)
		}
	}
	if n.original != nil {
		n.of(o, n.original)
	}
}

// of sets the properties of the other message (MS-OXOMSG 2.2.2.3 to 2.2.2.17).
func (n *notification) of(o *object, h *message.Header) {
	prefix, normalized := splitSubject(oneLine(h.Text("Subject")), oneLine(h.Text("Thread-Topic")))
	o.text(pidTagOriginalSubject, prefix+normalized)
	o.time(pidTagOriginalSubmitTime, h.Date())
	if n.id == "" {
		o.text(pidTagOriginalMessageID, identifier(h, "Message-ID"))
	}
	for _, kind := range []struct {
		field   string
		display tag
	}{{"To", pidTagOriginalDisplayTo}, {"Cc", pidTagOriginalDisplayCc}, {"Bcc", pidTagOriginalDisplayBcc}} {
		var names []string
		for _, a := range h.AddressList(kind.field) {
			names = append(names, displayName(a))
		}
		if !o.have[kind.display.id()] {
			o.text(kind.display, strings.Join(names, "; "))
		}
	}
	from := h.AddressList("From")
	senders := append(h.AddressList("Sender"), from...)
	if len(senders) > 0 {
		o.person(originalSender, senders[0])
		o.person(originalSentRepresenting, append(from, senders...)[0])
	}
}

// reportedRecipients writes the recipients of whom something is reported, and
// returns how many there are.
func (c *converter) reportedRecipients(o *object, n *notification) int {
	var names []string
	for i, r := range n.recipients {
		names = append(names, displayName(r.address))
		c.recipient(o, i, 1, r.address, func(o *object) {
			o.text(pidTagRemoteMessageTransferAgent, r.remote)
			o.text(pidTagSupplementaryInfo, r.info)
			o.time(pidTagReportTime, n.sent)
			if !r.failed {
				o.time(pidTagDeliverTime, n.sent)
				return
			}
			code, diagnosis, reason := reasons(r.status)
			if r.status != "" {
				o.int32(pidTagNonDeliveryReportStatusCode, code)
			}
			o.int32(pidTagNonDeliveryReportDiagCode, diagnosis)
			o.int32(pidTagNonDeliveryReportReasonCode, reason)
		})
	}
	o.textOrEmpty(pidTagDisplayTo, strings.Join(names, "; "))
	o.textOrEmpty(pidTagDisplayCc, "")
	o.textOrEmpty(pidTagDisplayBcc, "")
	return len(n.recipients)
}

// statusField is a field of a report, unfolded.
type statusField struct{ name, value string }

// statusGroup is fields that no empty line divides.
type statusGroup []statusField

// get returns the first field of that name, "" if there is none.
func (g statusGroup) get(name string) string {
	for _, f := range g {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// first returns the name if there is such a field and it is not empty, else "".
func (g statusGroup) first(name string) string {
	if g.get(name) == "" {
		return ""
	}
	return name
}

// statusGroups reads the groups of fields of a report (RFC 3464 2.1, RFC 8098
// 3.1). A line that is no field belongs to the one before it, as if it were
// folded; one that has none before it is left over.
func statusGroups(text string, over *leftover) (groups []statusGroup) {
	var g statusGroup
	var value []byte // of the last field of g
	end := func() {
		if len(g) > 0 {
			g[len(g)-1].value = strings.TrimSpace(string(value))
		}
		value = value[:0]
	}
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(text, "\uFEFF"))
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.TrimSpace(line) == "" {
			if end(); len(g) > 0 {
				groups = append(groups, g)
			}
			g = nil
			continue
		}
		name, rest, ok := strings.Cut(line, ":")
		switch name = strings.TrimRight(name, " \t"); {
		case ok && isFieldName(name):
			end()
			g = append(g, statusField{name: name})
			value = append(value, rest...)
		case len(g) > 0:
			value = append(append(value, ' '), line...)
		default:
			over.add("lines that are no fields")
		}
	}
	if end(); len(g) > 0 {
		groups = append(groups, g)
	}
	return groups
}

func isFieldName(s string) bool {
	for i, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '-' && c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != "" && len(s) <= 76
}

// leftover names what a report says and the properties do not.
type leftover struct{ names []string }

// maxLeftover is how many names are listed.
const maxLeftover = 10

func (l *leftover) add(name string) {
	if len(l.names) <= maxLeftover && !slices.ContainsFunc(l.names, func(n string) bool { return strings.EqualFold(n, name) }) {
		l.names = append(l.names, name)
	}
}

// fields adds those that are not used, or are there again.
func (l *leftover) fields(g statusGroup, used map[string]bool) {
	seen := map[string]bool{}
	for _, f := range g {
		name := strings.ToLower(f.name)
		if f.value != "" && (!used[name] || seen[name]) {
			l.add(f.name)
		}
		seen[name] = true
	}
}

func (l leftover) String() string {
	if len(l.names) > maxLeftover {
		return strings.Join(l.names[:maxLeftover], ", ") + " and more"
	}
	return strings.Join(l.names, ", ")
}

// readable returns the value of a field as text.
func readable(value string) string { return oneLine(message.Decode(value)) }

// firstOf returns the first word of a value, which white space, a comment or the
// marks of RFC 8098 3.2.6 end.
func firstOf(value string) string {
	value = strings.TrimSpace(value)
	if i := strings.IndexAny(value, " \t(/,;"); i >= 0 {
		value = value[:i]
	}
	return value
}

// typed returns the type of a value in lower case, and what is after it (RFC 3464
// 2.1.2).
func typed(value string) (kind, rest string) {
	kind, rest, ok := strings.Cut(value, ";")
	if kind = strings.TrimSpace(kind); !ok || strings.ContainsAny(kind, " \t\"<>@()") {
		return "", strings.TrimSpace(value)
	}
	return strings.ToLower(kind), strings.TrimSpace(rest)
}

// uncommented returns a value without its comments.
func uncommented(value string) string {
	var b strings.Builder
	depth := 0
	for _, r := range value {
		switch {
		case r == '(':
			depth++
		case r == ')' && depth > 0:
			depth--
		case depth == 0:
			b.WriteRune(r)
		}
	}
	if depth > 0 {
		return value // it has no end
	}
	return b.String()
}

// mailbox returns the address that the field of a recipient has; exact is true if
// that is all the field says. An address that is none of Internet mail is a name.
func mailbox(value string) (a message.Address, exact bool) {
	kind, rest := typed(value)
	if kind == "utf-8" {
		rest = unescaped(rest)
	}
	list := message.ParseAddresses(rest)
	if len(list) == 1 && list[0].Address == "" {
		list = message.ParseAddresses(message.Decode(rest)) // an encoded word in it, which is wrong
	}
	if len(list) != 1 || list[0].Address == "" || kind != "rfc822" && kind != "utf-8" && (kind == "x400" || !strings.Contains(list[0].Address, "@")) {
		return message.Address{Name: readable(rest)}, false
	}
	a = list[0]
	return a, (kind == "rfc822" || kind == "utf-8") && (a.Name != "" || strings.Trim(rest, "<>") == a.Address)
}

// escape is a character of an address that is written in ASCII (RFC 6533 3).
var escape = regexp.MustCompile(`\\x\{([0-9A-Fa-f]{1,6})\}`)

func unescaped(s string) string {
	return escape.ReplaceAllStringFunc(s, func(e string) string {
		var r rune
		if _, err := fmt.Sscanf(e, `\x{%x}`, &r); err != nil || r < ' ' {
			return e
		}
		return string(r)
	})
}
