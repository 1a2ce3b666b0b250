package graph

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"postroom/internal/secret"
)

const (
	tenant = "11111111-1111-1111-1111-111111111111"
	app    = "22222222-2222-2222-2222-222222222222"
	hidden = "correct~horse.battery-staple"
)

// world stands in for Entra and Graph, without a network.
type world struct {
	// graph answers for Graph, authority, if set, the request for a token.
	graph, authority func(w http.ResponseWriter, r *http.Request)

	mu     sync.Mutex
	tokens int
	seen   []*http.Request
	roles  []string
}

// answers changes who answers for Graph, also while requests are under way.
func (f *world) answers(graph func(w http.ResponseWriter, r *http.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.graph = graph
}

// RoundTrip implements http.RoundTripper. The answer streams while it is
// written.
func (f *world) RoundTrip(r *http.Request) (*http.Response, error) {
	handler := f.login
	if r.URL.Host != "login.microsoftonline.com" {
		f.mu.Lock()
		handler = f.graph
		f.seen = append(f.seen, r)
		f.mu.Unlock()
	}
	pr, pw := io.Pipe()
	w := &answer{header: make(http.Header), body: pw, began: make(chan struct{})}
	go func() {
		defer func() { pw.CloseWithError(r.Context().Err()) }()
		defer w.begin(200)
		handler(w, r)
	}()
	select {
	case <-w.began:
	case <-r.Context().Done():
		pw.CloseWithError(r.Context().Err())
		return nil, r.Context().Err()
	}
	stop := make(chan struct{})
	go func() {
		select {
		case <-r.Context().Done():
			pw.CloseWithError(r.Context().Err())
		case <-stop:
		}
	}()
	return &http.Response{StatusCode: w.status, Header: w.header, Body: &closing{pr, sync.OnceFunc(func() { close(stop) })}, ContentLength: -1, Request: r}, nil
}

type closing struct {
	*io.PipeReader
	stop func()
}

func (c *closing) Close() error { c.stop(); return c.PipeReader.Close() }

type answer struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	began  chan struct{}
	status int
}

func (a *answer) Header() http.Header { return a.header }
func (a *answer) begin(status int)    { a.once.Do(func() { a.status = status; close(a.began) }) }
func (a *answer) WriteHeader(s int)   { a.begin(s) }
func (a *answer) Write(p []byte) (int, error) {
	a.begin(200)
	return a.body.Write(p)
}

func (f *world) login(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		if f.authority != nil {
			f.authority(w, r)
			return
		}
		f.issue(w)
		return
	}
	if strings.Contains(r.URL.Path, "discovery/instance") {
		fmt.Fprintf(w, `{"tenant_discovery_endpoint":"https://login.microsoftonline.com/%s/v2.0/.well-known/openid-configuration","metadata":[{"preferred_network":"login.microsoftonline.com","preferred_cache":"login.windows.net","aliases":["login.microsoftonline.com"]}]}`, tenant)
		return
	}
	fmt.Fprintf(w, `{"token_endpoint":"https://login.microsoftonline.com/%[1]s/oauth2/v2.0/token","authorization_endpoint":"https://login.microsoftonline.com/%[1]s/oauth2/v2.0/authorize","issuer":"https://login.microsoftonline.com/%[1]s/v2.0"}`, tenant)
}

// issue hands out a token.
func (f *world) issue(w http.ResponseWriter) {
	f.mu.Lock()
	f.tokens++
	n := f.tokens
	f.mu.Unlock()
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3600,"access_token":%q}`, f.token(n))
}

// token returns a token that says what it is.
func (f *world) token(n int) string {
	claims, _ := json.Marshal(map[string]any{"roles": f.roles, "tid": tenant, "appid": app, "exp": time.Now().Add(time.Hour).Unix(), "n": n})
	return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln"
}

func (f *world) requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

func settings() Settings {
	return Settings{TenantID: tenant, ClientID: app, ClientSecret: secret.New(hidden)}
}

// open returns a client whose servers are the world.
func (f *world) open(t *testing.T, clients *Clients, s Settings) *Client {
	t.Helper()
	c, err := clients.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	c.rt = f
	t.Cleanup(c.Close)
	return c
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("request-id", "req-1")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"code":%q,"message":%q}}`, code, message)
}
