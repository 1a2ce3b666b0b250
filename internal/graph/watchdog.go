package graph

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

var (
	errNoAnswer = errors.New("no answer in time")
	errSilent   = errors.New("the answer stopped in the middle")
	errEnded    = errors.New("the answer has been closed")
)

// watched sends the request and bounds its waits: the head of the answer may
// take answer, and its body pause for silence. The body's Close ends all.
func watched(rt http.RoundTripper, req *http.Request, answer, silence time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(answer, func() { cancel(errNoAnswer) })
	resp, err := rt.RoundTrip(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		err = causeOf(ctx, req.Context(), err)
		cancel(nil)
		return nil, err
	}
	resp.Body = &watchedBody{ReadCloser: resp.Body, outer: req.Context(), ctx: ctx, cancel: cancel, silence: silence}
	return resp, nil
}

// causeOf returns why the context ended, if that is why there is an error and it
// was not the caller's doing.
func causeOf(ctx, outer context.Context, err error) error {
	if outer.Err() != nil {
		return context.Cause(outer)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

type watchedBody struct {
	io.ReadCloser
	outer, ctx context.Context
	cancel     context.CancelCauseFunc
	silence    time.Duration

	once     sync.Once
	closeErr error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	timer := time.AfterFunc(b.silence, func() { b.cancel(errSilent) })
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	if err != nil && (err != io.EOF || context.Cause(b.ctx) != nil) {
		err = causeOf(b.ctx, b.outer, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.once.Do(func() {
		b.cancel(errEnded)
		b.closeErr = b.ReadCloser.Close()
	})
	return b.closeErr
}
