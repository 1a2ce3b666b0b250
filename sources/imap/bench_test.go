package imap_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/internal/dovecot"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/imap"
)

// benchSource opens the mailbox of user "user" of a Dovecot, without TLS.
func benchSource(t testing.TB, server *dovecot.Server) *imap.Source {
	t.Helper()
	s, err := imap.Open(imap.Config{
		Options: imap.Options{Server: server.IMAP(), TLS: "none", AllowPlaintext: true},
		Name:    "bench", Username: "user", Password: secret.New("secret"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// all returns the refs of a folder.
func all(t testing.TB, s *imap.Source, most int) []sources.Ref {
	t.Helper()
	listing, err := s.List(t.Context(), inbox, "")
	if err != nil {
		t.Fatal(err)
	}
	var refs []sources.Ref
	for {
		page, err := listing.Next(t.Context(), most)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return refs
		}
		refs = append(refs, page...)
	}
}

// TestLargeMessageNeedsLittleMemory fetches 150 MB. What is allocated for it,
// freed or not, must be small, so that the size of a message never matters.
func TestLargeMessageNeedsLittleMemory(t *testing.T) {
	const size = 150_000_000
	server := dovecot.Start(t, dovecot.Options{})
	line := append(bytes.Repeat([]byte("0123456789abcdef"), 4), '\r', '\n')
	raw := append([]byte("Subject: large\r\n\r\n"), bytes.Repeat(line, size/len(line))...)
	if err := server.Deliver("user", "INBOX", raw, time.Now(), false); err != nil {
		t.Fatal(err)
	}
	want := int64(len(raw))
	raw = nil
	s := benchSource(t, server)
	refs := all(t, s, 10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	err := s.Fetch(t.Context(), inbox, refs, func(_ sources.Ref, m *sources.Message) error {
		if m.Err != nil {
			return m.Err
		}
		n, err := io.Copy(io.Discard, m.Body)
		if n != want {
			t.Errorf("%d bytes, want %d", n, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d bytes in %v, %d bytes allocated", want, time.Since(start), allocated)
	if allocated > 2<<20 {
		t.Errorf("%d bytes allocated for a message of %d", allocated, want)
	}
}

// BenchmarkFetch fetches 2,000 messages as they are in business mail: most of
// 4 to 20 kB, a quarter of 50 to 300 kB. It reports messages a second.
func BenchmarkFetch(b *testing.B) {
	server := dovecot.Start(b, dovecot.Options{})
	start := time.Now().Add(-time.Hour)
	for i := range 2000 {
		size := 4_000 + i*7919%16_000
		if i%4 == 0 {
			size = 50_000 + i*7919%250_000
		}
		raw := append(fmt.Appendf(nil, "Subject: %d\r\n\r\n", i), bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef\r\n"), size/50)...)
		if err := server.Deliver("user", "INBOX", raw, start.Add(time.Duration(i)*time.Millisecond), false); err != nil {
			b.Fatal(err)
		}
	}
	s := benchSource(b, server)
	refs := all(b, s, 500)
	b.ReportAllocs()
	for b.Loop() {
		var n, size atomic.Int64
		for from := 0; from < len(refs); from += 500 {
			err := s.Fetch(b.Context(), inbox, refs[from:from+500], func(_ sources.Ref, m *sources.Message) error {
				if m.Err != nil {
					return m.Err
				}
				read, err := io.Copy(io.Discard, m.Body)
				n.Add(1)
				size.Add(read)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		if n.Load() != int64(len(refs)) {
			b.Fatalf("%d of %d messages", n.Load(), len(refs))
		}
		b.SetBytes(size.Load())
	}
	b.ReportMetric(float64(len(refs))*float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkPoll asks a folder of 100,000 messages for new ones, of which there
// are none.
func BenchmarkPoll(b *testing.B) {
	server := dovecot.Start(b, dovecot.Options{})
	start := time.Now().Add(-48 * time.Hour)
	for i := range 100_000 {
		if err := server.Deliver("user", "INBOX", []byte("Subject: x\r\n\r\n"), start.Add(time.Duration(i)*time.Second), true); err != nil {
			b.Fatal(err)
		}
	}
	s := benchSource(b, server)
	listing, err := s.List(b.Context(), inbox, "")
	if err != nil {
		b.Fatal(err)
	}
	for listing.Remaining() > 0 {
		if _, err := listing.Next(b.Context(), 5000); err != nil {
			b.Fatal(err)
		}
	}
	cursor := listing.Cursor(nil)
	// Dovecot reads the directory at each look until a session that may write
	// has ended some seconds after the last change, and then in sessions that
	// begin after it no more.
	for settled := time.Now().Add(time.Minute); time.Now().Before(settled); {
		err := server.Do("user", func(client *imapclient.Client) error {
			_, err := client.Select("INBOX", nil).Wait()
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		s = benchSource(b, server)
		begin := time.Now()
		if _, err := s.List(b.Context(), inbox, cursor); err != nil {
			b.Fatal(err)
		}
		if time.Since(begin) < 100*time.Millisecond {
			break
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		listing, err := s.List(b.Context(), inbox, cursor)
		if err != nil || listing.Remaining() != 0 {
			b.Fatal(listing, err)
		}
	}
}
