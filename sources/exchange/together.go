package exchange

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// together calls do for 0 to n-1, several at a time, and returns the first
// error.
func together(ctx context.Context, n int, do func(i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return do(i) })
	}
	return group.Wait()
}
