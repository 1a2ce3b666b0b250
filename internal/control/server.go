package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Handle makes f known to mux as the method of the name. An argument that does
// not fit In, or has fields that In does not know, is refused: a daemon of
// another version than the command must not do half of what was asked. The
// context ends when the caller hangs up, and five seconds after the daemon begins to
// stop.
func Handle[In, Out any](mux *http.ServeMux, method string, f func(context.Context, In) (Out, error)) {
	mux.HandleFunc("POST /"+method, func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := decodeOne(r.Body, &in); err != nil {
			answer(w, http.StatusBadRequest, failure{fmt.Sprintf("read the argument of %s: %v", method, err)})
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			answer(w, http.StatusUnprocessableEntity, failure{err.Error()})
			return
		}
		answer(w, http.StatusOK, out)
	})
}

// decodeOne reads the one JSON value that r holds.
func decodeOne(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "write the result: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error here means that the caller has hung up: nobody is left to tell.
	_, _ = w.Write(body)
}

// Serve answers calls on l with h until ctx ends, then lets the calls under way
// finish for five seconds, ends the rest and returns nil. It returns an error
// when it cannot go on before that. Either way l is closed and no call is under
// way when it returns; h must give up when the context of its request ends.
// A request with a body of more than 1 MiB is refused.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	calls, endCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer endCalls()

	var connections sync.WaitGroup
	server := &http.Server{
		Handler:     whole(h),
		BaseContext: func(net.Listener) context.Context { return calls },
		ReadTimeout: requestTimeout,
		IdleTimeout: idleTimeout,
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				connections.Add(1)
			case http.StateClosed, http.StateHijacked:
				connections.Done()
			}
		},
	}

	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	var failed error
	select {
	case err := <-served:
		failed = fmt.Errorf("serve the control channel: %w", err)
		served <- err
	case <-ctx.Done():
	}

	inGrace, done := context.WithTimeout(calls, grace)
	defer done()
	if err := server.Shutdown(inGrace); err != nil {
		endCalls()
		// The listener is closed by now; an error of closing the connection of a
		// call that has been given up tells nothing.
		_ = server.Close()
	}
	<-served
	connections.Wait()
	return failed
}

// whole hands h only requests that have arrived whole. The time that a request
// may take to arrive does not bound the time that its call may take.
func whole(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			answer(w, http.StatusRequestEntityTooLarge, failure{"read the request: " + err.Error()})
			return
		}
		if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
			answer(w, http.StatusInternalServerError, failure{"prepare the call: " + err.Error()})
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(w, r)
	})
}
