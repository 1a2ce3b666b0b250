package graphtest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
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

// stuck is an answer that is not taken until it is released.
type stuck struct {
	*httptest.ResponseRecorder
	began, release chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	close(s.began)
	<-s.release
	return len(p), nil
}

// A request that its client has cut off is under way no longer, even while the
// server is still at work on it.
func TestConcurrencyOfCut(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	s.AddMailbox(address, graphtest.MailboxOptions{})
	token := signedIn(t, s).token
	var all sync.WaitGroup
	defer all.Wait()
	release := make(chan struct{})
	defer close(release)
	ask := func() (status int, cut context.CancelFunc) {
		ctx, cut := context.WithCancel(t.Context())
		t.Cleanup(cut)
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1.0/users/"+address+"/mailFolders", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := &stuck{httptest.NewRecorder(), make(chan struct{}), release}
		all.Go(func() { s.ServeHTTP(w, r) })
		<-w.began
		return w.Code, cut
	}
	var cuts []context.CancelFunc
	for n := range 6 {
		status, cut := ask()
		cuts = append(cuts, cut)
		if n >= 3 {
			cuts[n-3]()
		}
		if status != 200 || s.MaxConcurrency() != min(n+1, 4) {
			t.Fatalf("request %d: status %d, %d at a time", n, status, s.MaxConcurrency())
		}
	}
	if status, _ := ask(); status != 200 || s.MaxConcurrency() != 4 {
		t.Errorf("the fourth: status %d, %d at a time", status, s.MaxConcurrency())
	}
	if status, _ := ask(); status != 429 || s.MaxConcurrency() != 5 {
		t.Errorf("the fifth: status %d, %d at a time", status, s.MaxConcurrency())
	}
}

// line is the connections of a client, which end all at once.
type line struct {
	mu    sync.Mutex
	conns []net.Conn
	ended bool
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.ended {
		conn.Close()
		return nil, net.ErrClosed
	}
	l.conns = append(l.conns, conn)
	return conn, err
}

func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for _, conn := range l.conns {
		conn.Close()
	}
}

// Of a client that has gone nothing comes later.
func TestWaitGone(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{Limits: graphtest.Limits{Requests: 1 << 20}})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	large := append(sample(1), bytes.Repeat([]byte("0123456789abcdef\r\n"), 1<<16)...)
	item := m.Deliver("Inbox", graphtest.Mail{Raw: large, Verbatim: true})
	for range 30 {
		c, l := newClient(t, s), new(line)
		c.http.Transport.(*http.Transport).DialContext = l.dial
		_, body := c.signIn(nil)
		c.token, _ = body["access_token"].(string)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.WaitGone(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("with a connection that is open: %v", err)
		}
		s.Forget()
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				resp, err := c.send(http.MethodGet, "messages/"+item.ID+"/$value", nil)
				if err != nil {
					return // the connection has ended before
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			})
		}
		for len(s.Requests()) == 0 {
			runtime.Gosched()
		}
		l.end()
		if err := s.WaitGone(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := len(s.Requests())
		running.Wait()
		if after := len(s.Requests()); after != before {
			t.Errorf("%d requests came later", after-before)
		}
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
