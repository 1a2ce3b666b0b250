package outlook

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// isReport reports whether the class is that of a report (MS-OXCMAIL 2.1.3.1.1.1).
func isReport(class string) bool { return strings.HasPrefix(strings.ToUpper(class), "REPORT.") }

// reportKind returns the kind of report (RFC 6522 3) that a part of that type is of,
// "" if it is of none.
func reportKind(mime string) string {
	switch kind, _ := strings.CutPrefix(mime, "message/"); kind {
	case "delivery-status", "disposition-notification", "feedback-report":
		return kind
	case "global-delivery-status", "global-disposition-notification":
		return strings.TrimPrefix(kind, "global-")
	}
	return ""
}

// report makes the part of a report that is for programs (MS-OXCMAIL 2.1.3.6), nil
// if the class is of none, or the properties do not tell whom it is about.
func (m *mailWriter) report(it *item, place string) (*attached, error) {
	class := strings.ToUpper(it.line(pidTagMessageClass))
	if !isReport(class) {
		return nil, nil
	}
	var text, kind string
	var err error
	switch {
	case strings.HasSuffix(class, ".IPNRN"), strings.HasSuffix(class, ".IPNNRN"):
		kind, text = "message/disposition-notification", disposition(it, class)
	default:
		kind = "message/delivery-status"
		text, err = m.deliveryStatus(it, class, place)
	}
	if text == "" || err != nil {
		return nil, err
	}
	return &attached{mime: kind, report: true, entity: &mailPart{
		head: foldField("Content-Type", kind) + "Content-Transfer-Encoding: 7bit\r\n",
		body: func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		},
	}}, nil
}

// deliveryStatus returns the content of a message/delivery-status (RFC 3464 2).
func (m *mailWriter) deliveryStatus(it *item, class, place string) (string, error) {
	action := ""
	for _, a := range []struct{ suffix, action string }{
		{".EXPANDED.DR", "expanded"}, {".RELAYED.DR", "relayed"}, {".DELAYED.DR", "delayed"}, {".DR", "delivered"}, {".NDR", "failed"},
	} {
		if action == "" && strings.HasSuffix(class, a.suffix) {
			action = a.action
		}
	}
	if action == "" {
		return "", nil
	}
	var groups []string
	for _, e := range it.recipients[:min(len(it.recipients), maxRecipients)] {
		r, err := it.f.newItem(e, headOfOther, it.page, m.damaged(place))
		if err != nil {
			return "", fmt.Errorf("recipient %s: %w", e.Name, err)
		}
		a := r.person(recipientGroup)
		if a.email == "" {
			continue
		}
		group := reportField("Final-Recipient", "rfc822;"+a.email) + reportField("Action", action) +
			reportField("Status", statusOf(r, action)) + reportField("Remote-MTA", withType("dns", r.line(pidTagRemoteMessageTransferAgent))) +
			reportField("X-Supplementary-Info", r.line(pidTagSupplementaryInfo)) + reportField("X-Display-Name", a.name)
		groups = append(groups, group)
	}
	if len(groups) == 0 {
		return "", nil
	}
	// RFC 3464 2.2.2: the field has to be there.
	agent := withType("dns", either(it.line(pidTagReportingMessageTransferAgent), "unknown.invalid"))
	return reportField("Reporting-MTA", agent) + "\r\n" + strings.Join(groups, "\r\n"), nil
}

// disposition returns the content of a message/disposition-notification (RFC 8098
// 3).
func disposition(it *item, class string) string {
	who := it.person(sender)
	if who.email == "" {
		who = it.person(sentRepresenting)
	}
	if who.email == "" {
		return ""
	}
	action := "displayed"
	if strings.HasSuffix(class, ".IPNNRN") {
		action = "deleted"
	}
	key := ""
	if b := it.bytes(pidTagParentKey, 1<<10); len(b) > 0 {
		key = chunks(base64.StdEncoding.EncodeToString(b), 60)
	}
	return reportField("Final-Recipient", "rfc822;"+who.email) +
		reportField("Original-Message-ID", it.line(pidTagOriginalMessageID)) +
		reportField("Disposition", "automatic-action/MDN-sent-automatically; "+action) +
		reportField("X-MSExch-Correlation-Key", key) + reportField("X-Display-Name", who.name)
}

// reportField returns a field of a report, "" if it is empty.
func reportField(name, value string) string {
	if value == "" {
		return ""
	}
	return foldField(name, encodeText(value))
}

func withType(kind, value string) string {
	if value == "" || strings.Contains(value, ";") {
		return value
	}
	return kind + "; " + value
}

// statusOf returns the status code of a recipient (RFC 3463): that which the report
// had, else by diagnosis and reason (MS-OXCMAIL 2.1.3.6.1.2).
func statusOf(r *item, action string) string {
	code := 0
	switch v, ok := r.int32(pidTagNonDeliveryReportStatusCode); {
	case ok && v >= 200 && v <= 599:
		code = int(v)
	case action == "delayed":
		code = 400
	case action != "failed":
		code = 200
	default:
		diagnosis, ok := r.int32(pidTagNonDeliveryReportDiagCode)
		reason, _ := r.int32(pidTagNonDeliveryReportReasonCode)
		if !ok || diagnosis == -1 {
			code = statusByReason[reason]
			if code == 0 {
				code = 540
			}
		} else if code = statusByDiagnosis[diagnosis]; code == 0 {
			code = 500
		}
	}
	return fmt.Sprintf("%d.%d.%d", code/100, code/10%10, code%10)
}

var statusByReason = map[int32]int{1: 510, 2: 565, 3: 565, 4: 520, 5: 530, 6: 443}

var statusByDiagnosis = map[int32]int{
	0: 510, 1: 514, 2: 445, 3: 446, 4: 510, 5: 447, 6: 530, 7: 560, 8: 563, 9: 562, 10: 560, 11: 554, 12: 560, 13: 534, 14: 560,
	15: 561, 16: 553, 17: 555, 18: 533, 19: 562, 20: 560, 21: 560, 22: 464, 23: 464, 24: 464, 25: 464, 26: 573, 27: 446, 28: 572,
	29: 571, 30: 524, 31: 561, 32: 513, 33: 510, 34: 513, 35: 511, 36: 510, 37: 530, 38: 530, 39: 510, 40: 516, 41: 510, 42: 510,
	43: 516, 46: 570, 48: 512,
}
