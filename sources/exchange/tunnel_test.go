package exchange_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

const proxySecret = "proxy~secret"

// tunnel starts an HTTP proxy that leads to the target whatever it is asked for,
// and returns its address.
func tunnel(t *testing.T, target string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { dig(t, near, target) })
		}
	})
	return listener.Addr().String()
}

func dig(t *testing.T, near net.Conn, target string) {
	defer near.Close()
	r := bufio.NewReader(near)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	if _, password, _ := basic(req); req.Method != http.MethodConnect || password != proxySecret {
		t.Errorf("the proxy is asked for %s %s with %v", req.Method, req.Host, req.Header)
		return
	}
	far, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer far.Close()
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		io.Copy(far, r)
		far.(*net.TCPConn).CloseWrite()
	})
	both.Go(func() {
		io.Copy(near, far)
		near.Close()
		far.Close()
	})
	both.Wait()
}

func basic(req *http.Request) (user, password string, ok bool) {
	return (&http.Request{Header: http.Header{"Authorization": req.Header["Proxy-Authorization"]}}).BasicAuth()
}
