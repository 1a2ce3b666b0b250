package graphtest_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"postroom/internal/graphtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a bare client of Graph.
type client struct {
	*testing.T
	server *graphtest.Server
	http   *http.Client
	token  string
	// prefer are Prefer headers of every request.
	prefer []string
}

// sample is a small message.
func sample(n int) []byte {
	return fmt.Appendf(nil, "From: Sender <sender@example.com>\r\nTo: invoices@contoso.example\r\nSubject: letter %d\r\n"+
		"Message-ID: <%d@example.com>\r\nDate: Mon, 5 Jan 2026 08:00:00 +0000\r\n\r\nThis is letter %d.\r\n", n, n, n)
}

const address = "invoices@contoso.example"

// newClient returns a client without a token.
func newClient(t *testing.T, s *graphtest.Server) *client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.CAPEM()) {
		t.Fatal("CAPEM is no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{T: t, server: s, http: &http.Client{Transport: transport}, prefer: []string{`IdType="ImmutableId"`}}
}

// signedIn returns a client of a server that has a mailbox.
func signedIn(t *testing.T, s *graphtest.Server) *client {
	t.Helper()
	c := newClient(t, s)
	status, body := c.signIn(nil)
	if status != 200 {
		t.Fatalf("sign-in: %d %v", status, body)
	}
	c.token = body["access_token"].(string)
	return c
}

// signIn asks for a token; change alters the form.
func (c *client) signIn(change func(url.Values)) (int, map[string]any) {
	c.Helper()
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.server.ClientID()}, "client_secret": {c.server.ClientSecret()},
		"scope": {"https://graph.microsoft.com/.default openid offline_access profile"},
	}
	if change != nil {
		change(form)
	}
	resp, err := c.http.PostForm(c.server.AuthorityURL()+"/"+c.server.Tenant()+"/oauth2/v2.0/token", form)
	if err != nil {
		c.Fatal(err)
	}
	return resp.StatusCode, c.decode(resp)
}

func (c *client) decode(resp *http.Response) map[string]any {
	c.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	var body map[string]any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &body); err != nil {
			c.Fatalf("%d %q: %v", resp.StatusCode, text, err)
		}
	}
	return body
}

// send sends a request to a path of the mailbox, of Graph if it begins with a
// slash, or to a URL.
func (c *client) send(method, path string, body any) (*http.Response, error) {
	c.Helper()
	switch {
	case strings.HasPrefix(path, "https:"):
	case strings.HasPrefix(path, "/"):
		path = c.server.GraphURL() + "/v1.0" + path
	default:
		path = c.server.GraphURL() + "/v1.0/users/" + address + "/" + path
	}
	var in io.Reader
	if text, ok := body.(string); ok {
		in = strings.NewReader(text)
	} else if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			c.Fatal(err)
		}
		in = io.MultiReader(bytes.NewReader(text)) // without a length, as the SDK sends
	}
	r, err := http.NewRequestWithContext(c.Context(), method, path, in)
	if err != nil {
		c.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	r.Header["Prefer"] = c.prefer
	return c.http.Do(r)
}

// do is send for what is to be answered with the status, in JSON or nothing.
func (c *client) do(want int, method, path string, body any) map[string]any {
	c.Helper()
	resp, err := c.send(method, path, body)
	if err != nil {
		c.Fatal(err)
	}
	got := c.decode(resp)
	if resp.StatusCode != want {
		c.Fatalf("%s %s: %d %v, want %d", method, path, resp.StatusCode, got, want)
	}
	return got
}

// refused sends a request that is to be refused with the status and code.
func (c *client) refused(want int, code, method, path string, body any) {
	c.Helper()
	resp, err := c.send(method, path, body)
	if err != nil {
		c.Fatal(err)
	}
	got := c.decode(resp)
	problem, _ := got["error"].(map[string]any)
	if resp.StatusCode != want || problem["code"] != code || problem["message"] == "" {
		c.Errorf("%s %s: %d %v, want %d %s", method, path, resp.StatusCode, got, want, code)
	}
}

func (c *client) get(path string) map[string]any {
	c.Helper()
	return c.do(http.StatusOK, http.MethodGet, path, nil)
}

// all follows the pages of a list or of a delta, and returns the last link.
func (c *client) all(path string) (entries []map[string]any, link string) {
	c.Helper()
	for path != "" {
		page := c.get(path)
		for _, e := range page["value"].([]any) {
			entries = append(entries, e.(map[string]any))
		}
		path, _ = page["@odata.nextLink"].(string)
		link, _ = page["@odata.deltaLink"].(string)
	}
	return entries, link
}

func values(entries []map[string]any, name string) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, fmt.Sprint(e[name]))
	}
	return out
}
