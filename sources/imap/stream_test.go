package imap

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"postroom/internal/deadline"
)

// pipe returns a stream, and what the server writes into.
func pipe(t *testing.T) (*stream, net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	bottom, err := deadline.New(near, deadline.Limits{Silence: time.Minute, Write: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return newStream(bottom, bottom), far
}

// Whatever the sizes of what is sent and of what is asked for, the bytes come
// whole and in order, and then the end is unexpected.
func TestStreamIsWhole(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		s, far := pipe(t)
		sent := make([]byte, 1+r.IntN(1<<20))
		for i := range sent {
			sent[i] = byte(r.Uint32())
		}
		go func() {
			w := rand.New(rand.NewPCG(seed, 2))
			for left := sent; len(left) > 0; {
				n := min(len(left), 1+w.IntN(1<<(1+w.IntN(18))))
				if _, err := far.Write(left[:n]); err != nil {
					return
				}
				left = left[n:]
			}
			far.Close()
		}()
		if r.IntN(2) == 0 {
			first, err := s.peek()
			if err != nil || first != sent[0] {
				t.Fatalf("seed %d: peek gives %d, %v", seed, first, err)
			}
		}
		var got []byte
		var err error
		for err == nil {
			p := make([]byte, 1+r.IntN(1<<(1+r.IntN(17))))
			var n int
			n, err = s.Read(p)
			got = append(got, p[:n]...)
		}
		if err != io.ErrUnexpectedEOF || !bytes.Equal(got, sent) {
			t.Fatalf("seed %d: %d of %d bytes, %v", seed, len(got), len(sent), err)
		}
		if s.buffer != nil {
			t.Errorf("seed %d: a buffer is held after all has been read", seed)
		}
	}
}

// While a connection is idle, a read waits for the server for ever. It must hold
// no more than what the caller brought.
func TestIdleStreamHoldsNoBuffer(t *testing.T) {
	s, far := pipe(t)
	for _, size := range []int{10, 4095, 5000, 60_000} {
		if _, err := far.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 4096)
		for left := size; left > 0; {
			n, err := s.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			left -= n
		}
		if s.buffer != nil {
			t.Errorf("after %d bytes a buffer is held", size)
		}
	}
}

// A command begun after the client has seen the end of the connection must fail,
// held back or not: nobody else would ever tell who waits for its answer.
func TestHeldWritesFailAtTheEnd(t *testing.T) {
	for what, end := range map[string]func(*stream, net.Conn){
		"closed by the client": func(s *stream, _ net.Conn) { s.Close() },
		"closed by the server": func(s *stream, server net.Conn) {
			server.Close()
			if _, err := s.Read(make([]byte, 1)); err == nil {
				t.Error("read past the end")
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			server, client := net.Pipe()
			defer server.Close()
			defer client.Close()
			bottom, err := deadline.New(client, deadline.Limits{Silence: time.Minute, Write: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			s := newStream(bottom, bottom)
			s.hold()
			if _, err := s.Write([]byte("A1 NOOP\r\n")); err != nil {
				t.Error(err)
			}
			end(s, server)
			if _, err := s.Write([]byte("A2 NOOP\r\n")); err == nil {
				t.Error("written")
			}
		})
	}
}
