package imap_test

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/faultnet"
	"postroom/internal/imaptest"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/imap"
)

// counted returns a source, and the proxy before its server that counts round trips.
func counted(t *testing.T, server string, change ...func(*imap.Config)) (*faultnet.Proxy, *imap.Source) {
	t.Helper()
	proxy := throughProxy(t, server)
	cfg := imap.Config{
		Options: imap.Options{Server: proxy.Addr(), TLS: "none", AllowPlaintext: true, Connections: 2},
		Name:    "test", Username: "user", Password: secret.New("secret"),
	}
	for _, f := range change {
		f(&cfg)
	}
	return proxy, open(t, cfg)
}

// trips returns how many round trips f takes.
func trips(proxy *faultnet.Proxy, f func()) int {
	before := proxy.Stats().Trips
	f()
	return proxy.Stats().Trips - before
}

// deliverMany delivers n short messages to a user "user".
func deliverMany(t *testing.T, server *dovecot.Server, n int) {
	t.Helper()
	start := time.Now().Add(-time.Hour)
	for i := range n {
		raw := fmt.Appendf(nil, "Subject: %d\r\n\r\nbody\r\n", i)
		if err := server.Deliver("user", "INBOX", raw, start.Add(time.Duration(i)*time.Millisecond), false); err != nil {
			t.Fatal(err)
		}
	}
}

// What a poll with nothing new costs: one round trip for the sign-in where the
// server tells its capabilities unasked, one for the folders however many, one
// for the listing, one to say goodbye.
func TestRoundTripsOfAPoll(t *testing.T) {
	server := dovecot.Start(t, dovecot.Options{})
	deliverMany(t, server, 10)
	proxy, s := counted(t, server.IMAP())
	var cursor sources.Cursor
	poll := func() {
		t.Helper()
		folders, err := s.Folders(t.Context())
		if err != nil || len(folders) != 1 {
			t.Fatal(folders, err)
		}
		listing, err := s.List(t.Context(), folders[0], cursor)
		if err != nil {
			t.Fatal(err)
		}
		for {
			page, err := listing.Next(t.Context(), 256)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
		}
		cursor = listing.Cursor(nil)
	}
	if n := trips(proxy, poll); n > 4 {
		t.Errorf("the first poll took %d round trips, want 4: sign-in, folders, listing, what the messages are", n)
	}
	if n := trips(proxy, poll); n > 2 {
		t.Errorf("a poll with nothing new took %d round trips, want 2", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	proxy, s = counted(t, server.IMAP())
	if n := trips(proxy, func() {
		poll()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}); n > 4 {
		t.Errorf("connecting, polling with nothing new and leaving took %d round trips, want 4", n)
	}
}

// A server that does not tell its capabilities is asked, once before and once
// after the sign-in.
func TestRoundTripsOfASignIn(t *testing.T) {
	server, err := imaptest.StartScript(imaptest.Script{Messages: five()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	proxy, s := counted(t, server.Addr())
	if n := trips(proxy, func() {
		if _, err := s.List(t.Context(), inbox, ""); err != nil {
			t.Fatal(err)
		}
	}); n > 4 {
		t.Errorf("%d round trips, want 4: capabilities, sign-in, capabilities, listing", n)
	}
}

func TestRoundTripsOfManyFolders(t *testing.T) {
	server := dovecot.Start(t, dovecot.Options{})
	folders := []string{"Inbox"}
	for i := range 20 {
		name := fmt.Sprint("folder", i)
		folders = append(folders, name)
		if err := server.Deliver("user", name, []byte("Subject: x\r\n\r\n"), time.Now(), false); err != nil {
			t.Fatal(err)
		}
	}
	proxy, s := counted(t, server.IMAP(), func(c *imap.Config) { c.Folders = folders })
	if n := trips(proxy, func() {
		found, err := s.Folders(t.Context())
		if err != nil || len(found) != len(folders) {
			t.Error(found, err)
		}
	}); n > 3 {
		t.Errorf("%d round trips, want 3: sign-in, separator, folders", n)
	}
	if n := trips(proxy, func() {
		if _, err := s.Folders(t.Context()); err != nil {
			t.Error(err)
		}
	}); n > 1 {
		t.Errorf("then %d round trips, want 1", n)
	}
}

// A first run in chunks, as the engine makes it: each costs one round trip on
// each connection, and what is the same for all is asked once.
func TestRoundTripsOfAFirstRun(t *testing.T) {
	const messages, chunk = 2000, 256
	server := dovecot.Start(t, dovecot.Options{})
	deliverMany(t, server, messages)
	for _, action := range []sources.Action{{Verb: sources.Keep}, {Verb: sources.MarkRead}, {Verb: sources.Delete}} {
		t.Run(string(action.Verb), func(t *testing.T) {
			proxy, s := counted(t, server.IMAP())
			var fetched atomic.Int64
			settled := 0
			n := trips(proxy, func() {
				listing, err := s.List(t.Context(), inbox, "")
				if err != nil {
					t.Fatal(err)
				}
				for {
					page, err := listing.Next(t.Context(), chunk)
					if err != nil {
						t.Fatal(err)
					}
					if len(page) == 0 {
						return
					}
					err = s.Fetch(t.Context(), inbox, page, func(_ sources.Ref, m *sources.Message) error {
						if m.Err != nil {
							return m.Err
						}
						fetched.Add(1)
						_, err := io.Copy(io.Discard, m.Body)
						return err
					})
					if err != nil {
						t.Fatal(err)
					}
					var keys []string
					for _, ref := range page {
						keys = append(keys, ref.Key)
					}
					err = s.Settle(t.Context(), inbox, keys, action, func(_ string, err error) {
						if err == nil {
							settled++
						}
					})
					if err != nil {
						t.Fatal(err)
					}
				}
			})
			if fetched.Load() != messages || settled != messages {
				t.Fatalf("%d fetched and %d settled of %d", fetched.Load(), settled, messages)
			}
			// Two sign-ins and selections to read, one to write on each connection,
			// what the messages are in two goes.
			chunks := (messages + chunk - 1) / chunk
			most := 4 + 2 + 2 + 2*chunks
			switch action.Verb {
			case sources.MarkRead:
				most += chunks
			case sources.Delete:
				most += 2 * chunks
			}
			if n > most {
				t.Errorf("%d round trips for %d messages in %d chunks, want at most %d", n, messages, chunks, most)
			}
			t.Logf("%d round trips", n)
		})
	}
}
