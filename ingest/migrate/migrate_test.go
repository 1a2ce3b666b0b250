package migrate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"postroom/ingest/ledger"
	"postroom/ingest/message"
	"postroom/ingest/migrate"
	"postroom/sources"
)

func infos(folders ...string) []sources.FolderInfo {
	var all []sources.FolderInfo
	for _, f := range folders {
		path, use, _ := strings.Cut(f, "=")
		all = append(all, sources.FolderInfo{Folder: sources.Folder{ID: path, Path: path}, Use: use, Selectable: true})
	}
	return all
}

func TestFolders(t *testing.T) {
	german := infos("Inbox=inbox", "Inbox/Rechnungen", "Gesendete Elemente=sent", "Gesendete Elemente/2025", "Gelöschte Elemente=trash", "Archiv=archive",
		"Projekte", "Projekte/A", "Inbox/Kunden", "Kunden 100%25", "entwürfe=drafts")
	for _, row := range []struct {
		old       []string
		text, new string
		how       migrate.How
		near      string
	}{
		{nil, "Inbox", "Inbox", migrate.BySame, ""},
		{nil, "INBOX/Rechnungen", "INBOX/Rechnungen", migrate.BySame, ""},
		{nil, "Sent", "Gesendete Elemente", migrate.ByUse, ""},
		{nil, "Sent Items/2025", "Gesendete Elemente/2025", migrate.ByUse, ""},
		{nil, "Inbox/Sent", "Gesendete Elemente", migrate.ByUse, ""},
		{nil, "Inbox/Trash", "Gelöschte Elemente", migrate.ByUse, ""},
		{[]string{"Envoyés=sent"}, "Envoyés", "Gesendete Elemente", migrate.ByUse, ""},
		{nil, "Envoyés", "Envoyés", migrate.Missing, ""},
		{nil, "Inbox/Projekte/A", "Projekte/A", migrate.ByPrefix, ""},
		{nil, "Kunden", "Inbox/Kunden", migrate.ByPrefix, ""},
		{nil, "Kunden 100%25", "Kunden 100%25", migrate.BySame, ""},
		{nil, "projekte/a", "Projekte/A", migrate.ByCase, ""},
		{nil, "Projekte/**", "Projekte/**", migrate.BySame, ""},
		{nil, "Inbox/Projekte/**", "Projekte/**", migrate.ByPrefix, ""},
		{nil, "Kunden/*/x*", "Inbox/Kunden/*/x*", migrate.ByPrefix, ""},
		{nil, "Sent/**", "Gesendete Elemente/**", migrate.ByUse, ""},
		{nil, "**", "**", migrate.BySame, ""},
		{nil, "Inbox/*", "Inbox/*", migrate.BySame, ""},
		{nil, "Inbox/Rechnung", "Inbox/Rechnung", migrate.Missing, "Inbox/Rechnungen"},
		{nil, "Kunden 50%25", "Kunden 50%25", migrate.Missing, "Kunden 100%25"},
	} {
		got, err := migrate.NewFolders(infos(row.old...), german).Pattern(row.text)
		if err != nil || got.New != row.new || got.How != row.how || len(got.Nearest) == 0 != (row.near == "") || row.near != "" && got.Nearest[0] != row.near {
			t.Errorf("%s: %+v, %v; want %s, by %s, near %q", row.text, got, err, row.new, row.how, row.near)
		}
	}
	if _, err := migrate.NewFolders(nil, german).Pattern("a**"); err == nil {
		t.Error("a** is a pattern")
	}
}

// past is a ledger in which the documents of the entries have been filed; those that
// are owed stay in state Filed.
func past(t testing.TB, entries ...ledger.Entry) (ledger.Ledger, *migrate.Past) {
	t.Helper()
	ctx := t.Context()
	l := ledger.NewMemory()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	lease, err := l.Lease(ctx, "s", "INBOX", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		e.Source, e.Folder, e.Key = "s", "INBOX", fmt.Sprint(i)
		if e.DocumentID == "" {
			e.DocumentID = fmt.Sprintf("%064x", i)
		}
		if _, err := lease.Begin(ctx, []ledger.Listed{{Key: e.Key, FolderPath: "Inbox"}}); err != nil {
			t.Fatal(err)
		}
		end := e.State
		if end == ledger.Begun {
			continue
		}
		if end == ledger.Quarantined {
			if err := lease.Advance(ctx, e); err != nil {
				t.Fatal(err)
			}
			continue
		}
		e.State = ledger.Prepared
		if _, err := lease.Prepare(ctx, e); err != nil {
			t.Fatal(err)
		}
		e.State = ledger.Filed
		steps := []ledger.Entry{e}
		if end == ledger.Settled {
			e.State = end
			steps = append(steps, e)
		}
		if err := lease.Advance(ctx, steps...); err != nil {
			t.Fatal(err)
		}
	}
	p, err := migrate.ReadPast(ctx, l, "s")
	if err != nil {
		t.Fatal(err)
	}
	return l, p
}

var noon = time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)

func judge(t testing.TB, p *migrate.Past, id, subject string, received time.Time) migrate.Judgment {
	t.Helper()
	text := "Subject: " + subject + "\r\n"
	if id != "" {
		text += "Message-ID: " + id + "\r\n"
	}
	h, err := message.ReadHeader(strings.NewReader(text + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	j, err := p.Judge(context.Background(), h, received, subject)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJudge(t *testing.T) {
	_, p := past(t,
		ledger.Entry{State: ledger.Settled, MessageID: "<a@x>", Title: "a", Received: noon},
		ledger.Entry{State: ledger.Filed, MessageID: "<b@x>", Title: "b", Received: noon},
		ledger.Entry{State: ledger.Settled, Title: "scan", Received: noon},
		ledger.Entry{State: ledger.Settled, MessageID: "<two@x>", Title: "one", Received: noon},
		ledger.Entry{State: ledger.Settled, MessageID: "<two@x>", Title: "other", Received: noon.Add(time.Hour)},
		ledger.Entry{State: ledger.Quarantined, Title: "trouble"},
		ledger.Entry{State: ledger.Begun},
	)
	if p.Documents != 5 || p.Owed != 1 || p.InQuarantine != 1 || p.Unfinished != 1 || p.Forgotten != 0 {
		t.Errorf("%+v", p)
	}
	for i, row := range []struct {
		id, subject string
		received    time.Time
		want        migrate.Verdict
		owed        bool
		reason      string
	}{
		{"<a@x>", "a", noon.Add(time.Hour), migrate.FiledAlready, false, ""},
		{"<a@x>", "a", noon, migrate.Uncertain, false, "2 messages in the mailbox have this Message-ID, and 1 filed"},
		{"<b@x>", "under another rule", noon, migrate.FiledAlready, true, ""},
		{"<two@x>", "other", noon, migrate.FiledAlready, false, ""},
		{"<two@x>", "one", noon, migrate.FiledAlready, false, ""},
		{"<two@x>", "third", noon.Add(9 * time.Hour), migrate.Uncertain, false, "another title and date of arrival"},
		{"<given@x>", "scan", noon, migrate.Uncertain, false, "its Message-ID is not known, and a message with this title"},
		{"", "scan", noon, migrate.Uncertain, false, "it has no Message-ID, and a message with this title"},
		{"<c@x>", "trouble", noon, migrate.Uncertain, false, "in quarantine"},
		{"<c@x>", "c", noon, migrate.New, false, ""},
		{"", "c", noon, migrate.New, false, ""},
	} {
		j := judge(t, p, row.id, row.subject, row.received)
		if j.Verdict != row.want || j.Owed != row.owed || !strings.Contains(j.Reason, row.reason) || (j.Reason == "") != (row.want != migrate.Uncertain) {
			t.Errorf("%d, %s %s: %+v; want %s, %q", i, row.id, row.subject, j, row.want, row.reason)
		}
	}
}
