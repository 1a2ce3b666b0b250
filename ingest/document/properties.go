package document

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postroom/ingest/message"
	"postroom/store"
)

// Property is a rule for one property of the documents of a source.
type Property struct {
	Name string
	// Value is the fixed value of a rule without Read.
	Value string
	// Read is what the value is read from: one of Words, or "header:" and the
	// name of a header field.
	Read string
	// Match finds the value in what was read: its first group, or all that it
	// matches if it has none. Nil for all of what was read.
	Match *regexp.Regexp
	// Default is the value of a message that has none; empty for none.
	Default string
	// Required refuses a message that has no value.
	Required bool
}

// Values is what the words of properties and titles are read from.
type Values struct {
	Header *message.Header
	// Message may be nil where neither body nor attachment_names is read.
	Message *message.Message
	// Received is when the message arrived; zero if that is not known.
	Received time.Time
	// Mailbox and Folder are where it was found.
	Mailbox, Folder string
}

// MaxValue is how many bytes of UTF-8 a value of a property has at most, and how
// many of the text of a message are looked at.
const MaxValue = 64 << 10

// MissingError: a message has no value for a property that is required.
type MissingError struct {
	Property string // its name
	Reason   string // what was looked at, for a person
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("the required property %q has no value: %s; change document.properties of the source, or discard the message", e.Property, e.Reason)
}

// Evaluate returns the properties of a message's document in the order of the
// rules, without those that have no value: an empty text is none. Names may
// repeat. Notes say what was cut. The error is a *MissingError for a message
// that is to go to quarantine, else one of the raw bytes.
func Evaluate(rules []Property, in Values) (properties []store.Property, notes []string, err error) {
	r := reader{Values: in}
	for _, rule := range rules {
		value := rule.Value
		if rule.Read != "" {
			if value, err = r.property(rule); err != nil {
				return nil, nil, err
			}
		}
		if value != "" {
			properties = append(properties, store.Property{Name: rule.Name, Value: value})
		}
	}
	return properties, r.notes, nil
}

// Words lists what can be read from a message, besides header:NAME.
func Words() []string {
	return []string{
		"from", "to", "cc", "subject", "body", "date", "importance", "sensitivity", "message_id", "in_reply_to",
		"conversation", "mailbox", "folder", "attachment_names",
	}
}

// TitleWords lists those that may stand in braces in a title, besides
// header:NAME: what is said outside of the text.
func TitleWords() []string {
	return slices.DeleteFunc(Words(), func(word string) bool { return word == "body" || word == "attachment_names" })
}

// reader reads the values of one message.
type reader struct {
	Values
	notes []string

	body *text // once it was read
}

// text is a text of a message, as far as it is looked at.
type text struct {
	string
	cut bool
}

// property returns the value of a rule, "" if there is none.
func (r *reader) property(rule Property) (string, error) {
	t, err := r.read(rule.Read)
	if err != nil {
		return "", fmt.Errorf("read property %q: %w", rule.Name, err)
	}
	value := t.string
	if rule.Match != nil {
		value = matched(rule.Match, value)
	}
	switch {
	case value == "" && rule.Default != "":
		return rule.Default, nil
	case value == "" && rule.Required:
		return "", &MissingError{rule.Name, missing(rule, t)}
	case value == "" && t.cut:
		r.note("property %q is not in the first %d KiB of the text; the rest was not looked at", rule.Name, MaxValue>>10)
	case len(value) > MaxValue, t.cut && rule.Match == nil:
		r.note("property %q holds only the first %d KiB of its value", rule.Name, MaxValue>>10)
	}
	return cut(value, MaxValue), nil
}

func (r *reader) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// matched returns what the expression finds in s, "" for nothing.
func matched(re *regexp.Regexp, s string) string {
	found := re.FindStringSubmatch(s)
	if found == nil {
		return ""
	}
	return strings.TrimSpace(found[min(1, len(found)-1)])
}

// missing says what was looked at in vain.
func missing(rule Property, t text) string {
	name, field := strings.CutPrefix(rule.Read, "header:")
	switch {
	case t.string == "" && field:
		return "the message has no header field " + name + ", or an empty one"
	case t.string == "":
		return "the message has no " + described(name)
	case rule.Read == "body" && t.cut:
		return fmt.Sprintf("its match finds nothing in the first %d KiB of the text", MaxValue>>10)
	case rule.Read == "body":
		// What people write to each other is not for a log.
		return "its match finds nothing in the text"
	case field:
		name = "header field " + name
	default:
		name = described(name)
	}
	const shown = 200
	quoted := cut(t.string, shown)
	if quoted != t.string {
		quoted += "…"
	}
	return fmt.Sprintf("its match finds nothing in the %s %q", name, quoted)
}

// described is a word as a person would say it.
func described(word string) string {
	switch word {
	case "body":
		return "text"
	case "message_id":
		return "Message-ID"
	case "in_reply_to":
		return "In-Reply-To"
	}
	return strings.ReplaceAll(word, "_", " ")
}

// cut returns at most limit bytes of s, in whole characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// read returns what a word stands for, without white space around it. The error
// is one of the raw bytes.
func (r *reader) read(word string) (text, error) {
	switch word {
	case "body":
		if r.body == nil {
			t, err := bodyText(r.Message)
			if err != nil {
				return text{}, fmt.Errorf("read text of message: %w", err)
			}
			r.body = &t
		}
		return *r.body, nil
	case "attachment_names":
		names, err := attachmentNames(r.Message)
		if err != nil {
			return text{}, fmt.Errorf("read text of message: %w", err)
		}
		return text{string: oneLine(strings.Join(names, "; "))}, nil
	}
	return text{string: oneLine(r.header(word))}, nil
}

// header returns what a word stands for that needs no more than the header.
func (r *reader) header(word string) string {
	h := r.Header
	switch word {
	case "from", "to", "cc":
		return strings.Join(h.Addresses(word), "; ")
	case "subject":
		return h.Text("Subject")
	case "date":
		date := h.Date()
		if date.IsZero() {
			date = r.Received
		}
		if date.IsZero() {
			return ""
		}
		return date.UTC().Format(time.RFC3339)
	case "importance":
		return importance(h)
	case "sensitivity":
		return sensitivity(h)
	case "message_id":
		return identifier(h, "Message-ID")
	case "in_reply_to":
		return identifier(h, "In-Reply-To")
	case "conversation":
		return conversation(h)
	case "mailbox":
		return r.Mailbox
	case "folder":
		return r.Folder
	}
	if name, ok := strings.CutPrefix(word, "header:"); ok {
		for _, f := range h.Fields {
			if strings.EqualFold(f.Name, name) {
				if s := h.FieldText(f); s != "" {
					return s
				}
			}
		}
	}
	return ""
}

// importance returns low, normal or high (MS-OXCMAIL 2.2.3.2.5, RFC 2156 5.3.6):
// what Importance says, else the first of the other fields that says something.
func importance(h *message.Header) string {
	for _, name := range []string{"Importance", "X-Priority", "X-MSMail-Priority", "Priority"} {
		for _, value := range h.Values(name) {
			// As in "1 (Highest)".
			word, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(value)), " ")
			word, _, _ = strings.Cut(word, "(")
			switch word {
			case "low", "non-urgent", "5", "4":
				return "low"
			case "normal", "medium", "3":
				return "normal"
			case "high", "urgent", "1", "2":
				return "high"
			}
		}
	}
	return "normal"
}

// sensitivity returns normal, personal, private or confidential (MS-OXCMAIL
// 2.2.3.2.6, RFC 2156 5.3.4).
func sensitivity(h *message.Header) string {
	for _, value := range h.Values("Sensitivity") {
		switch strings.ToLower(value) {
		case "personal":
			return "personal"
		case "private":
			return "private"
		case "company-confidential", "company confidential", "confidential":
			return "confidential"
		case "normal":
			return "normal"
		}
	}
	return "normal"
}

// identifier returns the first message identifier of the field in its brackets,
// or the text of one that has none.
func identifier(h *message.Header, name string) string {
	if ids := h.MessageIDs(name); len(ids) > 0 {
		return ids[0]
	}
	return h.Text(name)
}

// conversation returns the identifier of the message that began the
// conversation: every reply carries it as the first of its References (RFC 5322
// 3.6.4). Without References it is the message replied to, or the message
// itself.
func conversation(h *message.Header) string {
	for _, name := range []string{"References", "In-Reply-To", "Message-ID"} {
		if ids := h.MessageIDs(name); len(ids) > 0 {
			return ids[0]
		}
	}
	return ""
}

// attachmentNames returns the names of the attachments that a mail program
// lists, in order. Left out are pictures that the HTML shows, signatures, and
// what has no name.
func attachmentNames(m *message.Message) ([]string, error) {
	if m == nil {
		return nil, nil
	}
	layout := m.Layout()
	var parts []*message.Part
	for _, a := range layout.Attachments {
		parts = append(parts, a.Part)
	}
	shown := make(map[*message.Part]bool)
	for _, p := range append([]*message.Part{layout.HTML}, layout.More...) {
		if p == nil || p.Type != "text/html" || len(parts) == 0 {
			continue
		}
		referred, err := m.References(p, parts)
		if err != nil {
			return nil, err
		}
		for p := range referred {
			shown[p] = true
		}
	}
	var names []string
	for _, a := range layout.Attachments {
		if name := strings.TrimSpace(a.Name); name != "" && !a.Signature && !shown[a.Part] {
			names = append(names, name)
		}
	}
	return names, nil
}

// bodyText returns the text that a mail program shows, at most MaxValue bytes of
// it: plain text, or HTML as plain text where there is no other.
func bodyText(m *message.Message) (text, error) {
	if m == nil {
		return text{}, nil
	}
	layout := m.Layout()
	first, err := partText(m, layout.Plain, MaxValue)
	if err == nil && first.string == "" {
		// Some programs send the HTML with an empty plain text.
		first, err = partText(m, layout.HTML, MaxValue)
	}
	if err != nil {
		return text{}, err
	}
	all := []string{first.string}
	rest := MaxValue - len(first.string)
	isCut := first.cut
	for _, p := range layout.More {
		if isCut || rest < 2 {
			isCut = true
			break
		}
		t, err := partText(m, p, rest-1)
		if err != nil {
			return text{}, err
		}
		all = append(all, t.string)
		rest -= len(t.string) + 1
		isCut = t.cut
	}
	all = slices.DeleteFunc(all, func(s string) bool { return s == "" })
	return text{strings.Join(all, "\n"), isCut}, nil
}

// partText returns at most limit bytes of the text of a part, which may be nil.
func partText(m *message.Message, p *message.Part, limit int) (text, error) {
	if p == nil {
		return text{}, nil
	}
	if p.Type == "text/html" {
		_, html, err := m.OpenText(p)
		if err != nil {
			return text{}, err
		}
		return plainText(html, limit)
	}
	t, err := m.Text(p, int64(limit))
	if err != nil {
		return text{}, err
	}
	s := lineEnds.Replace(valid(t.String))
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
	return text{strings.TrimSpace(cut(s, limit)), t.Cut || len(s) > limit}, nil
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func valid(s string) string { return strings.ToValidUTF8(s, string(utf8.RuneError)) }

// oneLine returns s without white space around it, and without what an encoded
// word can smuggle into a header: where there are line ends and other control
// characters, these and white space become single spaces.
func oneLine(s string) string {
	s = valid(s)
	if strings.ContainsFunc(s, unicode.IsControl) {
		s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " ")
	}
	return strings.TrimSpace(s)
}

// Values returns what the properties of the message are read from. Tree is the
// message as it was read, see [Values].
func (in Input) Values(tree *message.Message) Values {
	return Values{
		Header: in.Header, Message: tree, Received: Arrived(in.Received, in.Header, in.Fetched),
		Mailbox: in.Mailbox, Folder: in.Folder,
	}
}

// Arrived returns when a message was received: by its server, else by its
// newest Received field, else when it was sent, else when it was fetched.
func Arrived(server time.Time, h *message.Header, fetched time.Time) time.Time {
	for _, t := range []time.Time{server, h.Arrived(), h.Date()} {
		if !t.IsZero() {
			return t
		}
	}
	return fetched
}
