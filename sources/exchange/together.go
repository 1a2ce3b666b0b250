package exchange

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// together calls do for 0 to n-1, several at a time, and returns the first
// error, or why it has not called all.
func together(ctx context.Context, n int, do func(i int) error) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(asking)
	called := 0
	for called < n && inner.Err() == nil {
		i := called
		group.Go(func() error { return do(i) })
		called++
	}
	if err := group.Wait(); err != nil || called == n {
		return err
	}
	return context.Cause(ctx)
}
