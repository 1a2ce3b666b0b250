package graphtest_test

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/internal/graphtest"
)

// A whole round, as a driver goes: folders, what is new, the message, what is
// done with it.
func TestRound(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	m.CreateFolder("Inbox/Orders")
	received := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	for n := range 25 {
		m.Deliver("Inbox/Orders", graphtest.Mail{Raw: sample(n), Received: received.Add(time.Duration(n) * time.Minute)})
	}
	c := signedIn(t, s)

	top, _ := c.all("mailFolders?%24top=3&includeHiddenFolders=false")
	if names := values(top, "displayName"); !slices.Contains(names, "Inbox") || slices.Contains(names, "Clutter") || len(names) < 8 {
		t.Errorf("folders %v", names)
	}
	children, _ := c.all("mailFolders/inbox/childFolders")
	if len(children) != 1 || children[0]["displayName"] != "Orders" || children[0]["totalItemCount"] != 25.0 {
		t.Fatalf("children %v", children)
	}
	folder := children[0]["id"].(string)

	c.prefer = append(c.prefer, "odata.maxpagesize=7")
	first, link := c.all("mailFolders/" + folder + "/messages/delta()?$select=receivedDateTime,isRead")
	if len(first) != 25 || link == "" {
		t.Fatalf("%d messages in the first round, link %q", len(first), link)
	}
	if first[0]["receivedDateTime"] != "2026-01-05T09:24:00Z" || first[0]["subject"] != nil || first[0]["isRead"] != false {
		t.Errorf("first entry %v", first[0])
	}
	id := first[0]["id"].(string)
	resp, err := c.send(http.MethodGet, "messages/"+id+"/$value", nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(resp.Body)
	if resp.Body.Close(); err != nil || !bytes.Equal(raw, graphtest.Render(sample(24))) || !bytes.Contains(raw, []byte("<24@example.com>")) {
		t.Errorf("%v, %s", err, raw)
	}

	c.do(200, http.MethodPatch, "messages/"+id, map[string]any{"@odata.type": "#microsoft.graph.message", "isRead": true})
	changes, link := c.all(link)
	if len(changes) != 1 || changes[0]["id"] != id || changes[0]["isRead"] != true || changes[0]["receivedDateTime"] != nil {
		t.Errorf("after reading: %v", changes)
	}
	filed := c.do(201, http.MethodPost, "mailFolders", map[string]any{"displayName": "Filed"})
	moved := c.do(201, http.MethodPost, "messages/"+id+"/move", map[string]any{"DestinationId": filed["id"]})
	if moved["id"] != id || moved["parentFolderId"] != filed["id"] {
		t.Errorf("moved %v", moved)
	}
	changes, link = c.all(link)
	if len(changes) != 1 || changes[0]["id"] != id || changes[0]["@removed"] == nil {
		t.Errorf("after moving: %v", changes)
	}
	if there := m.Messages("Filed"); len(there) != 1 || !there[0].Read || there[0].ImmutableID != id {
		t.Errorf("filed: %+v", there)
	}
	c.do(204, http.MethodDelete, "messages/"+id, nil)
	if there := m.Messages("Deleted Items"); len(there) != 1 {
		t.Errorf("deleted: %v", there)
	}
	c.do(204, http.MethodPost, "messages/"+id+"/permanentDelete", nil)
	if _, ok := m.Find(id); ok {
		t.Error("it is still there")
	}
	c.refused(404, "ErrorItemNotFound", http.MethodGet, "messages/"+id+"/$value", nil)
	if changes, _ := c.all(link); len(changes) != 0 {
		t.Errorf("nothing has changed, and the delta tells %v", changes)
	}
	if counts := s.Counts(); counts["delta"] != 4+1+1+1 || counts["value"] != 2 || counts["move"] != 1 {
		t.Errorf("%v", counts)
	}
	if most := s.MaxConcurrency(); most != 1 {
		t.Errorf("%d requests at a time", most)
	}
}

// Without the preference an identifier changes with every move.
func TestDefaultIdentifiers(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	item := m.Deliver("Inbox", graphtest.Mail{Raw: sample(1)})
	c := signedIn(t, s)
	c.prefer = nil
	list, _ := c.all("mailFolders/inbox/messages")
	if got := values(list, "id"); !slices.Equal(got, []string{item.ID}) || item.ID == item.ImmutableID {
		t.Fatalf("listed %v, want %s", got, item.ID)
	}
	moved := c.do(201, http.MethodPost, "messages/"+item.ID+"/move", map[string]any{"destinationId": "archive"})
	if moved["id"] == item.ID || moved["id"] == item.ImmutableID {
		t.Errorf("after the move the identifier is %v", moved["id"])
	}
	c.refused(404, "ErrorItemNotFound", http.MethodGet, "messages/"+item.ID, nil)
	c.prefer = []string{`IdType="ImmutableId", odata.maxpagesize=5`}
	if got := c.get("messages/" + moved["id"].(string) + "?$select=id"); got["id"] != item.ImmutableID || len(got) > 3 {
		t.Errorf("asked for with the preference: %v", got)
	}
	if !strings.Contains(s.Requests()[len(s.Requests())-1].URL, "$select=id") {
		t.Error("the log has another request last")
	}
}
