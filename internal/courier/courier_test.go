//go:build unix

package courier_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"go.uber.org/goleak"

	"postroom/internal/courier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDeliverAndSnapshot(t *testing.T) {
	s := courier.Start(t, courier.Options{})
	raw := []byte("Subject: a\r\n\r\nb\r\n")
	received := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, folder := range map[string][]string{"INBOX": nil, "INBOX.Projekte.Größe & Co": {"Projekte", "Größe & Co"}} {
		if err := s.Deliver("user", folder, raw, received, true); err != nil {
			t.Fatal(err)
		}
		got, err := s.Snapshot("user", folder)
		if err != nil || len(got) != 1 || !bytes.Equal(courier.Wire(got[0].Raw), raw) || !got[0].Seen || got[0].Deleted || !got[0].Received.Equal(received) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		client, err := imapclient.DialInsecure(s.IMAP(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Login("user", "secret").Wait(); err != nil {
			t.Fatal(err)
		}
		look := func() (flags []goimap.Flag, validity uint32) {
			data, err := client.Select(name, nil).Wait()
			if err != nil || data.NumMessages != 1 {
				t.Fatalf("%s: %+v, %v", name, data, err)
			}
			messages, err := client.Fetch(goimap.SeqSetNum(1), &goimap.FetchOptions{Flags: true}).Collect()
			if err != nil || len(messages) != 1 {
				t.Fatalf("%s: %+v, %v", name, messages, err)
			}
			return messages[0].Flags, data.UIDValidity
		}
		flags, before := look()
		if !slices.Contains(flags, goimap.FlagSeen) || slices.Contains(flags, goimap.FlagDeleted) {
			t.Errorf("%s: flags %v", name, flags)
		}
		if err := s.MarkDeleted("user", folder, 0); err != nil {
			t.Fatal(err)
		}
		if err := s.Renumber("user", folder); err != nil {
			t.Fatal(err)
		}
		if flags, after := look(); !slices.Contains(flags, goimap.FlagDeleted) || after == before || after == 0 {
			t.Errorf("%s: flags %v, UIDVALIDITY %d became %d", name, flags, before, after)
		}
		if err := s.Remove("user", folder, 0); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Snapshot("user", folder); err != nil || len(got) != 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
