package graph

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// budget is what an application may do with one mailbox.
type budget struct {
	concurrent int
	requests   int
	window     time.Duration
}

// outlook is what Exchange Online lets it do
// (https://learn.microsoft.com/graph/throttling-limits, Outlook).
var outlook = budget{concurrent: 4, requests: 10_000, window: 10 * time.Minute}

const (
	// steps divides the window in which requests are counted.
	steps = 60
	// longestPause bounds the pause after a refusal that does not say how long to
	// wait; it doubles each time.
	longestPause = 10 * time.Minute
	// calm is how many requests must succeed for one more at a time.
	calm = 32
)

// lane is the way to one mailbox for one application: everything that goes to
// it, from whatever source, takes its turn here.
//
// How many requests go at once is found out: halved when the server refuses one,
// one more after a calm stretch (AIMD). While the server asks for patience none
// goes at all.
type lane struct {
	budget budget
	first  time.Duration // [Timeouts.Pause]

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a turn may have come free
	inUse   int
	limit   int
	good    int // requests that succeeded since the limit was changed
	until   time.Time
	refused int // refusals in a row without a time
	halved  time.Time

	counts  [steps]int
	counted [steps]time.Time // the start of the step that counts is of
}

func newLane(b budget, first time.Duration) *lane {
	return &lane{budget: b, first: first, limit: b.concurrent, changed: make(chan struct{})}
}

// turn is the right to one request.
type turn struct {
	lane  *lane
	began time.Time
	once  sync.Once
}

// take waits for a turn. If the server, or the budget, wants a longer wait than
// patience, it returns a *ThrottledError at once.
func (l *lane) take(ctx context.Context, patience time.Duration) (*turn, error) {
	for {
		l.mu.Lock()
		now := time.Now()
		wait := l.until.Sub(now)
		if free := l.free(now); free.Sub(now) > wait {
			wait = free.Sub(now)
		}
		if wait <= 0 && l.inUse < l.limit {
			l.inUse++
			l.count(now)
			l.mu.Unlock()
			return &turn{lane: l, began: now}, nil
		}
		changed := l.changed
		l.mu.Unlock()
		if wait > patience {
			return nil, &ThrottledError{Until: now.Add(wait)}
		}
		if err := pause(ctx, wait, changed); err != nil {
			return nil, err
		}
	}
}

// pause waits for the time, or if that is none for the channel.
func pause(ctx context.Context, wait time.Duration, or <-chan struct{}) error {
	if wait <= 0 {
		select {
		case <-or:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// step returns the index and the start of the step that the time is in.
func (l *lane) step(at time.Time) (int, time.Time) {
	width := l.budget.window / steps
	start := at.Truncate(width)
	return int(start.UnixNano()/int64(width)) % steps, start
}

func (l *lane) count(now time.Time) {
	i, start := l.step(now)
	if !l.counted[i].Equal(start) {
		l.counts[i], l.counted[i] = 0, start
	}
	l.counts[i]++
}

// free returns when the budget has room for one more request.
func (l *lane) free(now time.Time) time.Time {
	total, oldest := 0, time.Time{}
	for i, start := range l.counted {
		if l.counts[i] == 0 || now.Sub(start) >= l.budget.window+l.budget.window/steps {
			continue
		}
		total += l.counts[i]
		if oldest.IsZero() || start.Before(oldest) {
			oldest = start
		}
	}
	if total < l.budget.requests {
		return now
	}
	return oldest.Add(l.budget.window + l.budget.window/steps)
}

// done gives the turn back.
func (t *turn) done() {
	t.once.Do(func() {
		l := t.lane
		l.mu.Lock()
		defer l.mu.Unlock()
		l.inUse--
		l.wake()
	})
}

func (l *lane) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// succeeded notes that the server took the request.
func (t *turn) succeeded() {
	l := t.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = 0
	if l.good++; l.good >= calm && l.limit < l.budget.concurrent {
		l.limit, l.good = l.limit+1, 0
		l.wake()
	}
}

// throttled notes that the server refused the request, until a time or, if that
// is zero, until a pause that grows. It returns the time.
func (t *turn) throttled(until time.Time) time.Time {
	l := t.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	// Refusals of requests that were under way together count once.
	if t.began.After(l.halved) || l.halved.IsZero() {
		l.limit, l.good, l.halved = max(1, l.limit/2), 0, now
		l.refused++
	}
	if until.IsZero() {
		longest := min(l.first<<min(max(l.refused, 1)-1, 16), longestPause)
		until = now.Add(longest/2 + rand.N(longest/2))
	}
	if until.After(l.until) {
		l.until = until
	}
	return l.until
}
