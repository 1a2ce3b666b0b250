package graphtest

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Limits are those that Exchange puts on an application for one mailbox.
type Limits struct {
	// Concurrent is the most requests at a time: 4.
	Concurrent int
	// Requests is the most in a Window: 10,000 in 10 minutes.
	Requests int
	Window   time.Duration
	// PageSize is that of a list if the request does not say: 10.
	PageSize int
	// Grace is how long after an answer with Retry-After other requests still
	// arrive that were on their way: 250 ms.
	Grace time.Duration
}

func (l Limits) withDefaults() Limits {
	l.Concurrent = cmp.Or(l.Concurrent, 4)
	l.Requests = cmp.Or(l.Requests, 10_000)
	l.Window = cmp.Or(l.Window, 10*time.Minute)
	l.PageSize = cmp.Or(l.PageSize, 10)
	l.Grace = cmp.Or(l.Grace, 250*time.Millisecond)
	return l
}

// usage is what an application has asked of a mailbox.
type usage struct {
	begin    time.Time // of the window
	requests int
	// told is when the application was told to wait, for what, and until when.
	told, until time.Time
	thing       string
}

// admit takes a request to a mailbox in, or says why not. Whoever was admitted
// calls leave afterwards. The request is under way until then, or until its client
// has cut it off, which ends the context. The caller holds the mutex.
func (s *Server) admit(ctx context.Context, key string, q *Request) (leave func(), p *problem) {
	now := s.now()
	u := s.usage[key]
	if u == nil || now.Sub(u.begin) >= s.options.Limits.Window {
		next := &usage{begin: now}
		if u != nil {
			next.told, next.until, next.thing = u.told, u.until, u.thing
		}
		u = next
		s.usage[key] = u
	}
	u.requests++
	if s.running[key] == nil {
		s.running[key] = make(map[*Request]context.Context)
	}
	s.running[key][q] = ctx
	leave = func() { delete(s.running[key], q) }
	running := 0
	for _, of := range s.running[key] {
		if of.Err() == nil {
			running++
		}
	}
	s.most[key] = max(s.most[key], running)
	switch {
	case now.Before(u.until):
		// Another request may have been on its way, the same one not.
		q.Early = u.thing == q.thing() || now.Sub(u.told) > s.options.Limits.Grace
		return leave, throttled("ApplicationThrottled", "Application is over its request limit.", u.until.Sub(now))
	case u.requests > s.options.Limits.Requests:
		wait := u.begin.Add(s.options.Limits.Window).Sub(now)
		s.tell(key, q, wait)
		return leave, throttled("ApplicationThrottled", "Application is over its MailboxRequests limit.", wait)
	case running > s.options.Limits.Concurrent:
		return leave, refuse(http.StatusTooManyRequests, "ApplicationThrottled", "Application is over its MailboxConcurrency limit.")
	}
	return leave, nil
}

// tell remembers that an application was told to wait.
func (s *Server) tell(key string, q *Request, wait time.Duration) {
	if u := s.usage[key]; u != nil {
		u.told, u.until, u.thing = s.now(), s.now().Add(wait), q.thing()
	}
}

func (r *Request) thing() string { return r.Method + " " + r.URL }

func throttled(code, message string, wait time.Duration) *problem {
	p := refuse(http.StatusTooManyRequests, code, "%s", message)
	p.header = http.Header{"Retry-After": {strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))}}
	return p
}
