package dovecot_test

import (
	"bytes"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"go.uber.org/goleak"

	"postroom/internal/dovecot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDeliverAndSnapshot(t *testing.T) {
	s := dovecot.Start(t, dovecot.Options{})
	raw := []byte("Subject: a\r\n\r\nb\r\n")
	received := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, folder := range []string{"INBOX", "Projekte/Größe & Co"} {
		if err := s.Deliver("user", folder, raw, received, true); err != nil {
			t.Fatal(err)
		}
		got, err := s.Snapshot("user", folder)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || !bytes.Equal(got[0].Raw, raw) || !got[0].Seen || got[0].Deleted || !got[0].Received.Equal(received) {
			t.Errorf("%s: %+v", folder, got)
		}
		err = s.Do("user", func(client *imapclient.Client) error {
			data, err := client.Select(folder, nil).Wait()
			if err == nil && data.NumMessages != 1 {
				t.Errorf("%s: %d messages over IMAP", folder, data.NumMessages)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.MarkDeleted("user", folder, 1); err != nil {
			t.Fatal(err)
		}
		if got, err = s.Snapshot("user", folder); err != nil || len(got) != 1 || !got[0].Deleted {
			t.Errorf("%s: after MarkDeleted: %+v, %v", folder, got, err)
		}
	}
}

func TestRenumber(t *testing.T) {
	s := dovecot.Start(t, dovecot.Options{})
	if err := s.Deliver("user", "INBOX", []byte("Subject: a\r\n\r\n"), time.Now(), false); err != nil {
		t.Fatal(err)
	}
	validity := func() (v uint32) {
		err := s.Do("user", func(client *imapclient.Client) error {
			data, err := client.Status("INBOX", &goimap.StatusOptions{UIDValidity: true}).Wait()
			if err == nil {
				v = data.UIDValidity
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := validity()
	if err := s.Renumber("user", "INBOX"); err != nil {
		t.Fatal(err)
	}
	if after := validity(); after == before || after == 0 {
		t.Errorf("UIDVALIDITY %d became %d", before, after)
	}
}

func TestFailureToStartShowsTheLog(t *testing.T) {
	_, err := dovecot.Run(dovecot.Options{Separator: "\n}\nnonsense = yes\nx {"})
	if err == nil {
		t.Fatal("started with a configuration that cannot be read")
	}
	if !bytes.Contains([]byte(err.Error()), []byte("nonsense")) {
		t.Errorf("the reason is not told: %v", err)
	}
}
