package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type greeting struct {
	Name string `json:"name"`
}

// greeter is a daemon with a method of each temper.
func greeter() *http.ServeMux {
	mux := http.NewServeMux()
	Handle(mux, "greet", func(_ context.Context, in greeting) (string, error) {
		return "good day, " + in.Name, nil
	})
	Handle(mux, "fail", func(context.Context, struct{}) (struct{}, error) {
		return struct{}{}, fmt.Errorf("retry abc: %w", errors.New("document is <gone> & lost"))
	})
	Handle(mux, "unwritable", func(context.Context, struct{}) (chan int, error) {
		return make(chan int), nil
	})
	return mux
}

// start serves h at a state directory and returns a client of it. The test
// fails if serving does not end in order.
func start(t *testing.T, h http.Handler) *Client {
	t.Helper()
	dir := t.TempDir()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- Serve(ctx, l, h) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := Dial(dir); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("Dial after the end: %v, want ErrNoDaemon", err)
		}
	})
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestCall(t *testing.T) {
	c := start(t, greeter())
	ctx := context.Background()

	var got string
	if err := c.Call(ctx, "greet", greeting{"Zoë"}, &got); err != nil || got != "good day, Zoë" {
		t.Errorf("greet: %q, %v", got, err)
	}
	if err := c.Call(ctx, "greet", greeting{"nobody"}, nil); err != nil {
		t.Errorf("greet without a place for the result: %v", err)
	}

	var remote *RemoteError
	err := c.Call(ctx, "fail", nil, nil)
	if !errors.As(err, &remote) || err.Error() != "retry abc: document is <gone> & lost" {
		t.Errorf("fail: %v, want the daemon's own message", err)
	}

	for _, tt := range []struct {
		name, method string
		in, out      any
		want         string
	}{
		{"unknown method", "dance", nil, nil, "does not know dance"},
		{"unknown field", "greet", map[string]any{"name": "x", "dry_run": true}, nil, `unknown field "dry_run"`},
		{"argument of another type", "greet", []int{1}, nil, "cannot unmarshal array"},
		{"argument too long", "greet", greeting{strings.Repeat("x", maxRequest)}, nil, "too large"},
		{"result of another type", "greet", greeting{"x"}, new(int), "cannot unmarshal string"},
		{"result that is no JSON", "unwritable", nil, nil, "unsupported type"},
		{"argument that is no JSON", "greet", make(chan int), nil, "unsupported type"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := c.Call(ctx, tt.method, tt.in, tt.out)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that contains %q", err, tt.want)
			}
		})
	}
}

func TestDecodeOneRefusesASecondValue(t *testing.T) {
	var v int
	if err := decodeOne(strings.NewReader("1 2"), &v); err == nil {
		t.Error("two values accepted")
	}
	if err := decodeOne(strings.NewReader(" 1 \n"), &v); err != nil || v != 1 {
		t.Errorf("one value: %d, %v", v, err)
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	entered, left := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	Handle(mux, "hang", func(ctx context.Context, _ struct{}) (struct{}, error) {
		close(entered)
		<-ctx.Done()
		close(left)
		return struct{}{}, ctx.Err()
	})
	c := start(t, mux)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-entered
		cancel()
	}()
	if err := c.Call(ctx, "hang", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	<-left
}

func TestDialWithoutDaemon(t *testing.T) {
	if _, err := Dial(t.TempDir()); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("error %v, want ErrNoDaemon", err)
	}
}

func TestListenTwice(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("second Listen: %v, want ErrInUse", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = Listen(dir)
	if err != nil {
		t.Fatalf("Listen after Close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestServeReportsALostListener(t *testing.T) {
	l, err := Listen(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Serve(context.Background(), l, greeter()); err == nil {
		t.Error("no error")
	}
}

// A bubble is a daemon and a client in a synctest bubble, over net.Pipe.
type bubble struct {
	net.Listener // nil: what is not overridden is not called
	conns        chan net.Conn
	closed       chan struct{}
}

func (b *bubble) Accept() (net.Conn, error) {
	select {
	case c := <-b.conns:
		return c, nil
	case <-b.closed:
		return nil, net.ErrClosed
	}
}

func (b *bubble) Close() error { close(b.closed); return nil }

func (b *bubble) dial(context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	b.conns <- server
	return client, nil
}

func TestALongCallIsNotCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := http.NewServeMux()
		Handle(mux, "backup", func(ctx context.Context, _ struct{}) (string, error) {
			time.Sleep(time.Hour)
			return "done", ctx.Err()
		})
		b := &bubble{conns: make(chan net.Conn), closed: make(chan struct{})}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- Serve(ctx, b, mux) }()

		c := newClient(b.dial)
		var got string
		if err := c.Call(ctx, "backup", nil, &got); err != nil || got != "done" {
			t.Errorf("backup: %q, %v", got, err)
		}
		c.Close()
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestStopping(t *testing.T) {
	for _, tt := range []struct {
		name    string
		takes   time.Duration
		stopsIn time.Duration
		ended   bool
	}{
		{"a call that ends in time", 2 * time.Second, 3 * time.Second, false},
		{"a call that does not", time.Hour, grace + time.Second, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				entered := make(chan struct{})
				mux := http.NewServeMux()
				Handle(mux, "work", func(ctx context.Context, _ struct{}) (string, error) {
					close(entered)
					select {
					case <-ctx.Done():
						return "", ctx.Err()
					case <-time.After(tt.takes):
						return "done", nil
					}
				})
				b := &bubble{conns: make(chan net.Conn), closed: make(chan struct{})}
				ctx, stop := context.WithCancel(t.Context())
				served := make(chan error)
				go func() { served <- Serve(ctx, b, mux) }()
				c := newClient(b.dial)
				defer c.Close()
				called := make(chan error)
				go func() { called <- c.Call(t.Context(), "work", nil, nil) }()

				<-entered
				began := time.Now()
				stop()
				if err := <-called; (err != nil) != tt.ended {
					t.Errorf("call: %v", err)
				}
				if err := <-served; err != nil {
					t.Errorf("Serve: %v", err)
				}
				if took := time.Since(began); took > tt.stopsIn {
					t.Errorf("stopped after %v, want at most %v", took, tt.stopsIn)
				}
			})
		})
	}
}
