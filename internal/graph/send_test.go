package graph

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inWorld runs the test with a mailbox in a world of its own, in which time is
// that of the test.
func inWorld(t *testing.T, graph http.HandlerFunc, test func(t *testing.T, f *world, m *Mailbox)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &world{graph: graph}
		test(t, f, f.open(t, new(Clients), settings()).Mailbox("a@example.com"))
	})
}

const folderJSON = `{"id":"AAMkFolder1","displayName":"Inbox","totalItemCount":3}`

// TestFourAtOnceIsWhatItTakes: no request waits for anything but its turn.
func TestFourAtOnceIsWhatItTakes(t *testing.T) {
	const messages, trip = 1000, 50 * time.Millisecond
	inWorld(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(trip)
		fmt.Fprint(w, "From: a@example.com\r\n\r\n")
	}, func(t *testing.T, f *world, m *Mailbox) {
		begin := time.Now()
		var all sync.WaitGroup
		for range messages {
			all.Go(func() {
				content, err := m.Content(t.Context(), "AAMkMessage1")
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, content.Body)
				if err := errors.Join(err, content.Body.Close()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(begin); took > messages/4*trip {
			t.Errorf("%d messages took %v, and four at once need %v", messages, took, messages/4*trip)
		}
	})
}

func TestRetryAfterIsKeptExactly(t *testing.T) {
	for header, want := range map[string]time.Duration{"3": 3 * time.Second, "0": 0, "2.5": 2500 * time.Millisecond, "120": 2 * time.Minute} {
		var last time.Time
		refusals := 2
		inWorld(t, func(w http.ResponseWriter, r *http.Request) {
			if !last.IsZero() && time.Since(last) < want {
				t.Errorf("Retry-After: %s: asked again after %v", header, time.Since(last))
			}
			last = time.Now()
			if refusals--; refusals >= 0 {
				w.Header().Set("Retry-After", header)
				refuse(w, 429, "ApplicationThrottled", "slow down")
				return
			}
			fmt.Fprint(w, folderJSON)
		}, func(t *testing.T, f *world, m *Mailbox) {
			for {
				start := time.Now()
				_, err := m.Folder(t.Context(), "inbox")
				var throttled *ThrottledError
				if errors.As(err, &throttled) {
					if time.Since(start) > time.Second || time.Until(throttled.Until) > want {
						t.Errorf("Retry-After: %s: throttled until %v from now", header, time.Until(throttled.Until))
					}
					// Nobody else gets through meanwhile.
					before := f.requests()
					if _, err := m.Children(t.Context(), ""); !errors.As(err, &throttled) || f.requests() != before {
						t.Errorf("another call for the throttled mailbox: %v", err)
					}
					time.Sleep(time.Until(throttled.Until))
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if f.requests() != 3 {
				t.Errorf("%d requests, want 3", f.requests())
			}
		})
	}
}

// A date in Retry-After is compared with the server's clock.
func TestRetryAfterDate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	server := now.Add(-2 * time.Hour)
	h := http.Header{"Retry-After": {server.Add(30 * time.Second).Format(http.TimeFormat)}}
	if until, said := retryAfter(h, server, now); !said || !until.Equal(now.Add(30*time.Second)) {
		t.Errorf("until %v, want 30 s from %v", until, now)
	}
	for _, text := range []string{"", "soon", "-5", "1e300", "NaN"} {
		if _, said := retryAfter(http.Header{"Retry-After": {text}}, server, now); said {
			t.Errorf("%q is taken as a time", text)
		}
	}
}

// A throttled mailbox slows itself alone.
func TestOtherMailboxesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &world{graph: func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "slow@") {
				w.Header().Set("Retry-After", "600")
				refuse(w, 429, "ApplicationThrottled", "slow down")
				return
			}
			fmt.Fprint(w, folderJSON)
		}}
		clients := new(Clients)
		c := f.open(t, clients, settings())
		slow, quick := c.Mailbox("slow@example.com"), c.Mailbox("quick@example.com")
		var throttled *ThrottledError
		if _, err := slow.Folder(t.Context(), "inbox"); !errors.As(err, &throttled) {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := quick.Folder(t.Context(), "inbox"); err != nil || time.Since(start) > 0 {
			t.Errorf("the other mailbox: %v after %v", err, time.Since(start))
		}
		// Another source of the same mailbox shares its turn, in whatever case.
		again := f.open(t, clients, settings()).Mailbox("Slow@Example.com")
		if _, err := again.Folder(t.Context(), "inbox"); !errors.As(err, &throttled) {
			t.Errorf("another source of the throttled mailbox: %v", err)
		}
		if f.tokens != 1 {
			t.Errorf("%d tokens for sources that share credentials, want 1", f.tokens)
		}
	})
}

func TestErrorsOfEveryForm(t *testing.T) {
	for name, row := range map[string]struct {
		status   int
		body     string
		want     string
		requests int
	}{
		"Graph's":           {403, `{"error":{"code":"ErrorAccessDenied","message":"Access is denied.","innerError":{"request-id":"r-2","date":"x"}}}`, "HTTP 403 ErrorAccessDenied: Access is denied. (request id r-2)", 1},
		"nested":            {400, `{"error":{"code":"BadRequest","message":"outer","innererror":{"code":"ErrorInvalidIdMalformed"}}}`, "ErrorInvalidIdMalformed", 1},
		"HTML":              {502, `<html>Bad Gateway</html>`, "HTTP 502: the answer is not one of Graph", 3},
		"empty":             {504, ``, "HTTP 504", 3},
		"without a message": {404, `{"error":{"code":"ErrorItemNotFound"}}`, "HTTP 404 ErrorItemNotFound", 1},
		"another's":         {404, `{"message":"no"}`, "HTTP 404", 1},
		"odd":               {500, `{"error":"x"}`, "HTTP 500", 3},
		"redirect":          {302, ``, "redirect", 1},
		"with a token":      {400, `{"error":{"code":"X","message":"Bearer eyJ0eXAiOiJKV1QiLCJ.eyJhdWQiOiJ.sig-_x and ` + hidden + `"}}`, "Bearer *** and ***", 1},
	} {
		inWorld(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(row.status)
			io.WriteString(w, row.body)
		}, func(t *testing.T, f *world, m *Mailbox) {
			_, err := m.Folder(t.Context(), "inbox")
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), hidden) || strings.Contains(err.Error(), "sig-_x") {
				t.Errorf("%s: %v, want %q", name, err, row.want)
			}
			if f.requests() != row.requests {
				t.Errorf("%s: %d requests, want %d", name, f.requests(), row.requests)
			}
		})
	}
}

func TestWaitsEnd(t *testing.T) {
	inWorld(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/$value") {
			io.WriteString(w, "Subject: x\r\n")
		}
		<-r.Context().Done()
	}, func(t *testing.T, f *world, m *Mailbox) {
		start := time.Now()
		var lost *ConnError
		if _, err := m.Folder(t.Context(), "inbox"); !errors.As(err, &lost) || time.Since(start) > 7*time.Minute {
			t.Errorf("no answer: %v after %v", err, time.Since(start))
		}
		start = time.Now()
		content, err := m.Content(t.Context(), "AAMkMessage1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(content.Body); !errors.As(err, &lost) || time.Since(start) != time.Minute {
			t.Errorf("an answer that stops: %v after %v", err, time.Since(start))
		}
		content.Body.Close()
		if m.lane.inUse != 0 {
			t.Errorf("%d turns not given back", m.lane.inUse)
		}
	})
}

// TestLeftRequestsKeepTheirTurns: the server counts a request until it has
// answered, whether or not anybody still waits for that.
func TestLeftRequestsKeepTheirTurns(t *testing.T) {
	const trip = 10 * time.Second
	var busy, most atomic.Int32
	inWorld(t, func(w http.ResponseWriter, r *http.Request) {
		for n := busy.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		select {
		case <-time.After(trip):
		case <-r.Context().Done():
		}
		busy.Add(-1)
		fmt.Fprint(w, folderJSON)
	}, func(t *testing.T, f *world, m *Mailbox) {
		leave := func() {
			t.Helper()
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					if _, err := m.Folder(ctx, "inbox"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
						t.Errorf("whoever leaves is told %v after %v", err, time.Since(start))
					}
				})
			}
			all.Wait()
		}
		start := time.Now()
		leave()
		if _, err := m.Folder(t.Context(), "inbox"); err != nil || time.Since(start) != 2*trip || most.Load() != 4 {
			t.Errorf("the next one: %v after %v, %d at once", err, time.Since(start), most.Load())
		}
		leave()
		start = time.Now()
		m.Close()
		if m.lane.inUse != 0 || time.Since(start) > 0 {
			t.Errorf("%d turns are not given back by the last use, which takes %v to end", m.lane.inUse, time.Since(start))
		}
		if _, err := m.clients.Open(settings()); err != nil { // which the end of the test closes
			t.Error(err)
		}
	})
}

// TestServerIsTold: a turn is not given back before the server has been told that
// the answer is not wanted any more.
func TestServerIsTold(t *testing.T) {
	var mu sync.Mutex
	most, under := 0, make(map[*http.Request]bool)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		under[r] = true
		now := 0
		for r := range under {
			if r.Context().Err() == nil {
				now++
			}
		}
		most = max(most, now)
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			delete(under, r)
		}()
		for piece := make([]byte, 16<<10); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	host, f := strings.TrimPrefix(server.URL, "https://"), new(world)
	c := f.open(t, new(Clients), settings())
	c.rt = roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != c.host {
			return f.RoundTrip(r)
		}
		r = r.Clone(r.Context())
		r.URL.Host = host
		return server.Client().Transport.RoundTrip(r)
	})
	m := c.Mailbox("a@example.com")
	for n := range 500 {
		ctx, cancel := context.WithCancel(t.Context())
		content, err := m.Content(ctx, "AAMkMessage1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(content.Body, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 {
			cancel()
			if _, err := io.Copy(io.Discard, content.Body); !errors.Is(err, context.Canceled) {
				t.Errorf("after the end of the context: %v", err)
			}
		}
		if err := content.Body.Close(); err != nil {
			t.Error(err)
		}
		cancel()
	}
	mu.Lock()
	defer mu.Unlock()
	if most != 1 {
		t.Errorf("%d at once, of requests one after the other", most)
	}
}

// A slow reader is not a silent server.
func TestSlowReader(t *testing.T) {
	inWorld(t, func(w http.ResponseWriter, r *http.Request) {
		for range 20 {
			io.WriteString(w, "x")
		}
	}, func(t *testing.T, f *world, m *Mailbox) {
		content, err := m.Content(t.Context(), "AAMkMessage1")
		if err != nil {
			t.Fatal(err)
		}
		defer content.Body.Close()
		for i := range 20 {
			time.Sleep(10 * time.Minute)
			if _, err := content.Body.Read(make([]byte, 1)); err != nil {
				t.Fatal(i, err)
			}
		}
	})
}

func TestForeignLinks(t *testing.T) {
	inWorld(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"value":[null],"@odata.nextLink":"https://evil.example/v1.0/users('a')/mailFolders('b')/messages/delta?$skiptoken=x"}`)
	}, func(t *testing.T, f *world, m *Mailbox) {
		for _, link := range []string{
			"https://evil.example/v1.0/users/a/mailFolders/b/messages/delta", "http://graph.microsoft.com/v1.0/users/a", "https://graph.microsoft.com.evil.example/v1.0/users",
			"https://graph.microsoft.com/beta/users/a", "https://u:p@graph.microsoft.com/v1.0/users/a", "https://graph.microsoft.com:444/v1.0/users/a", "::", "/v1.0/users/a",
		} {
			if _, err := m.Changes(t.Context(), "f", link, 10); !errors.Is(err, ErrForeignLink) {
				t.Errorf("%s: %v", link, err)
			}
		}
		if f.requests() != 0 {
			t.Errorf("%d requests went out", f.requests())
		}
		if _, err := m.Changes(t.Context(), "f", "", 10); !errors.Is(err, ErrForeignLink) {
			t.Errorf("a page that leads elsewhere: %v", err)
		}
	})
}

func TestWhatIsSent(t *testing.T) {
	var got []string
	inWorld(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(orNothing(r.Body))
		if r.Header.Get("Authorization") == "" || r.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s %s: header %v", r.Method, r.URL, r.Header)
		}
		got = append(got, fmt.Sprintf("%s %s %s %q", r.Method, r.URL.RequestURI(), body, r.Header["Prefer"]))
		fmt.Fprint(w, `{"value":[],"@odata.deltaLink":"https://graph.microsoft.com/v1.0/users/x/mailFolders/y/messages/delta?$deltatoken=1"}`)
	}, func(t *testing.T, f *world, m *Mailbox) {
		ctx := t.Context()
		for _, call := range []func() error{
			func() error { _, err := m.Changes(ctx, "AAMk=", "", 50); return err },
			func() error {
				_, err := m.Changes(ctx, "AAMk=", "https://graph.microsoft.com/v1.0/users('x')/mailFolders('y')/messages/delta?$deltatoken=a%20b", 50)
				return err
			},
			func() error { return m.MarkRead(ctx, "AAMk-_=") },
			func() error { return m.Move(ctx, "AAMk1", "deleteditems") },
			func() error { return m.DeleteForGood(ctx, "AAMk1") },
			func() error { _, err := m.CreateFolder(ctx, "", "Größe & Co/50%"); return err },
			func() error { _, err := m.AttachmentContent(ctx, "AAMk1", "ATT="); return err },
		} {
			if err := call(); err != nil {
				t.Error(err)
			}
		}
	})
	want := []string{
		`GET /v1.0/users/a%40example.com/mailFolders/AAMk%3D/messages/delta()?$select=id,receivedDateTime,isRead,isDraft  ["IdType=\"ImmutableId\"" "odata.maxpagesize=50"]`,
		`GET /v1.0/users('x')/mailFolders('y')/messages/delta?$deltatoken=a%20b  ["IdType=\"ImmutableId\"" "odata.maxpagesize=50"]`,
		`PATCH /v1.0/users/a%40example.com/messages/AAMk-_%3D {"@odata.type":"#microsoft.graph.message","isRead":true} ["IdType=\"ImmutableId\""]`,
		`POST /v1.0/users/a%40example.com/messages/AAMk1/move {"DestinationId":"deleteditems"} ["IdType=\"ImmutableId\""]`,
		`POST /v1.0/users/a%40example.com/messages/AAMk1/permanentDelete  ["IdType=\"ImmutableId\""]`,
		`POST /v1.0/users/a%40example.com/mailFolders {"displayName":"Größe & Co/50%"} []`,
		`GET /v1.0/users/a%40example.com/messages/AAMk1/attachments/ATT%3D/$value  ["IdType=\"ImmutableId\""]`,
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			break
		}
	}
}

func orNothing(r io.Reader) io.Reader {
	if r == nil {
		return strings.NewReader("")
	}
	return r
}

// Only Exchange's own word says that something is gone.
func TestWhatErrorsSay(t *testing.T) {
	for _, row := range []struct {
		err                              *Error
		gone, notFound, cursor, noChange bool
	}{
		{&Error{Status: 404, Code: "ErrorItemNotFound"}, true, true, false, false},
		{&Error{Status: 404, Code: "erroritemnotfound"}, true, true, false, false},
		{&Error{Status: 404, Code: "ErrorFolderNotFound"}, false, true, false, false},
		{&Error{Status: 404}, false, false, false, false},
		{&Error{Status: 404, Code: "MailboxNotEnabledForRESTAPI"}, false, false, false, false},
		{&Error{Status: 404, Code: "ErrorInvalidUser"}, false, false, false, false},
		{&Error{Status: 410, Code: "SyncStateNotFound"}, false, false, true, false},
		{&Error{Status: 410}, false, false, true, false},
		{&Error{Status: 400, Code: "syncStateInvalid"}, false, false, true, false},
		{&Error{Status: 400, Code: "BadRequest", Message: "Resource not found for the segment 'delta'."}, false, false, false, true},
		{&Error{Status: 503, Message: "segment 'delta'"}, false, false, false, false},
	} {
		if ItemGone(row.err) != row.gone || NotFound(row.err) != row.notFound || CursorLost(row.err) != row.cursor || NoDelta(row.err) != row.noChange {
			t.Errorf("%v: gone %v, not found %v, cursor lost %v, no delta %v", row.err, ItemGone(row.err), NotFound(row.err), CursorLost(row.err), NoDelta(row.err))
		}
	}
}
