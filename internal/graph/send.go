package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxTries is how often a request is sent that gets no answer, or that of a
	// server in trouble. Every request is one that may be repeated.
	maxTries = 3
	// maxRefusals is how often a call comes back to a throttled mailbox within
	// its patience.
	maxRefusals = 5
	// maxRenewals is how many tokens are tried when Graph refuses one: the second
	// may be one that was refused to another call meanwhile.
	maxRenewals = 2
	// maxError bounds the body of an error.
	maxError = 64 << 10
)

// finish makes a request of what the SDK wrote.
func finish(req *http.Request, content []byte) *http.Request {
	req.URL.RawQuery = strings.ReplaceAll(req.URL.RawQuery, "%24", "$")
	req.Header.Set("User-Agent", "postroom")
	req.Header.Del("Content-Length")
	if len(content) > 0 {
		req.ContentLength = int64(len(content))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	}
	return req
}

// send sends the request and returns the answer of a success; the caller closes
// its body, which gives the turn back. Errors are those of the package.
func (m *Mailbox) send(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	refusals, renewals := 0, 0
	for try := 1; ; try++ {
		access, err := m.tokens.get(ctx)
		if err != nil {
			return nil, err
		}
		t, err := m.lane.take(ctx, m.timeouts.Patience)
		if err != nil {
			return nil, err
		}
		resp, err := m.once(req, access, t)
		if err == nil {
			return resp, nil
		}
		var (
			answer    *Error
			throttled *ThrottledError
			lost      *ConnError
		)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &throttled):
			if refusals++; refusals > maxRefusals || time.Until(throttled.Until) > m.timeouts.Patience {
				return nil, err
			}
			try-- // it was not looked at
			continue
		case errors.As(err, &answer) && answer.Status == http.StatusUnauthorized && renewals < maxRenewals:
			renewals++
			m.tokens.drop(ctx, access)
			try--
			continue
		case errors.As(err, &answer) && (answer.Status == 502 || answer.Status == 503 || answer.Status == 504 || answer.Status == 500 && !isContent(req)):
		case errors.As(err, &lost) && !lost.Lasting:
		default:
			return nil, err
		}
		if try >= maxTries {
			return nil, err
		}
		if err := pause(ctx, time.Duration(try)*(200*time.Millisecond+rand.N(300*time.Millisecond)), nil); err != nil {
			return nil, err
		}
	}
}

// isContent reports whether the request is for a message's bytes: of these a
// failure may be the message's own, and whoever asked for them decides.
func isContent(req *http.Request) bool { return strings.HasSuffix(req.URL.Path, "/$value") }

// once sends the request a single time. It sees to it that the turn is given
// back.
func (m *Mailbox) once(req *http.Request, access string, t *turn) (*http.Response, error) {
	// A request that is sent again needs its body again, and headers of its own.
	r := req.Clone(req.Context())
	if req.GetBody != nil {
		r.Body, _ = req.GetBody()
	}
	r.Header.Set("Authorization", "Bearer "+access)
	resp, err := m.ask(r, t)
	if err != nil {
		return nil, m.settings.explainConn(m.host, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		t.succeeded()
		resp.Body = &answerBody{ReadCloser: resp.Body, turn: t, mailbox: m}
		return resp, nil
	}
	// Who comes next is to know first what this one was told.
	defer t.done()
	failure, err := m.readError(req.Context(), resp)
	if err != nil {
		return nil, err
	}
	after, said := retryAfter(resp.Header, failure.Date, time.Now())
	if failure.Status == http.StatusTooManyRequests || failure.Status == http.StatusServiceUnavailable && said ||
		failure.Has("ApplicationThrottled", "MailboxConcurrency", "TooManyRequests", "ErrorServerBusy") {
		return nil, &ThrottledError{Until: t.throttled(after), Err: failure}
	}
	return nil, failure
}

// ask sends the request. The server is at work on it until it has answered,
// whether or not anybody waits for that: if the context ends before, ask returns
// at once, and the turn is given back when the answer comes, or the last use of
// the client ends.
func (c *Client) ask(req *http.Request, t *turn) (*http.Response, error) {
	type answer struct {
		resp *http.Response
		err  error
	}
	asked := req.Context()
	if asked.Err() != nil {
		t.done()
		return nil, context.Cause(asked)
	}
	came := make(chan answer, 1)
	go func() {
		resp, err := watched(asked, c.rt, req.WithContext(c.conns.lifetime()), c.timeouts.Answer, c.timeouts.Silence)
		came <- answer{resp, err}
	}()
	select {
	case a := <-came:
		if a.err != nil {
			t.done()
		}
		return a.resp, a.err
	case <-asked.Done():
	}
	c.conns.left.Go(func() {
		defer t.done()
		a := <-came
		if a.err != nil {
			return
		}
		// What it was told is for who comes next.
		date, _ := http.ParseTime(a.resp.Header.Get("Date"))
		after, said := retryAfter(a.resp.Header, date, time.Now())
		if a.resp.StatusCode == http.StatusTooManyRequests || a.resp.StatusCode == http.StatusServiceUnavailable && said {
			t.throttled(after)
		}
		_ = a.resp.Body.Close() // nobody reads it
	})
	return nil, context.Cause(asked)
}

// readError reads the answer of a failure, whatever its form.
func (m *Mailbox) readError(ctx context.Context, resp *http.Response) (*Error, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err = errors.Join(err, resp.Body.Close()); err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	e := &Error{Status: resp.StatusCode, RequestID: clean(resp.Header.Get("request-id"))}
	e.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	var said struct {
		Error errorJSON `json:"error"`
	}
	if json.Unmarshal(body, &said) == nil && said.Error.Code != "" {
		inner := said.Error.innermost()
		e.Code, e.Message = clean(inner.Code), m.settings.scrub(said.Error.Message)
		if id := said.Error.requestID(); e.RequestID == "" {
			e.RequestID = clean(id)
		}
		return e, nil
	}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		e.Message = "the answer is a redirect, which is not followed; something other than Graph may answer"
	default:
		e.Message = "the answer is not one of Graph (" + clean(resp.Header.Get("Content-Type")) + ")"
	}
	return e, nil
}

// errorJSON is an OData error. Either spelling of the inner one is in use.
type errorJSON struct {
	Code        string     `json:"code"`
	Message     string     `json:"message"`
	RequestID   string     `json:"request-id"`
	InnerError  *errorJSON `json:"innerError"`
	InnerError2 *errorJSON `json:"innererror"`
}

func (e *errorJSON) inner() *errorJSON {
	if e.InnerError != nil {
		return e.InnerError
	}
	return e.InnerError2
}

// innermost returns the deepest error with a code: the outer ones may be as
// general as BadRequest.
func (e *errorJSON) innermost() *errorJSON {
	deepest := e
	for at, n := e, 0; at != nil && n < 10; at, n = at.inner(), n+1 {
		if at.Code != "" {
			deepest = at
		}
	}
	return deepest
}

func (e *errorJSON) requestID() string {
	for at, n := e, 0; at != nil && n < 10; at, n = at.inner(), n+1 {
		if at.RequestID != "" {
			return at.RequestID
		}
	}
	return ""
}

// retryAfter reads the header Retry-After (RFC 9110 10.2.3). A date is compared
// with the server's own, so that the clock of this machine does not matter.
func retryAfter(h http.Header, date, now time.Time) (until time.Time, said bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return time.Time{}, false
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 && seconds < 1e6 {
		return now.Add(time.Duration(seconds * float64(time.Second))), true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return time.Time{}, false
	}
	if date.IsZero() {
		date = now
	}
	return now.Add(max(0, at.Sub(date))), true
}

// answerBody is the body of a success. Its end gives the turn back.
type answerBody struct {
	io.ReadCloser
	turn    *turn
	mailbox *Mailbox
	ended   bool
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && !b.ended {
		b.ended = true
		b.turn.done()
	}
	if err != nil && err != io.EOF && !errors.Is(err, context.Canceled) && !errors.Is(err, errEnded) {
		err = &ConnError{Host: b.mailbox.host, Summary: "the answer broke off", broken: true, Err: errors.New(b.mailbox.settings.scrub(err.Error()))}
	}
	return n, err
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.turn.done()
	return err
}
