package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroom/ingest/ledger"
	"postroom/internal/graphtest"
	"postroom/internal/mailgen"
	"postroom/internal/testcert"
	"postroom/store"
)

// branch is an office whose mailbox is in Exchange Online.
type branch struct {
	*office
	cloud *graphtest.Server
	box   *graphtest.Mailbox
	read  []string // the ids of the folders that are read
	ids   map[string]bool
}

func newBranch(t *testing.T, seed uint64, source string) *branch {
	t.Helper()
	b := &branch{office: &office{t: t, dir: t.TempDir(), sent: make(map[string]int)}, ids: make(map[string]bool)}
	// How soon a refusal is heard of depends on the machine: sources/exchange tests it.
	b.cloud = graphtest.Start(t, graphtest.Options{Seed: seed, Limits: graphtest.Limits{Grace: time.Minute}})
	b.box = b.cloud.AddMailbox("invoices@contoso.example", graphtest.MailboxOptions{Language: "fi"})
	b.read = []string{b.box.CreateFolder("inbox")}
	b.cloud.ChangeApp(func(a *graphtest.App) { a.Secrets = []graphtest.Secret{{Value: marker}} })
	for name, text := range map[string]string{
		"secret": marker, "ca.pem": string(b.cloud.CAPEM()),
		"config.yaml": fmt.Sprintf(`version: 1
repository: {type: filesystem, path: ./documents}
credentials:
  - name: contoso
    type: entra
    tenant_id: %s
    client_id: %s
    client_secret: ${file:secret}
    cloud: custom
    authority_host: %s
    graph_endpoint: %s
    ca_file: ca.pem
sources:
  - name: invoices
    type: exchange
    credentials: contoso
    mailbox: invoices@contoso.example
    %s
`, b.cloud.Tenant(), b.cloud.ClientID(), b.cloud.AuthorityURL(), b.cloud.GraphURL(), strings.ReplaceAll(strings.TrimSpace(source), "\n", "\n    ")),
	} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := os.Remove(filepath.Join(b.dir, "secret")); err != nil {
			t.Error(err)
		}
		b.noSecretAnywhere()
	})
	return b
}

// gone waits until nothing is under way of what a process that has ended sent.
func (b *branch) gone() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	if err := b.cloud.WaitGone(ctx); err != nil {
		b.t.Fatal(err)
	}
}

func (b *branch) fill(seed uint64, n int) {
	mail := mailgen.New(seed, mailgen.Small())
	start := time.Now().Add(-time.Duration(n) * time.Hour)
	for i := range n {
		m := mail.Next()
		item := b.box.Deliver("inbox", graphtest.Mail{Raw: m.Raw, Received: start.Add(time.Duration(i) * time.Hour)})
		b.ids[item.ImmutableID] = true
	}
}

// backOffPasses makes messages that are to be tried again later due now.
func (b *branch) backOffPasses() {
	b.t.Helper()
	ctx := b.t.Context()
	l, err := ledger.OpenSQLite(ctx, filepath.Join(b.dir, "state", "postroom.db"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, folder := range b.read {
		lease, err := l.Lease(ctx, "invoices", folder, time.Minute)
		if err != nil {
			b.t.Fatal(err)
		}
		owed, err := lease.Owed(ctx, time.Now().Add(24*time.Hour), "", 10_000)
		if err != nil {
			b.t.Fatal(err)
		}
		for i := range owed {
			owed[i].RetryAt = time.Time{}
		}
		if err := errors.Join(lease.Advance(ctx, owed...), lease.Release(ctx)); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// each checks that every message has one document, and returns them.
func (b *branch) each() []*store.Document {
	b.t.Helper()
	docs := b.filed()
	count := make(map[string]int)
	for _, d := range docs {
		count[d.Origin.ServerID]++
	}
	for id := range b.ids {
		if count[id] != 1 {
			b.t.Errorf("message %s was filed %d times", id, count[id])
		}
		delete(count, id)
	}
	for id := range count {
		b.t.Errorf("a document of %s, which was never sent", id)
	}
	return docs
}

// TestExchangeOnline files, moves, and asks for no more than it needs.
func TestExchangeOnline(t *testing.T) {
	b := newBranch(t, 1, "after_filing: move\nfiled_folder: Inbox/Filed")
	b.fill(1, 60)
	if s := b.once(); s.Filed != 60 || s.Error != "" {
		t.Fatalf("%+v", s)
	}
	for _, d := range b.each() {
		if d.Origin.Type != "exchange" || d.Origin.Wire != "rendered" || d.Origin.Folder != "Inbox" || d.Origin.Mailbox != "invoices@contoso.example" {
			t.Errorf("%+v", d.Origin)
		}
	}
	counts := b.cloud.Counts()
	if counts["value"] != 60 || counts["move"] != 60 || len(b.cloud.Requests()) > 60+60+12 {
		t.Errorf("requests %v", counts)
	}
	if n := len(b.box.Messages("inbox/Filed")); n != 60 {
		t.Errorf("%d messages moved", n)
	}
	if s := b.once(); s.Filed != 0 || s.Error != "" {
		t.Errorf("then %+v", s)
	}
}

// TestExchangeOnlineInTrouble: whatever goes wrong, each message is filed once,
// and disposed of only then.
func TestExchangeOnlineInTrouble(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			b := newBranch(t, seed, "after_filing: delete")
			b.fill(seed, 25)
			var kinds []graphtest.FaultKind
			for _, kind := range graphtest.AllFaults() {
				if kind != graphtest.FaultThrottleBare { // it takes long
					kinds = append(kinds, kind)
				}
			}
			b.cloud.SetPlan(graphtest.Plan{Seed: seed, Rate: 0.1, Kinds: kinds})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for n := 1; len(b.box.Messages("inbox")) > 0; n++ {
				b.once()
				b.gone()
				b.backOffPasses()
				if ctx.Err() != nil {
					t.Fatalf("after %d runs %d messages are left", n, len(b.box.Messages("inbox")))
				}
			}
			b.cloud.Heal()
			b.once()
			b.each()
			if n := len(b.box.Messages("deleteditems")); n != 25 {
				t.Errorf("%d messages in the deleted items", n)
			}
			if early := b.cloud.Violations(); len(early) > 0 {
				t.Errorf("requests before their time: %v", early)
			}
			if n := b.cloud.MaxConcurrency(); n > 4 {
				t.Errorf("%d requests at once", n)
			}
		})
	}
}

func TestCheckExchangeOnline(t *testing.T) {
	b := newBranch(t, 2, "folders: [Inbox, Inbox/Sub]")
	b.box.CreateFolder("inbox/Sub")
	b.cloud.AddMailbox("chief@contoso.example", graphtest.MailboxOptions{})
	if r := b.run("check"); r.status != exitOK {
		t.Errorf("%+v", r)
	}
	r := b.run("check", "--forbidden", "chief@contoso.example")
	if r.status != exitFailed {
		t.Errorf("status %d", r.status)
	}
	contains(t, r.out, "FAILED  forbidden", "can read the mailbox chief@contoso.example", "what to do:", "RBAC for Applications")
	b.cloud.ChangeApp(func(a *graphtest.App) { a.Mailboxes = []string{b.box.Address()} })
	r = b.run("check", "--forbidden", "chief@contoso.example")
	if r.status != exitOK {
		t.Errorf("%+v", r)
	}
	contains(t, r.out, "ok      forbidden", "cannot be read, as it should be", "sign-in", "permission", "Inbox/Sub, 0 messages", "TLS 1.3")
	other, err := testcert.New(testcert.Template{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "ca.pem"), other.Authority, 0o600); err != nil {
		t.Fatal(err)
	}
	r = b.run("check", "--forbidden", "chief@contoso.example")
	if n := strings.Count(r.out, "FAILED"); r.status != exitFailed || n != 1 || strings.Contains(r.out, "forbidden") {
		t.Errorf("a failure to connect is told %d times: %+v", n, r)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "ca.pem"), b.cloud.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	r = b.run("folders", "--source", "invoices")
	contains(t, r.out, "Inbox/Sub", "Luonnokset", "drafts")
	for _, args := range [][]string{{"check", "--offline", "--forbidden", "a@b"}, {"check", "--forbidden", ""}} {
		if r := b.run(args...); r.status != exitUsage {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// TestCheckMissingFolders: each folder that is missing has a line of its own, with
// what may have been meant.
func TestCheckMissingFolders(t *testing.T) {
	b := newBranch(t, 3, "folders: [Inbox/Ordres, Inbox/Invoice, Inbox]")
	b.box.CreateFolder("inbox/Orders")
	b.box.CreateFolder("inbox/Invoices")
	r := b.run("check")
	if n := strings.Count(r.out, "FAILED  folder"); r.status != exitFailed || n != 2 {
		t.Errorf("%d failures: %+v", n, r)
	}
	for _, pair := range [][2]string{{`"Inbox/Ordres" does not exist`, "did you mean Inbox/Orders?"}, {`"Inbox/Invoice" does not exist`, "did you mean Inbox/Invoices?"}} {
		_, after, found := strings.Cut(r.out, pair[0])
		line, remedy, _ := strings.Cut(after, "\n")
		remedy, _, _ = strings.Cut(remedy, "\n")
		if !found || strings.Contains(line, "does not exist") || !strings.Contains(remedy, pair[1]) {
			t.Errorf("%q has no line of its own with %q:\n%s", pair[0], pair[1], r.out)
		}
	}
}

// TestExchangeOnlineRebuilt: what had been filed is left where it is by a ledger
// that was made anew from the documents, which do not say the ids of folders.
func TestExchangeOnlineRebuilt(t *testing.T) {
	b := newBranch(t, 5, "after_filing: keep")
	b.fill(5, 12)
	if s := b.once(); s.Filed != 12 {
		t.Fatalf("%+v", s)
	}
	if err := os.RemoveAll(filepath.Join(b.dir, "state")); err != nil {
		t.Fatal(err)
	}
	if r := b.run("verify", "--rebuild-ledger"); r.status != exitOK {
		t.Fatalf("%+v", r)
	}
	config := filepath.Join(b.dir, "config.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(strings.Replace(string(text), "after_filing: keep", "after_filing: delete", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	b.fill(6, 1)
	if s := b.once(); s.Filed != 1 || s.Duplicates != 0 || s.Error != "" {
		t.Errorf("%+v", s)
	}
	if n := len(b.box.Messages("inbox")); n != 12 {
		t.Errorf("%d messages are left in the inbox, want the 12 that had been filed", n)
	}
	if s := b.once(); s.Filed != 0 || s.Duplicates != 0 || s.Error != "" {
		t.Errorf("then %+v", s)
	}
	b.each()
}
