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

// farewell is how long the end of a body waits for the server to be told.
const farewell = 5 * time.Second

// watched sends the request and bounds its waits: the head of the answer may
// take answer, and its body pause for silence. The body ends with the context of
// whoever asked, which may be another than that of the request.
func watched(asked context.Context, rt http.RoundTripper, req *http.Request, answer, silence time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(answer, func() { cancel(errNoAnswer) })
	resp, err := rt.RoundTrip(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if asked.Err() != nil {
			err = context.Cause(asked)
		}
		cancel(nil)
		return nil, err
	}
	b := &watchedBody{ReadCloser: resp.Body, cancel: cancel, silence: silence}
	b.ended, b.end = context.WithCancelCause(context.Background())
	b.stop = context.AfterFunc(asked, func() { b.finish(context.Cause(asked)) })
	resp.Body = b
	return resp, nil
}

type watchedBody struct {
	io.ReadCloser
	cancel  context.CancelCauseFunc // of the request
	silence time.Duration
	stop    func() bool // watching whoever asked

	// ended says why nothing more can be read.
	ended    context.Context
	end      context.CancelCauseFunc
	once     sync.Once
	closeErr error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	timer := time.AfterFunc(b.silence, func() { b.finish(errSilent) })
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	if cause := context.Cause(b.ended); err != nil && cause != nil {
		err = cause
	}
	return n, err
}

// Close returns when the server knows, or has been told, that the answer is over.
func (b *watchedBody) Close() error {
	b.stop()
	b.finish(errEnded)
	return b.closeErr
}

// finish ends the answer. Whoever comes second waits for the first.
func (b *watchedBody) finish(cause error) {
	b.once.Do(func() {
		b.end(cause)
		// The transport tells the server while the request still has its context.
		late := time.AfterFunc(farewell, func() { b.cancel(errEnded) })
		b.closeErr = b.ReadCloser.Close()
		late.Stop()
		b.cancel(errEnded)
	})
}
