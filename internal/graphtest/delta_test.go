package graphtest_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/internal/graphtest"
)

// What happens during a round is told in it, or in the next.
func TestChangesDuringRound(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	var ids []string
	for n := range 10 {
		ids = append(ids, m.Deliver("Inbox", graphtest.Mail{Raw: sample(n)}).ImmutableID)
	}
	c := signedIn(t, s)
	c.prefer = append(c.prefer, "odata.maxpagesize=4")
	page := c.get("mailFolders/inbox/messages/delta")
	// One that was told is moved away, one that was not is removed, one arrives,
	// one is read.
	if _, err := m.Move(ids[9], "Archive"); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(ids[0]); err != nil {
		t.Fatal(err)
	}
	late := m.Deliver("Inbox", graphtest.Mail{Raw: sample(10)}).ImmutableID
	if err := m.MarkRead(ids[1], true); err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	var link string
	for {
		for _, e := range page["value"].([]any) {
			entry := e.(map[string]any)
			id := entry["id"].(string)
			there[id] = entry["@removed"] == nil
		}
		next, more := page["@odata.nextLink"].(string)
		if link, _ = page["@odata.deltaLink"].(string); more == (link != "") {
			t.Fatalf("a page has both links or none: %v", page)
		}
		if !more {
			break
		}
		page = c.get(next)
	}
	var got []string
	for id, is := range there {
		if is {
			got = append(got, id)
		}
	}
	want := append(slices.Clone(ids[1:9]), late)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the round tells of\n%v\nwant\n%v", got, want)
	}
	// One that comes back is there again.
	if _, err := m.Move(ids[9], "Inbox"); err != nil {
		t.Fatal(err)
	}
	changes, link := c.all(link)
	if got := values(changes, "id"); !slices.Equal(got, ids[9:]) || changes[0]["@removed"] != nil || changes[0]["subject"] == nil {
		t.Errorf("after it came back: %v", changes)
	}
	if changes, _ := c.all(link); len(changes) != 0 {
		t.Errorf("nothing changed: %v", changes)
	}
	// One that was away in between is there; by the identifier that changes, the
	// old one is gone.
	old, _ := m.Find(ids[9])
	for _, folder := range []string{"Archive", "Inbox"} {
		if _, err := m.Move(ids[9], folder); err != nil {
			t.Fatal(err)
		}
	}
	if changes, _ := c.all(link); len(changes) != 1 || changes[0]["@removed"] != nil {
		t.Errorf("after it was away: %v", changes)
	}
	now, _ := m.Find(ids[9])
	c.prefer = nil
	if changes, _ := c.all(link); !slices.Equal(values(changes, "id"), []string{old.ID, now.ID}) || changes[0]["@removed"] == nil {
		t.Errorf("after it was away, by the other identifier: %v", changes)
	}
}

func TestDeltaOptions(t *testing.T) {
	clock := newClock()
	s := graphtest.Start(t, graphtest.Options{Clock: clock.now, DeltaLife: time.Hour})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for n := range 5 {
		m.Deliver("Inbox", graphtest.Mail{Raw: sample(n), Received: start.AddDate(0, 0, n)})
	}
	c := signedIn(t, s)
	const delta = "mailFolders/inbox/messages/delta()"
	since, _ := c.all(delta + "?$filter=" + url.QueryEscape("receivedDateTime ge 2026-01-04T00:00:00Z") + "&$orderby=receivedDateTime+desc")
	if got := values(since, "subject"); !slices.Equal(got, []string{"letter 4", "letter 3"}) {
		t.Errorf("since the 4th: %v", got)
	}
	if paged := c.get(delta + "?$top=2"); len(paged["value"].([]any)) != 2 {
		t.Errorf("$top: %v", paged)
	}
	_, created := c.all(delta + "?changeType=created&$select=subject")
	_, updated := c.all(delta + "?changeType=updated")
	_, deleted := c.all(delta + "?changeType=deleted")
	first := m.Messages("Inbox")
	m.Deliver("Inbox", graphtest.Mail{Raw: sample(9)})
	if err := m.MarkRead(first[1].ID, true); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(first[2].ID); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.all(created); len(got) != 1 || got[0]["subject"] != "letter 9" || got[0]["isRead"] != nil {
		t.Errorf("created: %v", got)
	}
	if got, _ := c.all(updated); len(got) != 1 || got[0]["id"] != first[1].ImmutableID || got[0]["isRead"] != true {
		t.Errorf("updated: %v", got)
	}
	if got, _ := c.all(deleted); len(got) != 1 || got[0]["id"] != first[2].ImmutableID {
		t.Errorf("deleted: %v", got)
	}
	c.refused(400, "BadRequest", "GET", "mailFolders/drafts/messages/delta?$select=id&$skiptoken=x", nil)
	other := strings.Replace(created, "mailFolders('"+c.get("mailFolders/inbox")["id"].(string)+"')", "mailFolders/drafts", 1)
	c.refused(400, "SyncStateInvalid", "GET", other, nil)
	if err := m.LoseDeltas("Inbox"); err != nil {
		t.Fatal(err)
	}
	c.refused(410, "SyncStateNotFound", "GET", created, nil)
	_, link := c.all(delta)
	clock.pass(59 * time.Minute)
	_, link = c.all(link)
	clock.pass(61 * time.Minute)
	c.token = signedIn(t, s).token
	c.refused(410, "SyncStateNotFound", "GET", link, nil)
	before := m.Messages("Inbox")
	if err := m.Renumber("Inbox"); err != nil {
		t.Fatal(err)
	}
	after := m.Messages("Inbox")
	if len(after) != len(before) || after[0].ImmutableID == before[0].ImmutableID || after[0].ID == before[0].ID {
		t.Errorf("renumbered: %v", after)
	}
	s.Forget() // the refused combination of options
}
