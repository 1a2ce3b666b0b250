package graphtest

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Request is a request that the server has got.
type Request struct {
	// Number counts requests from 1.
	Number int
	// Kind is what the request asks for: "token", "discovery", "user",
	// "folders", "folder", "create folder", "update folder", "move folder",
	// "delete folder", "delta", "messages", "message", "update", "move", "copy",
	// "delete", "permanent delete", "value", "attachments", "attachment",
	// "attachment value", "count" and "application"; "" if it is none of them.
	Kind   string
	Method string
	// URL is the path and query, as sent.
	URL     string
	App     string // client id
	Mailbox string // address
	Prefer  []string
	Body    string // up to 64 KiB of it; never of a request for a token
	Time    time.Time
	Status  int // 0 while no answer was sent, and if none was
	// Fault is the fault that was played, or empty.
	Fault FaultKind
	// Code is the error that was answered.
	Code string
	// Early: it was sent before the time of a Retry-After had passed.
	Early bool
	// Illegal says what is wrong with a request that should never be sent.
	Illegal string
}

func (r Request) String() string {
	text := fmt.Sprintf("%d %s %s %d", r.Number, r.Method, r.URL, r.Status)
	if r.Code != "" {
		text += " " + r.Code
	}
	if r.Fault != "" {
		text += " (" + string(r.Fault) + ")"
	}
	if r.Illegal != "" {
		text += ": " + r.Illegal
	}
	return text
}

// record adds a request to the log. It may be completed under the mutex, which
// the caller holds.
func (s *Server) record(r *Request) {
	s.received++
	r.Number, r.Time = s.received, s.now()
	s.log = append(s.log, r)
}

// Requests returns all requests so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Request, len(s.log))
	for i, r := range s.log {
		all[i] = *r
	}
	return all
}

// Forget empties the log, so that a test can count what follows.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
	s.most = make(map[string]int)
}

// Counts returns how many requests of each kind there were.
func (s *Server) Counts() map[string]int {
	counts := make(map[string]int)
	for _, r := range s.Requests() {
		counts[r.Kind]++
	}
	return counts
}

// Illegal returns the requests that no client should send: what Microsoft's
// schema does not have, or this server does not know.
func (s *Server) Illegal() []Request {
	return slices.DeleteFunc(s.Requests(), func(r Request) bool { return r.Illegal == "" })
}

// Violations returns the requests that did not wait for a Retry-After.
func (s *Server) Violations() []Request {
	return slices.DeleteFunc(s.Requests(), func(r Request) bool { return !r.Early })
}

// MaxConcurrency is the most requests that there were at a time from one
// application for one mailbox: neither answered whole nor cut off by the client.
func (s *Server) MaxConcurrency() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := 0
	for n := range maps.Values(s.most) {
		most = max(most, n)
	}
	return most
}
