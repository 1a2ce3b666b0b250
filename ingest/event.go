package ingest

import (
	"sync"
	"time"

	"postroom/ingest/ledger"
	"postroom/ingest/message"
	"postroom/sources"
	"postroom/store"
)

// Event is something that happened to a message, for progress and summaries.
type Event struct {
	Kind   Kind
	Source string
	Folder string          // path
	Listed int             // with Listed: messages found
	Bytes  int64           // with Filed, Duplicate and Quarantined: size of the message
	Entry  ledger.Entry    // as recorded; zero with Listed
	Doc    *store.Document // with Filed; nil if an earlier attempt had put it there
	Err    error           // with Failed and Quarantined

	// Header is that of the message, and Doc the document made of it, with
	// Examined; nil if it has none. What becomes of the message, in an event that
	// follows, may still change Doc.
	Header *message.Header
	// LeftOut is the key of the configuration by which the message is left out,
	// with Skipped; else empty.
	LeftOut string
	// Action is what is to be done with the message on its server, if Entry is
	// Filed or Quarantined.
	Action sources.Action
}

// Kind is the kind of an event.
type Kind int

const (
	Listed      Kind = iota // a listing found messages not yet handled
	Filed                   // a document is in the repository
	Duplicate               // the message had been filed already
	Quarantined             // the message was put into quarantine
	Failed                  // the message could not be handled now; it will be tried again
	Skipped                 // the message is not to be filed: left out, gone, or given up
	Known                   // the message was handled before: it is done but for a disposition, or not yet due
	Examined                // the message was fetched and read
)

// Summary is what one mailbox came to.
type Summary struct {
	Name        string  `json:"name"`
	Filed       int     `json:"filed"`
	Duplicates  int     `json:"duplicates"`
	Quarantined int     `json:"quarantined"`
	Failed      int     `json:"failed"`
	Bytes       int64   `json:"bytes"`
	Seconds     float64 `json:"seconds"`
	// InQuarantine is how many messages wait there for a person, whenever they came
	// there; only in a summary of Once.
	InQuarantine int    `json:"in_quarantine"`
	Error        string `json:"error,omitempty"`
	Remedy       string `json:"remedy,omitempty"`

	// Owed are the messages that wait for another try, and those that Once had in
	// hand when something else failed: they have no RetryAt. Once counts all of
	// them as Failed, whenever they failed.
	Owed []ledger.Entry `json:"-"`
}

// OK reports that nothing failed or was quarantined.
func (s Summary) OK() bool { return s.Failed == 0 && s.Quarantined == 0 && s.Error == "" }

// Status is how a mailbox is.
type Status struct {
	Summary
	LastPoll    time.Time `json:"last_poll,omitzero"`    // end of the last poll
	LastSuccess time.Time `json:"last_success,omitzero"` // end of the last poll without an error
	NextPoll    time.Time `json:"next_poll,omitzero"`
	Polling     bool      `json:"polling"`
	// Moved is when a poll was last seen to get on.
	Moved time.Time `json:"moved,omitzero"`
}

// Limits of what is taken for a source at work.
const (
	overdue = 2 * time.Minute  // for a poll to begin after its time
	still   = 30 * time.Minute // for a poll without anything being done
)

// Stuck reports that the mailbox is neither polled when it should be nor gets on
// with a poll.
func (s Status) Stuck(now time.Time) bool {
	if s.Polling {
		return now.Sub(s.Moved) > still
	}
	return !s.NextPoll.IsZero() && now.Sub(s.NextPoll) > overdue
}

// stats counts for one mailbox.
type stats struct {
	mu       sync.Mutex
	s        Status
	logged   string    // the error that was logged last
	loggedAt time.Time // when
	due      time.Time // when the next message is due for another try
	moved    time.Time // when something was last done
}

func newStats(name string) *stats {
	return &stats{s: Status{Summary: Summary{Name: name}}}
}

func (s *stats) count(ev Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch ev.Kind {
	case Filed:
		s.s.Filed++
	case Duplicate:
		s.s.Duplicates++
	case Quarantined:
		s.s.Quarantined++
	case Failed:
		s.s.Failed++
	}
	s.s.Bytes += ev.Bytes
}

func (s *stats) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Polling = true
	s.moved = time.Now()
}

// moving notes that a poll gets on.
func (s *stats) moving() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved = time.Now()
}

func (s *stats) polled(start, next time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.s.Polling = false
	s.s.LastPoll = now.UTC()
	s.s.NextPoll = next.UTC()
	s.s.Seconds += now.Sub(start).Seconds()
	s.s.Error, s.s.Remedy = "", ""
	if err != nil {
		s.s.Error, s.s.Remedy = err.Error(), remedies(err)
	} else {
		s.s.LastSuccess = now.UTC()
	}
}

// dueAt notes that a message is due for another try.
func (s *stats) dueAt(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.IsZero() && (s.due.IsZero() || t.Before(s.due)) {
		s.due = t
	}
}

func (s *stats) takeDue() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.due
	s.due = time.Time{}
	return t
}

// newError reports whether err is to be logged: it differs from the one logged
// before, or that was an hour ago.
func (s *stats) newError(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == s.logged && (text == "" || time.Since(s.loggedAt) < time.Hour) {
		return false
	}
	s.logged, s.loggedAt = text, time.Now()
	return true
}

func (s *stats) summary() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s.Summary
}

func (s *stats) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.s
	out.Moved = s.moved.UTC()
	return out
}
