package dovecot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// introspector answers what Dovecot asks about tokens (RFC 7662).
type introspector struct {
	http   *http.Server
	url    string
	served chan error
}

func startIntrospector(tokens func(token string) (user string, ok bool)) (*introspector, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &introspector{url: "http://" + listener.Addr().String() + "/introspect", served: make(chan error, 1)}
	i.http = &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		answer := map[string]any{"active": false}
		if user, ok := tokens(r.PostFormValue("token")); ok {
			answer = map[string]any{"active": true, "username": user}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // Dovecot is gone then
	})}
	go func() { i.served <- i.http.Serve(listener) }()
	return i, nil
}

func (i *introspector) close() error {
	err := i.http.Close()
	if served := <-i.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// oauth2Config is the file that the passdb of tokens reads.
func (s *Server) oauth2Config() string {
	return fmt.Sprintf("introspection_mode = post\nintrospection_url = %s\nusername_attribute = username\nactive_attribute = active\nactive_value = true\nmax_parallel_connections = 10\n", s.tokens.url)
}
