package ingest_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroom/ingest/ingesttest"
)

// While the last messages of a chunk wait for the disk, those of the next are
// fetched.
func TestNextChunkIsFetchedWhileTheLastIsFiled(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := ingesttest.New()
		for i := range 600 {
			w.Server.Deliver("Inbox", mail(i))
		}
		fetched := make(chan struct{})
		var fetches, puts atomic.Int32
		w.Fault(func(step string) error {
			switch step {
			case "<fetch Inbox":
				if fetches.Add(1) == 2 {
					close(fetched)
				}
			case "<put":
				if puts.Add(1) == 256 {
					select {
					case <-fetched:
					case <-time.After(time.Minute):
						t.Error("the second chunk is not fetched while the first is being filed")
					}
				}
			}
			return nil
		})
		if sum := once(t, start(t, w, dir, nil)); sum.Filed != 600 || fetches.Load() != 3 {
			t.Errorf("%d filed in %d fetches, want 600 in 3", sum.Filed, fetches.Load())
		}
		if err := w.Judge(0); err != nil {
			t.Error(err)
		}
	})
}
