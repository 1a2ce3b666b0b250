package outlook_test

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postroom/ingest/message"
	"postroom/ingest/outlook"
	"postroom/internal/corpus"
)

// deliveryReport is a delivery report with those fields.
func deliveryReport(fields string) []byte {
	return crlf([]byte("Date: Thu, 1 Jan 2026 10:00:00 +0000\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n" +
		"--b\n\nIt failed.\n--b\nContent-Type: message/delivery-status\n\n" + fields + "--b--\n"))
}

// TestStatusCodes has each row of the table in MS-OXCMAIL 2.2.3.7.1.3.
func TestStatusCodes(t *testing.T) {
	rows := strings.Fields(`
		1.0=510/0/0 1.1=511/35/1 1.2=512/48/0 1.3=513/32/0 1.4=514/1/0 1.5=515/0/0 1.6=516/40/0 1.9=519/0/0 1.351=510/0/0
		2.0=520/38/0 2.1=521/38/0 2.2=522/13/0 2.3=523/13/0 2.4=524/30/0 2.5=525/38/0
		3.0=530/38/0 3.1=531/38/0 3.2=532/-1/0 3.3=533/18/0 3.4=534/13/0 3.5=535/18/0 3.6=536/38/0
		4.0=540/-1/0 4.1=541/2/0 4.2=542/2/0 4.3=543/-1/6 4.4=544/-1/0 4.5=545/2/0 4.6=546/3/0 4.7=547/5/0 4.8=548/3/0 4.9=549/2/0
		5.0=550/17/0 5.3=553/16/0 5.4=554/11/0 5.5=555/17/0
		6.0=560/15/0 6.1=561/15/0 6.2=562/9/0 6.3=563/8/0 6.4=564/25/0 6.5=565/-1/2 6.6=566/15/0
		7.0=570/46/0 7.1=571/29/0 7.2=572/28/0 7.3=573/26/0 7.4=574/46/0 7.26=570/46/0
		0.0=500/-1/0 0.5=505/-1/0 8.1=581/-1/0 12.3=503/-1/0`)
	var fields strings.Builder
	for _, row := range rows {
		status, _, _ := strings.Cut(row, "=")
		fmt.Fprintf(&fields, "Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.%s\n\n", status)
	}
	b, report := convert(t, deliveryReport(fields.String()), outlook.Options{})
	if len(report.Losses) > 0 {
		t.Error(report.Losses)
	}
	c := readMsg(t, b)
	for i, row := range rows {
		in := fmt.Sprintf("recip%d/", i)
		status, want, _ := strings.Cut(row, "=")
		if got := c.values[in+"0C200003"] + "/" + c.values[in+"0C050003"] + "/" + c.values[in+"0C040003"]; got != want {
			t.Errorf("5.%s makes %s, not %s", status, got, want)
		}
	}
}

// TestDispositions has each row of the table in MS-OXCMAIL 2.2.3.7.2.
func TestDispositions(t *testing.T) {
	for word, class := range map[string]string{
		"displayed": "REPORT.IPM.Note.IPNRN", "dispatched": "REPORT.IPM.Note.IPNRN", "processed": "REPORT.IPM.Note.IPNRN",
		"deleted": "REPORT.IPM.Note.IPNNRN", "denied": "REPORT.IPM.Note.IPNNRN", "failed": "REPORT.IPM.Note.IPNNRN",
	} {
		for _, form := range []string{"%s", "manual-action/MDN-sent-manually; %s", "automatic-action/MDN-sent-automatically;%s/error,warning", "manual-action/MDN-sent-manually; %s (by hand)"} {
			mail := "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\n\nRead.\n" +
				"--b\nContent-Type: message/disposition-notification\n\nFinal-Recipient: rfc822; bob@example.org\nDisposition: " + fmt.Sprintf(form, word) + "\n--b--\n"
			if _, report := convert(t, crlf([]byte(mail)), outlook.Options{}); report.Class != class {
				t.Errorf(form+" makes %s, not %s", word, report.Class, class)
			}
		}
	}
}

// TestReportOfMany: MS-OXMSG 2.2.1 allows 2048 recipients; a report of more than
// 1 MiB is kept as it stands.
func TestReportOfMany(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "Final-Recipient: rfc822; p%d@example.org\nAction: failed\nStatus: 5.1.1\n\n", i)
		}
		return b.String()
	}
	b, report := convert(t, deliveryReport(many(2100)), outlook.Options{})
	c := readMsg(t, b)
	if _, ok := c.values["recip2048/3003001F"]; ok || c.values["recip2047/3003001F"] != "p2047@example.org" {
		t.Error("not 2048 recipients")
	}
	if len(report.Losses) != 1 || !strings.Contains(report.Losses[0].What, "52 recipients more") {
		t.Error(report.Losses)
	}
	if got := c.raw["attach0/37010102"]; !strings.Contains(string(got), "p2099@example.org") {
		t.Errorf("the last recipient is not in the attachment of %d bytes", len(got))
	}
	another(t)("many", b)

	b, report = convert(t, deliveryReport(many(20_000)), outlook.Options{})
	c = readMsg(t, b)
	if report.Class != "IPM.Note" || len(report.Losses) != 1 || !strings.Contains(report.Losses[0].What, "1048576 bytes") {
		t.Error(report)
	}
	if got := c.raw["attach0/37010102"]; !strings.Contains(string(got), "p19999@example.org") {
		t.Errorf("the last recipient is not in the attachment of %d bytes", len(got))
	}
}

// TestReportsOfTheCorpus: a report of a real server becomes one, with its
// recipient, if it has fields that say what became of whom, and only then.
func TestReportsOfTheCorpus(t *testing.T) {
	whom := regexp.MustCompile(`(?im)^(?:final|original)-recipient[ \t]*:(?:[^;\r\n]*;)?[ \t]*<?([^\r\n<>]+)`)
	what := regexp.MustCompile(`(?im)^action[ \t]*:\s*(failed|delayed|relayed|expanded|delivered)\b`)
	n := 0
	for _, a := range corpus.Need(t) {
		for _, mail := range a.Mail {
			m := read(t, mail.Raw)
			var recipients []string
			packed := false // TNEF may say that the message is a report
			for _, p := range m.Parts {
				packed = packed || p.Type == "application/ms-tnef"
				text, err := io.ReadAll(m.Open(p))
				if err != nil {
					t.Fatal(err)
				}
				text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
				if m.Type == "multipart/report" && p.Type == "message/delivery-status" && what.Match(text) {
					for _, r := range whom.FindAllSubmatch(text, -1) {
						recipients = append(recipients, message.Decode(string(r[1])))
					}
				}
			}
			b, report := convert(t, mail.Raw, outlook.Options{})
			if is := strings.HasPrefix(report.Class, "REPORT."); is != (len(recipients) > 0) && !packed {
				t.Errorf("%s is %s, with the recipients %q", mail.Name, report.Class, recipients)
			} else if is && len(recipients) > 0 {
				n++
				if c := readMsg(t, b); !slices.Contains(recipients, c.values["recip0/3003001F"]) {
					t.Errorf("%s has the recipient %s, not one of %q", mail.Name, c.values["recip0/3001001F"], recipients)
				}
			}
		}
	}
	if n == 0 {
		t.Error("nothing was read")
	}
	t.Logf("%d reports", n)
}
