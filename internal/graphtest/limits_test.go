package graphtest_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"postroom/internal/graphtest"
)

// More than four requests at a time are refused, whatever they ask for.
func TestConcurrency(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	s.AddMailbox("other@contoso.example", graphtest.MailboxOptions{})
	// Larger than what a connection holds, so that it is under way until it is read.
	large := append(sample(1), bytes.Repeat([]byte("0123456789abcdef\r\n"), 1<<20)...)
	item := m.Deliver("Inbox", graphtest.Mail{Raw: large, Verbatim: true})
	c := signedIn(t, s)
	var bodies []io.ReadCloser
	for range 4 {
		resp, err := c.send(http.MethodGet, "messages/"+item.ID+"/$value", nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		bodies = append(bodies, resp.Body)
	}
	c.refused(429, "ApplicationThrottled", http.MethodGet, "mailFolders", nil)
	c.get("/users/other@contoso.example/mailFolders")
	for _, body := range bodies {
		if n, err := io.Copy(io.Discard, body); err != nil || n != int64(len(large)) {
			t.Errorf("%d bytes of %d, %v", n, len(large), err)
		}
		body.Close()
	}
	if most := s.MaxConcurrency(); most != 5 {
		t.Errorf("%d requests at a time", most)
	}
}

func TestRequestLimit(t *testing.T) {
	clock := newClock()
	s := graphtest.Start(t, graphtest.Options{Clock: clock.now, Limits: graphtest.Limits{Requests: 20}})
	s.AddMailbox(address, graphtest.MailboxOptions{})
	c := signedIn(t, s)
	for range 20 {
		c.get("mailFolders/inbox")
	}
	clock.pass(time.Minute)
	resp, err := c.send(http.MethodGet, "mailFolders/inbox", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.decode(resp)
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "540" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if early := s.Violations(); len(early) != 0 {
		t.Errorf("%v", early)
	}
	clock.pass(539 * time.Second)
	c.refused(429, "ApplicationThrottled", http.MethodGet, "mailFolders", nil)
	if early := s.Violations(); len(early) != 1 || early[0].Kind != "folders" {
		t.Errorf("a request that came too early is not remembered: %v", early)
	}
	clock.pass(time.Second)
	c.get("mailFolders")
}

// The time of a Retry-After is one of waiting for all requests to the mailbox.
func TestRetryAfter(t *testing.T) {
	clock := newClock()
	s := graphtest.Start(t, graphtest.Options{Clock: clock.now})
	s.AddMailbox(address, graphtest.MailboxOptions{})
	c := signedIn(t, s)
	for _, kind := range []graphtest.FaultKind{graphtest.FaultThrottle, graphtest.FaultThrottleDate, graphtest.FaultBusy} {
		s.Forget()
		s.Inject("folder", 1, graphtest.Fault{Kind: kind, RetryAfter: 30 * time.Second})
		resp, err := c.send(http.MethodGet, "mailFolders/inbox", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.decode(resp)
		after := resp.Header.Get("Retry-After")
		if date, err := http.ParseTime(after); after != "30" && (err != nil || date.Sub(clock.now()) < 30*time.Second || date.Sub(clock.now()) > 31*time.Second) {
			t.Errorf("%s: Retry-After %q at %v", kind, after, clock.now())
		}
		// On its way when the answer came.
		c.refused(429, "ApplicationThrottled", http.MethodGet, "mailFolders", nil)
		if early := s.Violations(); len(early) != 0 {
			t.Errorf("%s: %v", kind, early)
		}
		// The same request was not.
		c.refused(429, "ApplicationThrottled", http.MethodGet, "mailFolders/inbox", nil)
		if early := s.Violations(); len(early) != 1 || early[0].Kind != "folder" {
			t.Errorf("%s: %v", kind, early)
		}
		clock.pass(30*time.Second - 1)
		c.refused(429, "ApplicationThrottled", http.MethodGet, "mailFolders", nil)
		if early := s.Violations(); len(early) != 2 {
			t.Errorf("%s: %v", kind, early)
		}
		clock.pass(1)
		c.get("mailFolders")
		if early := s.Violations(); len(early) != 2 {
			t.Errorf("%s: %v", kind, early)
		}
	}
}

// Many clients at once lose and double nothing of the server's state.
func TestParallel(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{Limits: graphtest.Limits{Concurrent: 100}})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	c := signedIn(t, s)
	var running sync.WaitGroup
	for n := range 40 {
		item := m.Deliver("Inbox", graphtest.Mail{Raw: sample(n)})
		running.Go(func() {
			resp, err := c.send(http.MethodPost, "messages/"+item.ImmutableID+"/move", map[string]any{"DestinationId": "archive"})
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); resp.StatusCode != 201 || err != nil || !strings.Contains(string(body), item.ImmutableID) {
				t.Errorf("%d %s %v", resp.StatusCode, body, err)
			}
		})
	}
	running.Wait()
	if left, there := m.Messages("Inbox"), m.Messages("Archive"); len(left) != 0 || len(there) != 40 {
		t.Errorf("%d and %d", len(left), len(there))
	}
}
