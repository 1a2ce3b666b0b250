package main

import (
	"context"
	"errors"
	"sync"
)

// errInterrupted is what a call returns that did not come to its end.
var errInterrupted = errors.New("interrupted: the daemon stops, or takes up its changed configuration; what was not done is as it was: give the command again")

// desk is where calls get the workshop that is in use. While there is none, as
// between two configurations, they wait.
type desk struct {
	mu     sync.Mutex
	shift  *shift
	opened chan struct{} // closed when there is a shift
}

// shift is the time in which one workshop is in use.
type shift struct {
	ctx   context.Context // ends when the workshop is to be left
	w     *workshop
	calls sync.WaitGroup
}

func newDesk() *desk { return &desk{opened: make(chan struct{})} }

// open lets calls use the workshop until the context ends. close must follow.
func (d *desk) open(ctx context.Context, w *workshop) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shift = &shift{ctx: ctx, w: w}
	close(d.opened)
}

// close waits for the calls that use the workshop. Its context has ended.
func (d *desk) close() {
	d.mu.Lock()
	s := d.shift
	d.shift, d.opened = nil, make(chan struct{})
	d.mu.Unlock()
	s.calls.Wait()
}

// enter returns the shift, and counts a call in it.
func (d *desk) enter(ctx context.Context) (*shift, error) {
	for {
		d.mu.Lock()
		if s := d.shift; s != nil {
			s.calls.Add(1)
			d.mu.Unlock()
			return s, nil
		}
		opened := d.opened
		d.mu.Unlock()
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, errInterrupted
		}
	}
}

// served makes of f, which works in a workshop, a call of the desk.
func served[In, Out any](d *desk, f func(context.Context, *workshop, In) (Out, error)) func(context.Context, In) (Out, error) {
	return func(ctx context.Context, in In) (out Out, err error) {
		s, err := d.enter(ctx)
		if err != nil {
			return out, err
		}
		defer s.calls.Done()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(s.ctx, func() { cancel(errInterrupted) })()
		out, err = f(ctx, s.w, in)
		if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
			err = errInterrupted
		}
		return out, err
	}
}
