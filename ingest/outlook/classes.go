package outlook

import (
	"regexp"
	"strconv"
	"strings"

	"postroom/ingest/message"
)

// fax and voice are classes by Content-Class (MS-OXCMAIL 2.2.3.2.15).
var (
	fax   = map[string]string{"fax": "IPM.Note.Microsoft.Fax", "fax-ca": "IPM.Note.Microsoft.Fax.CA"}
	voice = map[string]string{
		"missedcall": "IPM.Note.Microsoft.Missed.Voice", "voice-uc": "IPM.Note.Microsoft.Conversation.Voice",
		"voice-ca": "IPM.Note.Microsoft.Voicemail.UM.CA", "voice": "IPM.Note.Microsoft.Voicemail.UM",
	}
	infoPath = regexp.MustCompile(`(?i)^InfoPath\.(\{?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\}?)(?:\.(.+))?$`)
)

// classOf is the class that a message has by its Content-Class.
func classOf(root *message.Part) string {
	content := oneLine(root.Header.Raw("Content-Class"))
	lower := strings.ToLower(content)
	if custom, ok := strings.CutPrefix(content, "urn:content-class:custom."); ok && custom != "" {
		return "IPM.Note.Custom." + custom
	}
	if form := infoPath.FindStringSubmatch(content); form != nil {
		return "IPM.InfoPathForm." + form[1]
	}
	p := root.Parts
	if class := fax[lower]; class != "" && root.Type == "multipart/mixed" && len(p) == 2 && p[0].Type == "text/html" && p[1].Type == "image/tiff" {
		return class
	}
	if class := voice[lower]; class != "" {
		for _, a := range root.Layout().Attachments {
			switch a.Type {
			case "audio/gsm", "audio/mp3", "audio/wav", "audio/wma":
			default:
				return "IPM.Note"
			}
		}
		return class
	}
	return "IPM.Note"
}

// voiceFields have properties that are texts, or numbers (MS-OXCMAIL 2.2.3.2.23).
var voiceFields = []struct {
	name string
	t    tag
}{
	{"X-CallingTelephoneNumber", 0x6802001F}, {"X-VoiceMessageSenderName", 0x6803001F}, {"X-AttachmentOrder", 0x6805001F},
	{"X-CallID", 0x6806001F}, {"X-VoiceMessageDuration", 0x68010003}, {"X-FaxNumberOfPages", 0x68040003},
}

// senderStatus has the values of PidTagSenderIdStatus (MS-OXCMAIL 2.2.3.2.20).
var senderStatus = map[string]uint32{
	"neutral": 1, "pass": 2, "fail": 3, "softfail": 4, "none": 5, "temperror": 0x80000006, "permerror": 0x80000007,
}

// specialFields sets what fields of certain programs say (MS-OXCMAIL 2.2.3.2.15, and
// 2.2.3.2.19 to 2.2.3.2.23).
func (c *converter) specialFields(o *object, h *message.Header) {
	for _, f := range voiceFields {
		v := oneLine(h.Text(f.name))
		if f.t&0xFFFF == typeString {
			o.text(f.t, v)
		} else if n, err := strconv.ParseInt(v, 10, 32); err == nil {
			o.int32(f.t, int32(n))
		}
	}
	o.text(pidTagPurportedSenderDomain, oneLine(h.Text("X-MS-Exchange-Organization-PRD")))
	if v, ok := senderStatus[strings.ToLower(h.Raw("X-MS-Exchange-Organization-SenderIdResult"))]; ok {
		o.int32(pidTagSenderIDStatus, int32(v))
	}
	if n, err := strconv.Atoi(strings.TrimSpace(h.Raw("X-MS-Exchange-Organization-SCL"))); err == nil && n >= -1 && n <= 10 {
		o.int32(pidTagSpamConfidenceLevel, int32(n))
	}
	text := func(name propertyName, v string) {
		if v == "" {
			return
		}
		if t, ok := o.named(name, typeString); ok {
			o.text(t, v)
		}
	}
	if form := infoPath.FindStringSubmatch(oneLine(h.Raw("Content-Class"))); form != nil {
		text(pidLidInfoPathFormName, form[2])
	}
	// PidLidClassified, …Keep, …Classification, …Description, …Guid (2.2.3.2.22).
	if !strings.EqualFold(h.Raw("X-Microsoft-Classified"), "true") {
		return
	}
	named := func(lid uint32) propertyName { return propertyName{set: psetidCommon, lid: lid} }
	o.namedBool(named(0x85B5), true)
	switch strings.ToLower(h.Raw("X-Microsoft-ClassKeep")) {
	case "true":
		o.namedBool(named(0x85BA), true)
	case "false":
		o.namedBool(named(0x85BA), false)
	}
	text(named(0x85B6), oneLine(h.Text("X-Microsoft-Classification")))
	text(named(0x85B7), oneLine(h.Text("X-Microsoft-ClassDesc")))
	text(named(0x85B8), oneLine(h.Text("X-Microsoft-ClassID")))
}
