package imap_test

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"postroom/internal/imaptest"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/imap"
)

// TestStandIn takes the server of the demonstration through the life of a
// message.
func TestStandIn(t *testing.T) {
	const folder, target = "Rechnungen/Größe", "Rechnungen/Abgelegt"
	server, err := imaptest.Start(imaptest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	received := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var want []string
	for i := range 100 {
		raw := fmt.Sprintf("Subject: %d\r\nFrom: a@example.com\r\n\r\n.body %d\r\n", i, i)
		want = append(want, raw)
		if err := server.Deliver(folder, []byte(raw), received); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, imap.Config{
		Options: imap.Options{Server: server.Addr(), CAFile: server.CAFile(), Folders: []string{"Rechnungen/*"}, FiledFolder: target},
		Name:    "test", Username: server.Username(), Password: secret.New(server.Password()), AfterFiling: sources.Move,
	})
	ctx := background(t)
	s.Probe(ctx, func(step sources.Step) {
		if step.Err != nil {
			t.Errorf("%s: %v", step.Name, step.Err)
		}
	})
	folders, err := s.Folders(ctx)
	if err != nil || len(folders) != 1 || folders[0].Path != folder {
		t.Fatalf("%v, %v", folders, err)
	}
	listing, err := s.List(ctx, folders[0], "")
	if err != nil {
		t.Fatal(err)
	}
	refs, err := listing.Next(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu   sync.Mutex
		got  = make(map[string]string)
		keys []string
	)
	err = s.Fetch(ctx, folders[0], refs, func(ref sources.Ref, m *sources.Message) error {
		if m.Err != nil {
			return m.Err
		}
		raw, err := io.ReadAll(m.Body)
		mu.Lock()
		defer mu.Unlock()
		got[ref.Key] = string(raw)
		if !m.Received.Equal(received) {
			t.Errorf("%s: received %v", ref.Key, m.Received)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var raws []string
	for _, ref := range refs {
		keys = append(keys, ref.Key)
		raws = append(raws, got[ref.Key])
	}
	if !slices.Equal(raws, want) {
		t.Errorf("%d messages arrived, want the %d delivered", len(got), len(want))
	}
	settled := 0
	err = s.Settle(ctx, folders[0], keys, sources.Action{Verb: sources.Move, Target: target}, func(_ string, err error) {
		if err != nil {
			t.Error(err)
		}
		settled++
	})
	if err != nil || settled != len(keys) {
		t.Errorf("%d of %d settled, %v", settled, len(keys), err)
	}
	// What is gone by now is settled as well: somebody has moved it, or an earlier
	// try has.
	settled = 0
	err = s.Settle(ctx, folders[0], keys, sources.Action{Verb: sources.Move, Target: target}, func(_ string, err error) {
		if err != nil {
			t.Error(err)
		}
		settled++
	})
	if err != nil || settled != len(keys) {
		t.Errorf("gone: %d of %d settled, %v", settled, len(keys), err)
	}
	told := make(chan error, 1)
	if listing, err = s.List(ctx, folders[0], listing.Cursor(nil)); err != nil || listing.Remaining() != 0 {
		t.Fatal(listing, err)
	}
	go func() { told <- s.Wait(ctx, folders[0]) }()
	if err := server.Deliver(folder, []byte(want[0]), received); err != nil {
		t.Fatal(err)
	}
	if err := <-told; err != nil {
		t.Error(err)
	}
	if listing, err = s.List(ctx, folders[0], listing.Cursor(nil)); err != nil || listing.Remaining() != 1 {
		t.Errorf("after one more was delivered: %v, %v", listing, err)
	}
}
