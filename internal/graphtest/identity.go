package graphtest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// SetManagedIdentity makes the application the managed identity of the machine:
// the server then answers at /metadata/identity/oauth2/token as the instance
// metadata service of a virtual machine does, and at /msi/token as an app service.
func (s *Server) SetManagedIdentity(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entra.managed = clientID
}

// IdentityHeader is what an app service wants in X-IDENTITY-HEADER.
func (s *Server) IdentityHeader() string { return guid("identity header", s.options.Seed) }

// serveIdentity answers requests for tokens of the managed identity.
func (s *Server) serveIdentity(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	q := &Request{Kind: "token", Method: r.Method, URL: r.URL.RequestURI()}
	s.record(q)
	status, body := s.managedToken(r, q)
	q.Status = status
	s.mu.Unlock()
	writeJSON(w, status, body)
}

func (s *Server) managedToken(r *http.Request, q *Request) (int, map[string]any) {
	fail := func(status int, code, message string) (int, map[string]any) {
		q.Code = code
		return status, map[string]any{"error": code, "error_description": message}
	}
	query := r.URL.Query()
	switch {
	case r.Method != http.MethodGet:
		return fail(405, "method_not_allowed", "Method not allowed")
	case r.URL.Path == "/metadata/identity/oauth2/token":
		if r.Header.Get("Metadata") != "true" || r.Header.Get("X-Forwarded-For") != "" {
			return fail(400, "bad_request_102", "Required metadata header not specified")
		}
	case r.URL.Path == "/msi/token":
		if r.Header.Get("X-IDENTITY-HEADER") != s.IdentityHeader() {
			return fail(401, "unauthorized", "The X-IDENTITY-HEADER is not that of this service")
		}
	default:
		q.Illegal = "not a path of managed identities"
		return fail(404, "not_found", "The requested resource was not found")
	}
	if query.Get("api-version") == "" {
		return fail(400, "bad_request", "Required parameter 'api-version' is missing")
	}
	app := s.apps[strings.ToLower(s.entra.managed)]
	if id := query.Get("client_id"); app == nil || id != "" && !strings.EqualFold(id, app.ID) {
		return fail(400, "invalid_request", "Identity not found")
	}
	resource := strings.TrimSuffix(query.Get("resource"), "/")
	if !slices.Contains(s.audiences(), resource) && !slices.Contains(s.options.Resources, resource) {
		return fail(400, "invalid_resource", "AADSTS500011: The resource principal named "+resource+" was not found in the tenant.")
	}
	q.App = app.ID
	token, life := s.issue(app, resource, nil)
	return 200, map[string]any{
		"access_token": token, "client_id": app.ID, "expires_in": strconv.Itoa(int(life.Seconds())),
		"expires_on": strconv.FormatInt(s.now().Add(life).Unix(), 10), "ext_expires_in": strconv.Itoa(int(life.Seconds())),
		"not_before": strconv.FormatInt(s.now().Unix(), 10), "resource": resource, "token_type": "Bearer",
	}
}
