package exchange_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/mail"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postroom/internal/graph"
	"postroom/internal/graphtest"
	"postroom/sources"
	"postroom/sources/exchange"
	"postroom/sources/sourcetest"
)

// letter is a small message, of two parts.
func letter(n int) []byte {
	return fmt.Appendf(nil, "From: sender@example.com\r\nTo: invoices@contoso.example\r\nSubject: letter %[1]d\r\nMessage-ID: <%[1]d@example.com>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b%[1]d\"\r\n\r\n--b%[1]d\r\nContent-Type: text/plain\r\n\r\nThis is letter %[1]d.\r\n"+
		"--b%[1]d\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"a.pdf\"\r\n\r\nJVBERi0=\r\n--b%[1]d--\r\n", n)
}

// fill delivers n letters to the inbox, a minute apart.
func (m *mailbox) fill(n int) []graphtest.Item {
	start := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	items := make([]graphtest.Item, n)
	for i := range items {
		items[i] = m.Mailbox.Deliver("Inbox", graphtest.Mail{Raw: letter(i), Received: start.Add(time.Duration(i) * time.Minute)})
	}
	return items
}

// office handles mail as the engine does: it goes on after errors, and moves the
// cursor only when all before it has been handled.
type office struct {
	*testing.T
	source  *exchange.Source
	action  sources.Action
	cursors map[string]sources.Cursor
	mu      sync.Mutex
	filed   map[string][]byte // by key
	settled map[string]bool
	wires   map[string]sources.Message
}

func newOffice(t *testing.T, source *exchange.Source, action sources.Action) *office {
	return &office{T: t, source: source, action: action, cursors: make(map[string]sources.Cursor), filed: make(map[string][]byte),
		settled: make(map[string]bool), wires: make(map[string]sources.Message)}
}

// poll handles what is new in every folder.
func (o *office) poll(ctx context.Context) error {
	folders, err := o.source.Folders(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, folder := range folders {
		errs = append(errs, o.folder(ctx, folder))
	}
	return errors.Join(errs...)
}

func (o *office) folder(ctx context.Context, folder sources.Folder) error {
	listing, err := o.source.List(ctx, folder, o.cursors[folder.ID])
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	for {
		refs, err := listing.Next(ctx, 5)
		if err != nil {
			return fmt.Errorf("next: %w", err)
		}
		var wanted []sources.Ref
		for _, ref := range refs {
			if o.filed[ref.Key] == nil {
				wanted = append(wanted, ref)
			}
		}
		failed := o.source.Fetch(ctx, folder, wanted, func(ref sources.Ref, m *sources.Message) error {
			if m.Err != nil {
				if sources.ClassOf(m.Err) == sources.Permanent {
					o.Errorf("message %s: %v", ref.Key, m.Err)
				}
				return nil
			}
			raw, err := io.ReadAll(m.Body)
			if err != nil {
				return err
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			o.filed[ref.Key], o.wires[ref.Key] = raw, *m
			return nil
		})
		var keys []string
		for key := range o.filed {
			if !o.settled[key] {
				keys = append(keys, key)
			}
		}
		err = o.source.Settle(ctx, folder, keys, o.action, func(key string, err error) {
			if err == nil {
				o.settled[key] = true
			}
		})
		if failed != nil || err != nil {
			return errors.Join(failed, err)
		}
		for _, ref := range refs {
			if o.filed[ref.Key] == nil {
				return fmt.Errorf("message %s did not come", ref.Key)
			}
		}
		o.cursors[folder.ID] = listing.Cursor(nil)
		if len(refs) == 0 {
			return nil
		}
	}
}

// until polls until there is nothing left to do, as the engine would.
func (o *office) until(ctx context.Context, done func() bool) {
	o.Helper()
	for n := 0; ; n++ {
		err := o.poll(ctx)
		if err == nil && done() {
			return
		}
		if ctx.Err() != nil {
			o.Fatalf("after %d polls it is not done: %v", n, err)
		}
		if class := sources.ClassOf(err); err != nil && class != sources.Temporary && class != sources.Throttled && class != sources.NotFound {
			o.Fatalf("class %v: %v", class, err)
		}
		if until := sources.UntilOf(err); !until.IsZero() {
			time.Sleep(time.Until(until))
		}
	}
}

var (
	seeds     = flag.Int("seeds", 24, "how many plans of faults TestFaults plays")
	firstSeed = flag.Uint64("first-seed", 0, "the first of the seeds of those")
)

// TestFaults: whatever goes wrong on the way, each message comes whole, is moved
// once, no request is sent before its time, none that is illegal, and not many
// more than without.
func TestFaults(t *testing.T) {
	n := *seeds
	if testing.Short() {
		n = min(n, 4)
	}
	// The worlds wait, mostly: many of them at once.
	var worlds sync.WaitGroup
	defer worlds.Wait()
	places := make(chan struct{}, 40)
	for i := range n {
		seed := *firstSeed + uint64(i)
		places <- struct{}{}
		worlds.Go(func() {
			defer func() { <-places }()
			t.Run(fmt.Sprint(seed), func(t *testing.T) { inTrouble(t, seed) })
		})
	}
}

func inTrouble(t *testing.T, seed uint64) {
	sound := liveThrough(t, seed, graphtest.Plan{})
	if all := liveThrough(t, seed, graphtest.Plan{Seed: seed, Rate: 0.12}); all > 3*sound {
		t.Errorf("%d requests, and %d without faults", all, sound)
	}
}

// liveThrough handles mail while the plan is played, and returns how many
// requests that took.
func liveThrough(t *testing.T, seed uint64, plan graphtest.Plan) (requests int) {
	// How soon a refusal is heard of depends on the machine: see TestPatience.
	m := newMailbox(t, graphtest.Options{Seed: seed, Limits: graphtest.Limits{Grace: time.Minute}})
	m.clients.Timeouts = graph.Timeouts{Pause: 40 * time.Millisecond}
	items := m.fill(20)
	cfg := m.config(sourcetest.Setup{AfterFiling: sources.Move, FiledFolder: "Inbox/Filed"})
	cfg.PageSize, cfg.Block = 3+int(seed%5), 7
	cfg.FoldersFor = time.Nanosecond
	o := newOffice(t, open(t, cfg), sources.Action{Verb: sources.Move, Target: "Inbox/Filed"})
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	m.server.SetPlan(plan)
	o.until(ctx, func() bool { return len(o.settled) == len(items) })
	m.server.Heal()
	late := m.Mailbox.Deliver("Inbox", graphtest.Mail{Raw: letter(99)})
	o.until(ctx, func() bool { return len(o.settled) == len(items)+1 })
	for _, item := range append(items, late) {
		got, ok := o.filed[item.ImmutableID]
		if wire := o.wires[item.ImmutableID].Wire; !ok || wire == sources.Rendered && !bytes.Equal(got, item.MIME()) {
			t.Errorf("message %s: %d bytes, want %d", item.ImmutableID, len(got), len(item.MIME()))
		}
	}
	if n := len(m.Messages("Inbox")); n != 0 {
		t.Errorf("%d messages left in the inbox", n)
	}
	if n := len(m.Messages("Inbox/Filed")); n != len(items)+1 {
		t.Errorf("%d messages moved, want %d", n, len(items)+1)
	}
	if early := m.server.Violations(); len(early) > 0 {
		t.Errorf("requests before their time: %v", early)
	}
	if n := m.server.MaxConcurrency(); n > 4 {
		t.Errorf("%d requests at once", n)
	}
	return len(m.server.Requests())
}

func TestRequests(t *testing.T) {
	for _, action := range []sources.Action{{Verb: sources.Keep}, {Verb: sources.MarkRead}, {Verb: sources.Move, Target: "Inbox/Filed"}, {Verb: sources.Delete}, {Verb: sources.Delete, Permanent: true}} {
		t.Run(fmt.Sprint(action.Verb, action.Permanent), func(t *testing.T) {
			m := newMailbox(t, graphtest.Options{})
			m.fill(100)
			o := newOffice(t, open(t, m.config(sourcetest.Setup{AfterFiling: action.Verb, FiledFolder: action.Target})), action)
			if err := o.poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			counts := m.server.Counts()
			values := counts["value"]
			dispositions := counts["update"] + counts["move"] + counts["permanent delete"]
			others := len(m.server.Requests()) - values - dispositions - counts["token"] - counts["discovery"]
			if values != 100 || dispositions > 100 || action.Verb != sources.Keep && dispositions != 100 || others > 10 {
				t.Errorf("requests %v", counts)
			}
			if action.Verb == sources.MarkRead {
				// What was marked is told of as a change, and known.
				if err := o.poll(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			m.server.Forget()
			if err := o.poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			if all := m.server.Requests(); len(all) != 1 || all[0].Kind != "delta" {
				t.Errorf("with nothing new: %v", all)
			}
			if got := len(o.settled); got != 100 {
				t.Errorf("%d settled", got)
			}
			left, deleted := len(m.Messages("Inbox")), len(m.Messages("deleteditems"))
			switch {
			case action.Verb == sources.Delete && !action.Permanent && (left != 0 || deleted != 100), action.Permanent && (left != 0 || deleted != 0):
				t.Errorf("%d left, %d in the deleted items", left, deleted)
			}
		})
	}
}

// A long first round goes on where it was, in another process too.
func TestRoundGoesOn(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	items := m.fill(50)
	cfg := m.config(sourcetest.Setup{})
	cfg.PageSize, cfg.Block = 6, 12
	seen := make(map[string]int)
	cursor := sources.Cursor("")
	for step := 0; ; step++ {
		source := open(t, cfg)
		folders, err := source.Folders(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m.server.Forget()
		listing, err := source.List(t.Context(), folders[0], cursor)
		if err != nil {
			t.Fatal(err)
		}
		refs, err := listing.Next(t.Context(), 7)
		if err != nil {
			t.Fatal(err)
		}
		// One block of two pages may be read ahead by now.
		if n := m.server.Counts()["delta"]; n > 3+2 {
			t.Errorf("step %d takes %d requests", step, n)
		}
		for _, ref := range refs {
			seen[ref.Key]++
		}
		cursor = listing.Cursor(nil)
		if len(refs) == 0 {
			break
		}
	}
	for _, item := range items {
		if seen[item.ImmutableID] != 1 {
			t.Errorf("message %s listed %d times", item.ImmutableID, seen[item.ImmutableID])
		}
	}
}

// A round that the server has forgotten begins anew, and loses nothing.
func TestForgottenRound(t *testing.T) {
	for _, pages := range []int{1, 3, 9} {
		m := newMailbox(t, graphtest.Options{})
		items := m.fill(40)
		cfg := m.config(sourcetest.Setup{})
		cfg.PageSize, cfg.Block = 5, 5
		source := open(t, cfg)
		folders, err := source.Folders(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		listing, err := source.List(t.Context(), folders[0], "")
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		for n := 0; ; n++ {
			if n == pages {
				if err := m.LoseDeltas("Inbox"); err != nil {
					t.Fatal(err)
				}
			}
			refs, err := listing.Next(t.Context(), 5)
			if err != nil {
				t.Fatal(err)
			}
			for _, ref := range refs {
				seen[ref.Key] = true
			}
			if len(refs) == 0 {
				break
			}
		}
		if len(seen) != len(items) {
			t.Errorf("after %d pages: %d of %d listed", pages, len(seen), len(items))
		}
		cursor := listing.Cursor(nil)
		if err := m.LoseDeltas("Inbox"); err != nil {
			t.Fatal(err)
		}
		again, err := source.List(t.Context(), folders[0], cursor)
		if err != nil {
			t.Fatal(err)
		}
		if refs, err := again.Next(t.Context(), 100); err != nil || len(refs) == 0 {
			t.Errorf("a forgotten link lists %d, %v", len(refs), err)
		}
	}
}

func TestFoldersThatAreHardToFind(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	m.Mailbox = m.server.AddMailbox("juureva@contoso.example", graphtest.MailboxOptions{Language: "ja"})
	for i := range 30 {
		m.CreateFolder(fmt.Sprintf("Projects/P%02d", i))
	}
	m.CreateFolder(`Inbox/In\/Out 100%`)
	m.CreateFolder("Archive 2/Deep/Deeper/Deepest")
	m.CreateFolder("Secret/Inside")
	m.AddSearchFolder("Search")
	if err := m.HideFolder("Secret"); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		folders, exclude, want []string
		remedy                 string
	}{
		{[]string{"inbox"}, nil, []string{"Inbox"}, ""},
		{[]string{"Inbox/In%2FOut 100%25"}, nil, []string{"Inbox/In%2FOut 100%25"}, ""},
		{[]string{"Archive 2/Deep/Deeper/Deepest", "Projects/P29"}, nil, []string{"Archive 2/Deep/Deeper/Deepest", "Projects/P29"}, ""},
		{[]string{"Projects/P1*"}, []string{"Projects/P15"}, []string{"Projects/P10", "Projects/P11", "Projects/P12", "Projects/P13", "Projects/P14", "Projects/P16", "Projects/P17", "Projects/P18", "Projects/P19"}, ""},
		{[]string{"Secret"}, nil, []string{"Secret"}, ""},
		{[]string{"Secret/Inside"}, nil, []string{"Secret/Inside"}, ""},
		{[]string{"S*"}, nil, nil, ""},
		{[]string{"Projects/p29"}, nil, nil, "Projects/P29"},
		{[]string{"Deepest"}, nil, nil, "Archive 2/Deep/Deeper/Deepest"},
	} {
		source := open(t, m.config(sourcetest.Setup{Folders: row.folders, Exclude: row.exclude}))
		found, err := source.Folders(t.Context())
		var got []string
		for _, folder := range found {
			got = append(got, folder.Path)
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%v: %v, want %v", row.folders, got, row.want)
		}
		if remedy := remedyOf(err); row.remedy == "" && err != nil || !strings.Contains(remedy, row.remedy) {
			t.Errorf("%v: %v, remedy %q", row.folders, err, remedy)
		}
	}
	// Everything, without what is special in whatever language.
	source := open(t, m.config(sourcetest.Setup{Folders: []string{"**"}}))
	found, err := source.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tree, err := source.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range tree {
		chosen := slices.ContainsFunc(found, func(f sources.Folder) bool { return f.ID == info.ID })
		special := slices.Contains([]string{"drafts", "junk", "trash", "outbox", "sync"}, info.Use)
		if special && chosen {
			t.Errorf("%s (%s) is read", info.Path, info.Use)
		}
	}
}

func remedyOf(err error) string {
	var all []string
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			all = append(all, sources.RemedyOf(err))
		}
	}
	return strings.Join(append(all, sources.RemedyOf(err)), "; ")
}

// A renamed folder keeps its identity, and so its cursor.
func TestRenamedFolder(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	before := m.CreateFolder("Inbox/Old")
	source := open(t, m.config(sourcetest.Setup{Folders: []string{"Inbox/*"}}))
	folders, err := source.Folders(t.Context())
	if err != nil || len(folders) != 1 || folders[0].ID != before {
		t.Fatal(folders, err)
	}
	if err := m.RenameFolder("Inbox/Old", "New"); err != nil {
		t.Fatal(err)
	}
	folders, err = open(t, m.config(sourcetest.Setup{Folders: []string{"Inbox/*"}})).Folders(t.Context())
	if err != nil || len(folders) != 1 || folders[0].ID != before || folders[0].Path != "Inbox/New" {
		t.Fatal(folders, err)
	}
	// A folder that was deleted is found to be missing, though it was known.
	if err := m.DeleteFolder("Inbox/New"); err != nil {
		t.Fatal(err)
	}
	if _, err := source.List(t.Context(), folders[0], ""); sources.ClassOf(err) != sources.NotFound {
		t.Errorf("a deleted folder: %v", err)
	}
	if folders, err = source.Folders(t.Context()); err != nil || len(folders) != 0 {
		t.Errorf("then %v, %v", folders, err)
	}
}

// A user moves a message while it is being handled: it is found nevertheless.
func TestMovedByItsUser(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	items := m.fill(2)
	source := open(t, m.config(sourcetest.Setup{AfterFiling: sources.Move, FiledFolder: "Filed"}))
	folders, err := source.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listing, err := source.List(t.Context(), folders[0], "")
	if err != nil {
		t.Fatal(err)
	}
	refs, err := listing.Next(t.Context(), 10)
	if err != nil || len(refs) != 2 {
		t.Fatal(refs, err)
	}
	if _, err := m.Move(items[0].ID, "Elsewhere"); err != nil {
		t.Fatal(err)
	}
	var got atomic.Int32
	err = source.Fetch(t.Context(), folders[0], refs, func(_ sources.Ref, m *sources.Message) error {
		got.Add(1)
		return m.Err
	})
	if err != nil || got.Load() != 2 {
		t.Errorf("%d messages, %v", got.Load(), err)
	}
	err = source.Settle(t.Context(), folders[0], []string{refs[0].Key, refs[1].Key}, sources.Action{Verb: sources.Move, Target: "Filed"}, func(_ string, err error) {
		if err != nil {
			t.Error(err)
		}
	})
	if n := len(m.Messages("Filed")); err != nil || n != 2 {
		t.Errorf("%d messages moved, %v", n, err)
	}
	// The folder is deleted by somebody, and made again.
	if err := m.DeleteFolder("Filed"); err != nil {
		t.Fatal(err)
	}
	m.Mailbox.Deliver("Inbox", graphtest.Mail{Raw: letter(7)})
	o := newOffice(t, source, sources.Action{Verb: sources.Move, Target: "Filed"})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o.until(ctx, func() bool { return len(o.settled) == 1 })
	if n := len(m.Messages("Filed")); n != 1 {
		t.Errorf("%d messages in the folder that was made again", n)
	}
}

// What the server cannot render is rebuilt of its parts, and holds up nothing.
func TestRebuilt(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	m.fill(3)
	nested := "From: inner@example.com\r\nSubject: inner\r\nMessage-ID: <inner@example.com>\r\n\r\nInner text.\r\n"
	raw := "From: \"Größe, Anna\" <anna@example.com>\r\nTo: invoices@contoso.example\r\nSubject: =?utf-8?q?Rechnung_5_=E2=82=AC?=\r\nMessage-ID: <odd@example.com>\r\n" +
		"Date: Mon, 5 Jan 2026 08:00:00 +0000\r\nX-Ticket: 42\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n" +
		"--outer\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hällo</p>\r\n" +
		"--outer\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"r.pdf\"\r\n\r\nJVBERi0xLjQ=\r\n" +
		"--outer\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n" + nested + "\r\n--outer--\r\n"
	odd := m.Mailbox.Deliver("Inbox", graphtest.Mail{Raw: []byte(raw), Unrenderable: true, References: []graphtest.Reference{{Name: "cloud.docx", URL: "https://files.example/1"}}})
	m.Mailbox.Deliver("Inbox", graphtest.Mail{Raw: letter(8), Draft: true})
	meeting := m.Mailbox.Deliver("Inbox", graphtest.Mail{Raw: letter(9), Type: "eventMessageRequest"})
	o := newOffice(t, open(t, m.config(sourcetest.Setup{})), sources.Action{Verb: sources.Keep})
	if err := o.poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(o.filed) != 5 || o.filed[meeting.ImmutableID] == nil {
		t.Fatalf("%d messages filed, want 5: %v", len(o.filed), slices.Collect(maps.Keys(o.filed)))
	}
	got := o.wires[odd.ImmutableID]
	if got.Wire != sources.Reconstructed || len(got.Notes) == 0 || !strings.Contains(got.Notes[0], "ErrorMimeContentConversionFailed") || !got.Received.Equal(odd.Received) {
		t.Errorf("%+v", got)
	}
	text := string(o.filed[odd.ImmutableID])
	parsed, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if from, err := parsed.Header.AddressList("From"); err != nil || from[0].Address != "anna@example.com" || from[0].Name != "Größe, Anna" {
		t.Errorf("from %v, %v", from, err)
	}
	for name, want := range map[string]string{"X-Ticket": "42", "Message-Id": "<odd@example.com>"} {
		if parsed.Header.Get(name) != want {
			t.Errorf("field %s is %q", name, parsed.Header.Get(name))
		}
	}
	for _, part := range []string{"r.pdf", "JVBERi0xLjQ=", "message/rfc822", "<inner@example.com>"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing from\n%s", part, text)
		}
	}
	// Doing it again makes the same bytes.
	again := newOffice(t, open(t, m.config(sourcetest.Setup{})), sources.Action{Verb: sources.Keep})
	if err := again.poll(t.Context()); err != nil || !bytes.Equal(again.filed[odd.ImmutableID], o.filed[odd.ImmutableID]) {
		t.Errorf("rebuilt again it differs; %v", err)
	}
}

// A message that ends early, as if it were whole, is not taken.
func TestTruncated(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	items := m.fill(1)
	m.server.Inject("value", 1, graphtest.Fault{Kind: graphtest.FaultTruncate, After: len(items[0].MIME()) - 20})
	o := newOffice(t, open(t, m.config(sourcetest.Setup{})), sources.Action{Verb: sources.Keep})
	if err := o.poll(t.Context()); err == nil || len(o.filed) != 0 {
		t.Errorf("%d filed, %v", len(o.filed), err)
	}
	if err := o.poll(t.Context()); err != nil || !bytes.Equal(o.filed[items[0].ImmutableID], items[0].MIME()) {
		t.Errorf("then %v", err)
	}
	// One that is so on the server is taken, and noted.
	short := m.Mailbox.Deliver("Inbox", graphtest.Mail{Raw: letter(5)[:300], Verbatim: true})
	if err := o.poll(t.Context()); err == nil {
		t.Error("taken at once")
	}
	if err := o.poll(t.Context()); err != nil || len(o.filed[short.ImmutableID]) != 300 || len(o.wires[short.ImmutableID].Notes) != 1 {
		t.Errorf("%v, %d bytes", err, len(o.filed[short.ImmutableID]))
	}
}

// A message of 150 MB goes through without being held in memory.
func TestLargeMessage(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	raw := append([]byte("Subject: large\r\n\r\n"), bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890123456789012345\r\n"), 150<<20/78)...)
	item := m.Mailbox.Deliver("Inbox", graphtest.Mail{Raw: raw, Verbatim: true, Received: time.Now().Add(-time.Hour)})
	source := open(t, m.config(sourcetest.Setup{}))
	folders, err := source.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Little garbage, so that what is measured is what is held.
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	var before, most runtime.MemStats
	runtime.ReadMemStats(&before)
	most = before
	read := 0
	err = source.Fetch(t.Context(), folders[0], []sources.Ref{{Key: item.ImmutableID, Size: -1, Received: item.Received}}, func(_ sources.Ref, m *sources.Message) error {
		if m.Err != nil {
			return m.Err
		}
		buf := make([]byte, 64<<10)
		for n := 0; ; n++ {
			got, err := m.Body.Read(buf)
			read += got
			if n%256 == 0 {
				var now runtime.MemStats
				if runtime.ReadMemStats(&now); now.HeapAlloc > most.HeapAlloc {
					most = now
				}
			}
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	if err != nil || read != len(raw) {
		t.Fatalf("%d of %d bytes, %v", read, len(raw), err)
	}
	if more := int64(most.HeapAlloc) - int64(before.HeapAlloc); more > 64<<20 {
		t.Errorf("%d MB held while a message of 150 MB went through", more>>20)
	}
}

// When the server asks for patience, what is under way comes to its end, nothing
// more is begun, and the time is told.
func TestThrottledWhileFetching(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	items := m.fill(30)
	source := open(t, m.config(sourcetest.Setup{}))
	folders, err := source.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var refs []sources.Ref
	for _, item := range items {
		refs = append(refs, sources.Ref{Key: item.ImmutableID, Size: -1, Received: item.Received})
	}
	m.server.InjectFor(func(r graphtest.Request) bool { return r.Kind == "value" && r.Number > 20 }, 1,
		graphtest.Fault{Kind: graphtest.FaultThrottle, RetryAfter: time.Hour})
	var mu sync.Mutex
	whole := 0
	err = source.Fetch(t.Context(), folders[0], refs, func(_ sources.Ref, m *sources.Message) error {
		if m.Err != nil {
			t.Error(m.Err)
			return nil
		}
		_, err := io.Copy(io.Discard, m.Body)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			whole++
		}
		return err
	})
	if sources.ClassOf(err) != sources.Throttled || time.Until(sources.UntilOf(err)) < 59*time.Minute {
		t.Errorf("%v, until %v", err, sources.UntilOf(err))
	}
	sent := m.server.Counts()["value"]
	if whole < sent-4 || whole == 0 || sent > 28 {
		t.Errorf("%d of %d messages arrived whole", whole, sent)
	}
	if early := m.server.Violations(); len(early) > 0 {
		t.Errorf("requests before their time: %v", early)
	}
	// The whole mailbox waits, and other calls say so at once.
	before := len(m.server.Requests())
	if _, err := source.List(t.Context(), folders[0], ""); sources.ClassOf(err) != sources.Throttled || len(m.server.Requests()) != before {
		t.Errorf("another call: %v", err)
	}
}

// A settlement that is broken off says so: what was not done is not taken as done.
func TestSettleBrokenOff(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	items := m.fill(60)
	source := open(t, m.config(sourcetest.Setup{}))
	folders, err := source.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, item := range items {
		keys = append(keys, item.ImmutableID)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(map[string]bool)
	err = source.Settle(ctx, folders[0], keys, sources.Action{Verb: sources.MarkRead}, func(key string, err error) {
		done[key] = err == nil
		cancel()
	})
	if err == nil || len(done) == len(keys) {
		t.Errorf("%d of %d done, and %v", len(done), len(keys), err)
	}
	for _, item := range m.Messages("Inbox") {
		if done[item.ImmutableID] && !item.Read {
			t.Errorf("message %s was said to be done, and is not", item.ImmutableID)
		}
	}
}

// What Exchange Online counts, it counts for an application and a mailbox,
// however many sources read it.
func TestSourcesTakeTurns(t *testing.T) {
	m := newMailbox(t, graphtest.Options{})
	large := append([]byte("Subject: large\r\n\r\n"), make([]byte, 8<<20)...)
	var refs []sources.Ref
	for range 6 {
		item := m.Mailbox.Deliver("Inbox", graphtest.Mail{Raw: large, Verbatim: true})
		refs = append(refs, sources.Ref{Key: item.ImmutableID, Size: -1, Received: item.Received})
	}
	var all sync.WaitGroup
	for range 3 {
		source := open(t, m.config(sourcetest.Setup{}))
		folders, err := source.Folders(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			err := source.Fetch(t.Context(), folders[0], refs, func(_ sources.Ref, m *sources.Message) error {
				if m.Err != nil {
					return m.Err
				}
				// The server is kept busy with what does not fit into the connection.
				time.Sleep(20 * time.Millisecond)
				_, err := io.Copy(io.Discard, m.Body)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := m.server.MaxConcurrency(); n > 4 {
		t.Errorf("%d requests at once", n)
	}
	for _, r := range m.server.Requests() {
		if r.Status == 429 {
			t.Errorf("refused: %v", r)
		}
	}
	if n := m.server.Counts()["token"]; n != 1 {
		t.Errorf("%d tokens for sources that share credentials", n)
	}
}
