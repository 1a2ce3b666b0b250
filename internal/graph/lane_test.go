package graph

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const firstPause = 2 * time.Second

func mustTake(t *testing.T, l *lane, patience time.Duration) *turn {
	t.Helper()
	turn, err := l.take(t.Context(), patience)
	if err != nil {
		t.Fatal(err)
	}
	return turn
}

func TestNoMoreThanFourAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane(outlook, firstPause)
		var mu sync.Mutex
		now, most := 0, 0
		var all sync.WaitGroup
		for range 40 {
			all.Go(func() {
				turn := mustTake(t, l, time.Second)
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
				mu.Lock()
				now--
				mu.Unlock()
				turn.succeeded()
				turn.done()
				turn.done() // again does no harm
			})
		}
		all.Wait()
		if most != 4 {
			t.Errorf("%d at once, want 4", most)
		}
	})
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane(outlook, firstPause)
		turn := mustTake(t, l, 0)
		until := time.Now().Add(7 * time.Second)
		turn.throttled(until)
		turn.done()
		var throttled *ThrottledError
		if _, err := l.take(t.Context(), 5*time.Second); !errors.As(err, &throttled) || !throttled.Until.Equal(until) {
			t.Fatalf("a wait longer than patience gives %v, want until %v", err, until)
		}
		mustTake(t, l, 10*time.Second).done()
		if !time.Now().Equal(until) {
			t.Errorf("a turn came at %v, want exactly %v", time.Now(), until)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		turn = mustTake(t, l, 0)
		turn.throttled(time.Now().Add(time.Hour))
		turn.done()
		stopped := errors.New("stopped")
		cancel(stopped)
		if _, err := l.take(ctx, 2*time.Hour); !errors.Is(err, stopped) {
			t.Errorf("a wait whose context ended returns %v", err)
		}
	})
}

func TestLimitIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane(outlook, firstPause)
		var turns []*turn
		for range 4 {
			turns = append(turns, mustTake(t, l, 0))
		}
		time.Sleep(time.Second)
		for _, turn := range turns {
			turn.throttled(time.Now().Add(time.Second))
			turn.done()
		}
		if l.limit != 2 {
			t.Errorf("four refusals of requests under way together leave %d at once, want 2", l.limit)
		}
		time.Sleep(2 * time.Second)
		for range 3 {
			turn := mustTake(t, l, 0)
			time.Sleep(time.Second)
			turn.throttled(time.Now())
			turn.done()
		}
		if l.limit != 1 {
			t.Errorf("%d at once, want 1", l.limit)
		}
		for range 3 * calm {
			turn := mustTake(t, l, time.Minute)
			turn.succeeded()
			turn.done()
		}
		if l.limit != 4 {
			t.Errorf("after a calm stretch %d at once, want 4", l.limit)
		}
	})
}

func TestPauseGrowsWithoutRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane(outlook, firstPause)
		last := time.Duration(0)
		for i := range 12 {
			turn := mustTake(t, l, time.Hour)
			time.Sleep(time.Millisecond)
			pause := time.Until(turn.throttled(time.Time{}))
			turn.done()
			if longest := min(firstPause<<i, longestPause); pause < longest/2 || pause > longest {
				t.Errorf("pause %d is %v, want from %v to %v", i, pause, longest/2, longest)
			}
			last = pause
		}
		if last < 4*time.Minute {
			t.Errorf("the last pause is %v", last)
		}
		turn := mustTake(t, l, time.Hour)
		turn.succeeded()
		turn.done()
		turn = mustTake(t, l, time.Hour)
		time.Sleep(time.Millisecond)
		if pause := time.Until(turn.throttled(time.Time{})); pause > firstPause {
			t.Errorf("after a success the pause is %v", pause)
		}
	})
}

// TestBudgetOfAWindow: however long it goes on, and however fast it could, no
// window has more requests than its budget, and little of that is left unused.
func TestBudgetOfAWindow(t *testing.T) {
	for name, row := range map[string]struct {
		budget budget
		pace   time.Duration // of whoever sends
		total  int
	}{
		"small":           {budget{concurrent: 4, requests: 100, window: 10 * time.Minute}, time.Second, 350},
		"Exchange Online": {outlook, 50 * time.Millisecond / 4, 35_000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLane(row.budget, firstPause)
				var times []time.Time
				for len(times) < row.total {
					turn, err := l.take(t.Context(), time.Second)
					var throttled *ThrottledError
					if errors.As(err, &throttled) {
						time.Sleep(time.Until(throttled.Until))
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					times = append(times, time.Now())
					turn.succeeded()
					turn.done()
					time.Sleep(row.pace)
				}
				most := row.budget.requests
				for i := most; i < len(times); i++ {
					if between := times[i].Sub(times[i-most]); between < row.budget.window {
						t.Fatalf("%d requests within %v", most+1, between)
					}
				}
				// Three whole windows have passed, and half of one more is used.
				took, best := times[len(times)-1].Sub(times[0]), 3*row.budget.window
				if took > best+best/10 {
					t.Errorf("%d requests took %v, and need take little more than %v", row.total, took, best)
				}
			})
		})
	}
}
