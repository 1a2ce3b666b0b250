package faultnet_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroom/internal/faultnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server that talks to each connection, and a proxy before it.
func serve(t *testing.T, talk func(net.Conn)) *faultnet.Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				talk(conn)
			})
		}
	})
	p, err := faultnet.Start(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		listener.Close()
		running.Wait()
	})
	return p
}

// say returns a server that is asked for text with one byte, sends it and waits
// for the client to leave.
func say(text string) func(net.Conn) {
	return func(c net.Conn) {
		io.ReadFull(c, make([]byte, 1))
		io.WriteString(c, text)
		io.Copy(io.Discard, c)
	}
}

func echo(c net.Conn) { io.Copy(c, c) }

func dial(t *testing.T, p *faultnet.Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// readOne makes a connection and reads a byte from it.
func readOne(p *faultnet.Proxy) error {
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "?"); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

func TestSound(t *testing.T) {
	p := serve(t, echo)
	c := dial(t, p)
	sent := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	go func() {
		c.Write(sent)
		c.(*net.TCPConn).CloseWrite()
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("what comes back is not what was sent: %v", err)
	}
	s := p.Stats()
	if s.Connections != 1 || s.Up != int64(len(sent)) || s.Down != int64(len(sent)) {
		t.Errorf("%+v", s)
	}
}

func TestFaultsFromTheServer(t *testing.T) {
	const stream = "* OK hello {a} {12\r\n* 1 FETCH (X {3}\r\nabc BODY[] {8}\r\n{9}\r\n---)\r\n"
	inLiteral := strings.Index(stream, "{9}")
	for _, tt := range []struct {
		name   string
		line   faultnet.Line
		passed int
		err    error
	}{
		{"FIN", faultnet.Line{Fault: faultnet.FIN, After: 10}, 10, io.EOF},
		{"FIN at once", faultnet.Line{Fault: faultnet.FIN}, 0, io.EOF},
		{"RST", faultnet.Line{Fault: faultnet.RST, After: 10}, 10, syscall.ECONNRESET},
		{"literal", faultnet.Line{Fault: faultnet.FIN, After: 5, InLiteral: true}, inLiteral + 5, io.EOF},
		{"beginning of a literal", faultnet.Line{Fault: faultnet.FIN, InLiteral: true}, strings.Index(stream, "abc"), io.EOF},
		{"drip", faultnet.Line{Rate: 500, Fault: faultnet.FIN, After: int64(len(stream))}, len(stream), io.EOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := serve(t, say(stream))
			p.Use(faultnet.Always(faultnet.Conduct{Down: tt.line}))
			c := dial(t, p)
			_, err := io.WriteString(c, "?")
			var got []byte
			for err == nil {
				var n int
				piece := make([]byte, 7)
				n, err = c.Read(piece)
				got = append(got, piece[:n]...)
			}
			if !errors.Is(err, tt.err) {
				t.Errorf("ends with %v, want %v", err, tt.err)
			}
			// A reset may overtake what was sent before it.
			if string(got) != stream[:tt.passed] && !(tt.err == syscall.ECONNRESET && strings.HasPrefix(stream[:tt.passed], string(got))) {
				t.Errorf("got %q, want %q", got, stream[:tt.passed])
			}
		})
	}
}

func TestFaultsFromTheClient(t *testing.T) {
	received := make(chan string, 1)
	p := serve(t, func(c net.Conn) {
		got, _ := io.ReadAll(c)
		received <- string(got)
	})
	p.Use(faultnet.Always(faultnet.Conduct{Up: faultnet.Line{Fault: faultnet.FIN, After: 6}}))
	c := dial(t, p)
	if _, err := io.WriteString(c, "a LOGIN"); err != nil {
		t.Fatal(err)
	}
	if got := <-received; got != "a LOGI" {
		t.Errorf("the server got %q", got)
	}
}

func TestStall(t *testing.T) {
	p := serve(t, echo)
	p.Use(faultnet.First(1, faultnet.Conduct{Down: faultnet.Line{Fault: faultnet.Stall, After: 3}}))
	c := dial(t, p)
	if _, err := io.WriteString(c, "abcdef"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "abc" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := c.Read(got); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("after the stall: %v, want nothing", err)
	}
	// Its neighbour is sound, and Drop ends both.
	other := dial(t, p)
	if _, err := io.WriteString(other, "xyz"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(other, got); err != nil || string(got) != "xyz" {
		t.Errorf("%q, %v", got, err)
	}
	p.Drop()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{c, other} {
		if _, err := conn.Read(got); err != io.EOF {
			t.Errorf("after Drop: %v, want the end", err)
		}
	}
}

func TestRefuse(t *testing.T) {
	p := serve(t, say("hello"))
	p.Use(faultnet.Always(faultnet.Conduct{Refuse: true}))
	if readOne(p) == nil {
		t.Error("a refused connection can be read")
	}
	p.Use(nil)
	if err := readOne(p); err != nil {
		t.Errorf("then: %v", err)
	}
	if n := p.Stats().Connections; n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// Latency delays what is sent and does not make a stream slower.
func TestLatency(t *testing.T) {
	const delay, size = 100 * time.Millisecond, 64 << 20
	p := serve(t, func(c net.Conn) {
		one := make([]byte, 1)
		for range 2 {
			io.ReadFull(c, one)
			c.Write(one)
		}
		c.Write(make([]byte, size))
	})
	slow := faultnet.Line{Latency: delay}
	p.Use(faultnet.Always(faultnet.Conduct{Up: slow, Down: slow}))
	c := dial(t, p)
	begin := time.Now()
	for range 2 {
		one := []byte{1}
		if _, err := c.Write(one); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, one); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took < 4*delay {
		t.Errorf("two round trips in %v, want at least %v", took, 4*delay)
	}
	if n, err := io.Copy(io.Discard, c); err != nil || n != size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	// One segment a delay would take minutes.
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("%d bytes in %v", size, took)
	}
	if s := p.Stats(); s.Trips != 1 || s.Up != 2 {
		t.Errorf("%+v, want one answer followed by a word of the client", s)
	}
}

func TestServerIsGone(t *testing.T) {
	p, err := faultnet.Start("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	if readOne(p) == nil {
		t.Error("no error though nobody listens")
	}
}

func TestRandomPlans(t *testing.T) {
	var faults, sound int
	a, b, other := faultnet.Random(1), faultnet.Random(1), faultnet.Random(2)
	same := true
	for n := range 200 {
		if !reflect.DeepEqual(a(n), b(n)) {
			t.Fatalf("connection %d differs between plans of one seed", n)
		}
		same = same && reflect.DeepEqual(a(n), other(n))
		c := a(n)
		if c.Refuse || c.Up.Fault != faultnet.None || c.Down.Fault != faultnet.None {
			faults++
		} else {
			sound++
		}
	}
	if same {
		t.Error("plans of two seeds are the same")
	}
	if faults < 80 || sound < 20 {
		t.Errorf("%d connections with faults, %d without", faults, sound)
	}
}
