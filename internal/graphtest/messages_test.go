package graphtest_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/internal/graphtest"
)

// parts is a message with all kinds of attachments.
const parts = "From: =?utf-8?Q?J=C3=B6rg?= <a@example.com>\r\nTo: b@example.com, c@example.com\r\nSubject: =?iso-8859-1?Q?Gr=FC=DFe?=\r\n" +
	"Importance: high\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n" +
	"--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n" +
	"--i\r\nContent-Type: text/plain\r\n\r\nplain\r\n" +
	"--i\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n<p>Gr\xfc\xdfe <img src=\"cid:logo\"></p>\r\n--i--\r\n" +
	"--o\r\nContent-Type: image/png; name=logo.png\r\nContent-ID: <logo>\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n" +
	"--o\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''%C3%BC.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n" +
	"--o\r\nContent-Type: message/rfc822\r\n\r\nFrom: d@example.com\r\nSubject: inner\r\n\r\ninner text\r\n" +
	"--o--\r\n"

func TestAttachments(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	item := m.Deliver("Inbox", graphtest.Mail{Raw: []byte(parts), References: []graphtest.Reference{{Name: "plan.xlsx", URL: "https://example.com/plan.xlsx"}}})
	c := signedIn(t, s)
	message := "messages/" + item.ImmutableID
	list, _ := c.all(message + "/attachments")
	var got []string
	for _, a := range list {
		got = append(got, strings.TrimPrefix(a["@odata.type"].(string), "#microsoft.graph.")+" "+a["name"].(string)+" "+fmt.Sprint(a["isInline"]))
	}
	want := []string{"fileAttachment logo.png true", "fileAttachment ü.pdf false", "itemAttachment inner false", "referenceAttachment plan.xlsx false"}
	if !slices.Equal(got, want) {
		t.Fatalf("%v", got)
	}
	pdf := message + "/attachments/" + list[1]["id"].(string)
	if one := c.get(pdf); one["contentBytes"] != base64.StdEncoding.EncodeToString([]byte("%PDF")) || one["contentType"] != "application/pdf" {
		t.Errorf("%v", one)
	}
	if one := c.get(pdf + "?$select=name"); one["contentBytes"] != nil || one["name"] != "ü.pdf" {
		t.Errorf("%v", one)
	}
	raw := c.outcome("GET", pdf+"/$value", nil)
	if raw.body != "%PDF" || raw.header.Get("Content-Type") != "application/pdf" {
		t.Errorf("%+v", raw)
	}
	nested := message + "/attachments/" + list[2]["id"].(string)
	if got := c.outcome("GET", nested+"/$value", nil); got.body != string(graphtest.Render([]byte("From: d@example.com\r\nSubject: inner\r\n\r\ninner text"))) {
		t.Errorf("%+v", got)
	}
	inner, _ := c.get(nested + "?$expand=microsoft.graph.itemattachment/item")["item"].(map[string]any)
	if inner["subject"] != "inner" || inner["@odata.type"] != "#microsoft.graph.message" {
		t.Errorf("%v", inner)
	}
	c.refused(405, "ErrorInvalidRequest", http.MethodGet, message+"/attachments/"+list[3]["id"].(string)+"/$value", nil)
	c.refused(400, "ErrorInvalidIdMalformed", http.MethodGet, message+"/attachments/x", nil)
	if all := c.get(message + "?$expand=attachments")["attachments"].([]any); len(all) != 4 {
		t.Errorf("%v", all)
	}
}

func TestMessageProperties(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	item := m.Deliver("Inbox", graphtest.Mail{Raw: []byte(parts), Received: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)})
	m.Deliver("Inbox", graphtest.Mail{Raw: sample(1), Type: "eventMessageRequest", Received: time.Date(2026, 1, 4, 9, 0, 0, 0, time.UTC)})
	m.Deliver("Inbox", graphtest.Mail{Raw: sample(2), Type: "post", Received: time.Date(2026, 1, 3, 9, 0, 0, 0, time.UTC)})
	draft := m.Deliver("Drafts", graphtest.Mail{Raw: sample(3), Draft: true})
	c := signedIn(t, s)
	got := c.get("messages/" + item.ImmutableID)
	from := got["from"].(map[string]any)["emailAddress"].(map[string]any)
	body := got["body"].(map[string]any)
	if got["subject"] != "Grüße" || from["name"] != "Jörg" || got["importance"] != "high" || got["hasAttachments"] != true ||
		len(got["toRecipients"].([]any)) != 2 || body["contentType"] != "html" || !strings.Contains(body["content"].(string), "<p>Grüße") || !strings.Contains(body["content"].(string), "<meta ") ||
		got["internetMessageHeaders"] != nil || got["isDraft"] != false || got["internetMessageId"] == "" {
		t.Errorf("%v", got)
	}
	if got := c.get("messages/" + draft.ID + "?$select=isDraft,internetMessageHeaders"); got["isDraft"] != true || len(got["internetMessageHeaders"].([]any)) != 5 {
		t.Errorf("%v", got)
	}
	c.prefer = append(c.prefer, `outlook.body-content-type="text"`)
	if body := c.get("messages/" + item.ImmutableID + "?$select=body")["body"].(map[string]any); body["contentType"] != "text" || body["content"] != "Grüße [cid:logo]\r\n" {
		t.Errorf("%v", body)
	}
	if got := c.outcome("GET", "messages/"+item.ID, nil); got.header.Get("Preference-Applied") == "" {
		t.Errorf("%v", got.header)
	}
	page := m.Deliver("Archive", graphtest.Mail{Raw: []byte("Content-Type: text/html; charset=windows-1252\r\n\r\n" +
		"<html><head><META http-equiv=content-type content='text/html; charset=windows-1252'></head><body>\x80</body></html>")})
	c.prefer = c.prefer[:1]
	const rewritten = "<html><head>\r\n<meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\"></head><body>€</body></html>"
	if body := c.get("messages/" + page.ID)["body"].(map[string]any); body["content"] != rewritten {
		t.Errorf("%v", body)
	}
	if err := m.Remove(page.ID); err != nil {
		t.Fatal(err)
	}
	size := c.get("messages/" + item.ID + "?$select=id&$expand=" + url.QueryEscape("singleValueExtendedProperties($filter=id eq 'Integer 0x0E08')"))
	if properties := size["singleValueExtendedProperties"].([]any); len(properties) != 1 || properties[0].(map[string]any)["id"] != "Integer 0xe08" {
		t.Errorf("%v", size)
	}

	list, _ := c.all("mailFolders/inbox/messages?$top=1&$select=subject")
	if types := values(list, "@odata.type"); !slices.Equal(types, []string{"<nil>", "#microsoft.graph.eventMessageRequest", "#microsoft.graph.post"}) {
		t.Errorf("%v", types)
	}
	for filter, want := range map[string]int{
		"isRead eq false": 4, "isRead ne false": 0, "isDraft eq true or importance eq 'high'": 2, "not (subject eq 'letter 1')": 3,
		"startswith(subject,'letter')": 3, "contains(subject,'Gr')": 1, "contains(bodyPreview,'letter 2')": 1, "receivedDateTime lt 2026-01-05T00:00:00Z": 2,
		"from/emailAddress/address eq 'sender@example.com' and receivedDateTime gt 2026-01-03T12:00:00Z": 2,
		"internetMessageId eq '<2@example.com>'":                                                         1,
	} {
		if list, _ := c.all("messages?$filter=" + url.QueryEscape(filter)); len(list) != want {
			t.Errorf("%s: %v", filter, values(list, "subject"))
		}
	}
	if got := c.outcome("GET", "mailFolders/inbox/messages/$count", nil); got.body != "3" {
		t.Errorf("%+v", got)
	}
	sorted, _ := c.all("messages?$orderby=subject+desc&$top=2")
	if got := values(sorted, "subject"); !slices.IsSortedFunc(got, func(a, b string) int { return -strings.Compare(strings.ToLower(a), strings.ToLower(b)) }) || len(got) != 4 {
		t.Errorf("%v", got)
	}
	c.do(200, "PATCH", "messages/"+item.ID, map[string]any{"categories": []string{"Filed"}, "flag": map[string]any{"flagStatus": "flagged"}})
	if got := c.get("messages/" + item.ID); got["categories"].([]any)[0] != "Filed" || got["flag"].(map[string]any)["flagStatus"] != "flagged" {
		t.Errorf("%v", got)
	}
	copied := c.do(201, "POST", "messages/"+item.ID+"/copy", map[string]any{"DestinationId": "archive"})
	if copied["id"] == item.ImmutableID || len(m.Messages("Archive")) != 1 || len(m.Messages("Inbox")) != 3 {
		t.Errorf("%v", copied)
	}
}

// Deleting goes in steps: Deleted Items, what can be recovered, nowhere.
func TestDelete(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	item := m.Deliver("Inbox", graphtest.Mail{Raw: sample(1)})
	c := signedIn(t, s)
	for _, folder := range []string{"Deleted Items", "Deletions"} {
		c.do(204, "DELETE", "messages/"+item.ImmutableID, nil)
		if now, _ := m.Find(item.ImmutableID); now.Folder != folder {
			t.Errorf("it is in %q, want %q", now.Folder, folder)
		}
	}
	c.do(204, "DELETE", "messages/"+item.ImmutableID, nil)
	c.refused(404, "ErrorItemNotFound", "DELETE", "messages/"+item.ImmutableID, nil)
	if all := m.All(); len(all) != 0 {
		t.Errorf("%v", all)
	}
}

// A client that packs its bodies is understood.
func TestPackedBody(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	item := m.Deliver("Inbox", graphtest.Mail{Raw: sample(1)})
	c := signedIn(t, s)
	r, err := http.NewRequest(http.MethodPatch, s.GraphURL()+"/v1.0/users/"+address+"/messages/"+item.ID, packed(t, `{"isRead":true}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	resp, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if body := c.decode(resp); resp.StatusCode != 200 || body["isRead"] != true {
		t.Errorf("%d %v", resp.StatusCode, body)
	}
	// What says that it is packed and is not, as a client that repeats itself
	// wrongly sends, is refused.
	r.Body = io.NopCloser(strings.NewReader(`{"isRead":false}`))
	r.ContentLength = -1
	if resp, err = c.http.Do(r); err != nil {
		t.Fatal(err)
	}
	c.decode(resp)
	if resp.StatusCode != 400 || len(s.Illegal()) != 1 {
		t.Errorf("%d %v", resp.StatusCode, s.Illegal())
	}
	s.Forget()
}
