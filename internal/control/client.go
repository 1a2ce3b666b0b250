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
)

// Client calls the methods of a running daemon. It may be used concurrently.
type Client struct{ http http.Client }

// RemoteError is what the daemon's method returned.
type RemoteError struct{ Message string }

func (e *RemoteError) Error() string { return e.Message }

// Dial finds the daemon of the state directory. The error wraps ErrNoDaemon if
// nobody listens there, and says so if somebody does whom this user may not
// call.
func Dial(stateDir string) (*Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	probe, err := dial(ctx, stateDir)
	if err != nil {
		return nil, err
	}
	if err := probe.Close(); err != nil {
		return nil, fmt.Errorf("close connection to the daemon: %w", err)
	}
	return newClient(func(ctx context.Context) (net.Conn, error) { return dial(ctx, stateDir) }), nil
}

func newClient(dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			return dial(ctx)
		},
		DisableCompression: true,
	}}}
}

// Close ends the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call calls the daemon's method with in and stores the result in out, which is
// a pointer, or nil to discard the result. A call takes as long as the method
// takes; ctx ends it early. What the method itself returned as an error comes
// back as a *RemoteError with the same message. The error wraps ErrNoDaemon if
// the daemon has gone since [Dial].
func (c *Client) Call(ctx context.Context, method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("write the argument of %s: %w", method, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon/"+method, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	request.Header.Set("Content-Type", "application/json")

	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("call the daemon: %w", err)
	}
	result, err := readResult(response)
	if err != nil {
		return fmt.Errorf("read the daemon's answer to %s: %w", method, err)
	}
	if response.StatusCode != http.StatusOK {
		return refusal(method, response, result)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(result, out); err != nil {
		return fmt.Errorf("read the daemon's answer to %s: %w", method, err)
	}
	return nil
}

func readResult(r *http.Response) ([]byte, error) {
	result, err := io.ReadAll(io.LimitReader(r.Body, maxResponse+1))
	if err == nil && len(result) > maxResponse {
		err = errors.New("longer than 64 MiB")
	}
	return result, errors.Join(err, r.Body.Close())
}

func refusal(method string, r *http.Response, result []byte) error {
	if r.StatusCode == http.StatusNotFound {
		return fmt.Errorf("the daemon does not know %s: it is of another version than this command", method)
	}
	var f failure
	if err := json.Unmarshal(result, &f); err != nil || f.Error == "" {
		return fmt.Errorf("the daemon answered %s with %s: %s", method, r.Status, bytes.TrimSpace(result))
	}
	return &RemoteError{f.Error}
}
