// Package graphtest is a stand-in for Microsoft Entra and for the mail of
// Microsoft Graph, for tests and demonstrations. It keeps mailboxes, refuses what
// the service refuses, checks every request against Microsoft's schema, enforces
// the service's limits, hands out mail rendered anew as Exchange does, and plays
// faults. What it does not know it refuses, and remembers as an illegal request.
package graphtest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"postroom/internal/testcert"
)

// Options say what the server is like. The zero value is a tenant in the public
// cloud with one application that may do everything with mail.
type Options struct {
	// Clock is the server's time: [time.Now]. Tokens expire and limits are
	// counted by it.
	Clock func() time.Time
	Cloud Cloud
	// Tenant and TenantDomain name the tenant: a GUID made of Seed, and
	// "contoso.example".
	Tenant, TenantDomain string
	// Seed makes identifiers; the same seed and the same actions make the same.
	Seed   uint64
	Limits Limits
	// TokenLife is how long a token is valid: an hour.
	TokenLife time.Duration
	// Resources are what tokens can be had for besides Graph, such as
	// "https://outlook.office365.com". Graph refuses those.
	Resources []string
	// DeltaLife is how long the link of a delta is valid: for ever.
	DeltaLife time.Duration
	// Schema is a file with Microsoft's CSDL of Graph v1.0, may be gzip. Without
	// it requests are checked against what the package itself knows of mail.
	Schema string
	// Certificate says what the server's certificate is like.
	Certificate testcert.Template
}

// Server is the stand-in, on the loopback interface over HTTPS. Its methods may
// be called concurrently.
type Server struct {
	options   Options
	model     *model
	authority []byte
	url       string
	http      *http.Server
	served    chan error
	// stop ends requests that are made to hang.
	stop context.Context
	end  context.CancelFunc

	mu        sync.Mutex
	handling  int               // requests
	conns     map[net.Conn]bool // that are open
	fewer     *sync.Cond        // under mu, once there are fewer of these
	apps      map[string]*App   // by client id
	mailboxes []*Mailbox
	log       []*Request
	received  int
	running   map[string]map[*Request]context.Context // requests under way by application and mailbox
	most      map[string]int                          // the most of them there were
	usage     map[string]*usage
	faults    faultState
	entra     entraState
}

// Run starts a server. Close ends it.
func Run(options Options) (*Server, error) {
	if options.Clock == nil {
		options.Clock = time.Now
	}
	if options.Cloud == (Cloud{}) {
		options.Cloud = Public
	}
	options.Tenant = cmp.Or(options.Tenant, guid("tenant", options.Seed))
	options.TenantDomain = cmp.Or(options.TenantDomain, "contoso.example")
	options.TokenLife = cmp.Or(options.TokenLife, time.Hour)
	options.Limits = options.Limits.withDefaults()
	s := &Server{
		options: options, model: facts(), served: make(chan error, 1),
		apps: make(map[string]*App), running: make(map[string]map[*Request]context.Context), most: make(map[string]int), usage: make(map[string]*usage),
		conns: make(map[net.Conn]bool),
	}
	s.fewer = sync.NewCond(&s.mu)
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("start Graph server: %w", err)
	}
	return s, nil
}

func (s *Server) start() error {
	if s.options.Schema != "" {
		var err error
		if s.model, err = readCSDL(s.options.Schema); err != nil {
			return err
		}
	}
	certificate, err := testcert.New(s.options.Certificate)
	if err != nil {
		return err
	}
	config, err := certificate.Server()
	if err != nil {
		return err
	}
	if err := s.entra.start(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.authority, s.url = certificate.Authority, "https://"+listener.Addr().String()
	s.apps[strings.ToLower(s.ClientID())] = &App{
		ID: s.ClientID(), Name: "postroom", Secrets: []Secret{{Value: s.ClientSecret()}}, Roles: []string{"Mail.ReadWrite"},
	}
	s.stop, s.end = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler: s, TLSConfig: config, ReadHeaderTimeout: time.Minute, ConnState: s.connState,
		// What clients do wrong with TLS is for the test to see at the client.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() {
		defer close(s.served)
		s.served <- s.http.ServeTLS(listener, "", "")
	}()
	return nil
}

// Close ends the server and its connections, and waits for them. It may be called
// again.
func (s *Server) Close() error {
	s.end()
	err := s.http.Close()
	if served, ok := <-s.served; ok && err == nil && served != http.ErrServerClosed {
		err = served
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.handling > 0 {
		s.fewer.Wait()
	}
	return err
}

// connState keeps account of the connections that are open.
func (s *Server) connState(conn net.Conn, state http.ConnState) {
	if state != http.StateNew && state != http.StateClosed {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateNew {
		s.conns[conn] = true
		return
	}
	delete(s.conns, conn)
	s.fewer.Broadcast()
}

// WaitGone waits until all clients have closed their connections and no request
// of theirs is being handled, or returns why the context has ended. What a client
// that died has sent last comes to the server when that reads it, maybe later
// than the first requests of the client's next life.
func (s *Server) WaitGone(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fewer.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.conns) > 0 || s.handling > 0 {
		if ctx.Err() != nil {
			return fmt.Errorf("%d connections are open and %d requests under way: %w", len(s.conns), s.handling, context.Cause(ctx))
		}
		s.fewer.Wait()
	}
	return nil
}

// AuthorityURL is the authority host of Entra, GraphURL where Graph is, without
// the version, and CAPEM the certificate that the server's is signed by.
func (s *Server) AuthorityURL() string { return s.url }
func (s *Server) GraphURL() string     { return s.url }
func (s *Server) CAPEM() []byte        { return s.authority }

// Announce makes the server name itself by another address, such as
// "https://127.0.0.1:4433", that of a proxy in front of it. It must come before
// the first request.
func (s *Server) Announce(url string) { s.url = url }

// Tenant is the tenant's id, ClientID and ClientSecret are those of the
// application that is there from the beginning.
func (s *Server) Tenant() string   { return s.options.Tenant }
func (s *Server) ClientID() string { return guid("app", s.options.Seed) }
func (s *Server) ClientSecret() string {
	return "Xy8Q~" + strings.ReplaceAll(guid("secret", s.options.Seed), "-", "")
}

func (s *Server) now() time.Time { return s.options.Clock() }

// ServeHTTP implements [http.Handler]: Graph below /v1.0, the service of managed
// identities below /metadata and /msi, Entra elsewhere.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.handling++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.handling--
		s.fewer.Broadcast()
	}()
	if r.Context().Err() != nil {
		return // it was cut off before anybody looked at it
	}
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch first {
	case "v1.0", "beta":
		s.serveGraph(w, r)
	case "metadata", "msi":
		s.serveIdentity(w, r)
	default:
		s.serveEntra(w, r)
	}
}

// mailbox returns the mailbox of a user, by id or address.
func (s *Server) mailbox(user string) *Mailbox {
	for _, m := range s.mailboxes {
		if strings.EqualFold(m.id, user) || strings.EqualFold(m.address, user) {
			return m
		}
	}
	return nil
}
