package graphtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"postroom/internal/graphtest"
)

// outcome is what a client sees of an answer.
type outcome struct {
	status int
	header http.Header
	body   string
	err    error // of the request, or of reading the body
}

func (c *client) outcome(method, path string, body any) outcome {
	c.Helper()
	resp, err := c.send(method, path, body)
	if err != nil {
		return outcome{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return outcome{resp.StatusCode, resp.Header, string(text), err}
}

func TestFaults(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	for n := range 4 {
		m.Deliver("Inbox", graphtest.Mail{Raw: sample(n)})
	}
	c := signedIn(t, s)
	id := m.Messages("Inbox")[0].ImmutableID
	whole := string(graphtest.Render(sample(0)))
	const delta = "mailFolders/inbox/messages/delta()?$select=isRead"
	good := c.outcome("GET", delta, nil)
	fault := func(kind graphtest.FaultKind, f graphtest.Fault) {
		f.Kind = kind
		s.Inject("delta", 1, f)
		s.Inject("value", 1, f)
	}
	entries := func(o outcome) []any {
		var page map[string]any
		if err := json.Unmarshal([]byte(o.body), &page); err != nil {
			return nil
		}
		list, _ := page["value"].([]any)
		return list
	}
	for _, test := range []struct {
		kind         graphtest.FaultKind
		fault        graphtest.Fault
		delta, value func(outcome) bool
	}{
		{graphtest.FaultUnavailable, graphtest.Fault{}, status(503, "ServiceUnavailable"), status(503, "")},
		{graphtest.FaultThrottleBare, graphtest.Fault{}, func(o outcome) bool { return o.status == 429 && o.header.Get("Retry-After") == "" }, status(429, "")},
		{graphtest.FaultBadGateway, graphtest.Fault{}, func(o outcome) bool {
			return o.status == 502 && o.header.Get("Content-Type") == "text/html" && strings.HasPrefix(o.body, "<html>")
		}, status(502, "<html>")},
		{graphtest.FaultGatewayTime, graphtest.Fault{}, status(504, ""), status(504, "")},
		{graphtest.FaultInternal, graphtest.Fault{}, status(500, "ErrorInternalServerError"), status(500, "")},
		{graphtest.FaultReset, graphtest.Fault{}, func(o outcome) bool { return o.err != nil }, func(o outcome) bool { return o.err != nil }},
		{graphtest.FaultGone, graphtest.Fault{}, func(o outcome) bool {
			return o.status == 410 && strings.Contains(o.body, "SyncStateNotFound") && strings.HasSuffix(o.header.Get("Location"), "$deltatoken=")
		}, nil},
		{graphtest.FaultValue, graphtest.Fault{}, nil, status(500, "ErrorMimeContentConversionFailed")},
		{graphtest.FaultCut, graphtest.Fault{After: 10}, func(o outcome) bool { return o.status == 200 && o.err != nil && o.body == good.body[:10] },
			func(o outcome) bool { return o.err != nil && o.body == whole[:10] }},
		{graphtest.FaultCut, graphtest.Fault{Announced: true}, func(o outcome) bool { return o.err != nil },
			func(o outcome) bool {
				return o.err != nil && o.body == whole[:len(whole)/2] && o.header.Get("Content-Length") == fmt.Sprint(len(whole))
			}},
		{graphtest.FaultTruncate, graphtest.Fault{}, nil, func(o outcome) bool { return o.err == nil && o.body == whole[:len(whole)/2] }},
		{graphtest.FaultMangle, graphtest.Fault{}, func(o outcome) bool { return o.status == 200 && !json.Valid([]byte(o.body)) }, nil},
		{graphtest.FaultEmptyResponse, graphtest.Fault{}, func(o outcome) bool { return o.status == 200 && o.body == "" }, nil},
		{graphtest.FaultDuplicate, graphtest.Fault{}, func(o outcome) bool { return len(entries(o)) == 6 }, nil},
		{graphtest.FaultOdd, graphtest.Fault{}, func(o outcome) bool {
			return len(entries(o)) == 5 && entries(o)[0] == nil && entries(o)[1].(map[string]any)["isRead"] == "false"
		}, nil},
		{graphtest.FaultEmptyPage, graphtest.Fault{}, func(o outcome) bool {
			return len(entries(o)) == 0 && strings.Contains(o.body, "nextLink") && !strings.Contains(o.body, "deltaLink")
		}, nil},
	} {
		path := delta
		if test.kind == graphtest.FaultGone {
			_, path = c.all(delta)
		}
		fault(test.kind, test.fault)
		if got := c.outcome("GET", path, nil); test.delta != nil && !test.delta(got) {
			t.Errorf("%s of a delta: %+v", test.kind, got)
		}
		if got := c.outcome("GET", "messages/"+id+"/$value", nil); test.value != nil && !test.value(got) {
			t.Errorf("%s of a message: %+v", test.kind, got)
		}
		s.Heal()
		if got := c.outcome("GET", "messages/"+id+"/$value", nil); got.body != whole || got.err != nil {
			t.Errorf("after %s: %+v", test.kind, got)
		}
	}
	// An empty page leads to all that there is.
	s.Inject("delta", 2, graphtest.Fault{Kind: graphtest.FaultEmptyPage})
	if list, link := c.all(delta); len(list) != 4 || link == "" {
		t.Errorf("%v %s", list, link)
	}
	s.Inject("delta", 2, graphtest.Fault{Kind: graphtest.FaultReplay})
	if list, link := c.all(delta); len(list) != 12 || link == "" {
		t.Errorf("%v %s", list, link)
	}
	ordered, _ := c.all(delta)
	s.Inject("delta", 1, graphtest.Fault{Kind: graphtest.FaultShuffle})
	shuffled, _ := c.all(delta)
	was, is := values(ordered, "id"), values(shuffled, "id")
	if slices.Equal(was, is) {
		t.Error("the order is the same")
	}
	slices.Sort(was)
	slices.Sort(is)
	if !slices.Equal(was, is) {
		t.Errorf("%v for %v", is, was)
	}
	// A link that is lost stays so; a round that begins has none.
	_, link := c.all(delta)
	s.Inject("delta", 1, graphtest.Fault{Kind: graphtest.FaultGone})
	c.get(delta)
	c.refused(410, "SyncStateNotFound", "GET", link, nil)
	c.refused(410, "SyncStateNotFound", "GET", link, nil)
	// A token that was lost is no use any more; another is.
	s.Inject("delta", 1, graphtest.Fault{Kind: graphtest.FaultUnauthorized})
	c.refused(401, "InvalidAuthenticationToken", "GET", delta, nil)
	c.refused(401, "InvalidAuthenticationToken", "GET", "mailFolders", nil)
	c.token = signedIn(t, s).token
	c.get("mailFolders")
}

func status(want int, part string) func(outcome) bool {
	return func(o outcome) bool { return o.status == want && o.err == nil && strings.Contains(o.body, part) }
}

// What was done although the answer was lost is done.
func TestLostAnswers(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	c := signedIn(t, s)
	for n, kind := range []graphtest.FaultKind{graphtest.FaultLost, graphtest.FaultLateGateway, graphtest.FaultCut, graphtest.FaultReset} {
		item := m.Deliver("Inbox", graphtest.Mail{Raw: sample(n)})
		s.Inject("move", 1, graphtest.Fault{Kind: kind})
		got := c.outcome("POST", "messages/"+item.ImmutableID+"/move", map[string]any{"DestinationId": "archive"})
		if kind == graphtest.FaultLateGateway && got.status != 504 || kind != graphtest.FaultLateGateway && got.err == nil {
			t.Errorf("%s: %+v", kind, got)
		}
		now, _ := m.Find(item.ImmutableID)
		if moved := now.Folder == "Archive"; moved != (kind != graphtest.FaultReset) {
			t.Errorf("%s: it is in %s", kind, now.Folder)
		}
	}
}

// What hangs does so until the client or the server ends.
func TestHang(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	item := m.Deliver("Inbox", graphtest.Mail{Raw: sample(1)})
	c := signedIn(t, s)
	s.Inject("folders", -1, graphtest.Fault{Kind: graphtest.FaultHang})
	s.Inject("value", -1, graphtest.Fault{Kind: graphtest.FaultStall, After: 5})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.GraphURL()+"/v1.0/users/"+address+"/messages/"+item.ID+"/$value", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the beginning comes %v", err)
	}
	done := make(chan outcome)
	go func() { done <- c.outcome("GET", "mailFolders", nil) }()
	for s.Counts()["folders"] == 0 {
		runtime.Gosched()
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := <-done; got.err == nil {
		t.Errorf("%+v", got)
	}
}

// The faults of a plan follow from the seed.
func TestPlan(t *testing.T) {
	play := func(seed uint64, reverse bool) (faults []string, failed int) {
		clock := newClock()
		s := graphtest.Start(t, graphtest.Options{Clock: clock.now})
		m := s.AddMailbox(address, graphtest.MailboxOptions{})
		var ids []string
		for n := range 30 {
			ids = append(ids, m.Deliver("Inbox", graphtest.Mail{Raw: sample(n)}).ImmutableID)
		}
		if reverse {
			slices.Reverse(ids)
		}
		c := signedIn(t, s)
		s.SetPlan(graphtest.Plan{Seed: seed, Rate: 0.4, Kinds: slices.DeleteFunc(graphtest.AllFaults(), func(k graphtest.FaultKind) bool {
			return k == graphtest.FaultUnauthorized
		})})
		for _, id := range ids {
			for attempt := range 3 {
				got := c.outcome("GET", "messages/"+id+"/$value", nil)
				clock.pass(2e9)
				if got.err == nil && got.status == 200 {
					break
				}
				failed++
				if attempt == 2 {
					t.Errorf("more than two in a row fail: %+v", got)
				}
			}
		}
		for _, r := range s.Requests() {
			if r.Fault != "" {
				faults = append(faults, r.URL+" "+string(r.Fault))
			}
		}
		slices.Sort(faults)
		return faults, failed
	}
	first, failed := play(7, false)
	again, _ := play(7, true)
	other, _ := play(8, false)
	if !slices.Equal(first, again) {
		t.Errorf("the same seed plays\n%v\nand\n%v", first, again)
	}
	if slices.Equal(first, other) {
		t.Error("another seed plays the same")
	}
	if len(first) < 5 || failed != len(first) {
		t.Errorf("%d faults, %d requests failed", len(first), failed)
	}
}
