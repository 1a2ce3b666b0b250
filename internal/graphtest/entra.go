package graphtest

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

var tenantName = regexp.MustCompile(`^([0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)$`)

// serveEntra answers requests to the authority.
func (s *Server) serveEntra(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	tenant, rest := path[0], strings.Join(path[1:], "/")
	kind := map[string]string{
		"v2.0/.well-known/openid-configuration": "discovery", "discovery/instance": "discovery", "oauth2/v2.0/token": "token",
		"oauth2/v2.0/devicecode": "devicecode",
	}[rest]
	s.mu.Lock()
	q := &Request{Kind: kind, Method: r.Method, URL: r.URL.RequestURI()}
	s.record(q)
	number := q.Number
	s.mu.Unlock()
	requestID, correlation := guid("request", s.options.Seed, number), r.Header.Get("client-request-id")
	if correlation == "" {
		correlation = guid("correlation", number)
	}
	w.Header().Set("x-ms-request-id", requestID)
	w.Header().Set("client-request-id", correlation)
	w.Header().Set("Cache-Control", "no-store, no-cache")

	status, body, failure := s.answerEntra(w, r, kind, tenant, q)
	s.mu.Lock()
	if failure != nil {
		q.Status, q.Code = failure.Status, failure.Error
	} else if body != nil {
		q.Status = status
	}
	s.mu.Unlock()
	switch {
	case failure != nil:
		failure.answer(w, s, requestID, correlation)
	case body != nil:
		writeJSON(w, status, body)
	}
}

// answerEntra returns a body to answer, or a failure; neither if it has answered.
func (s *Server) answerEntra(w http.ResponseWriter, r *http.Request, kind, tenant string, q *Request) (int, any, *SignInFailure) {
	// Not under the mutex: it comes when whoever asks sends it.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == "" {
		q.Illegal = "not a path of Entra"
		return http.StatusNotFound, map[string]any{"error": "not_found"}, nil
	}
	if strings.HasSuffix(r.URL.Path, "/discovery/instance") {
		return http.StatusOK, map[string]any{
			"tenant_discovery_endpoint": s.url + "/" + s.options.Tenant + "/v2.0/.well-known/openid-configuration",
			"api-version":               "1.1",
			"metadata": []any{map[string]any{
				"preferred_network": strings.TrimPrefix(s.url, "https://"), "preferred_cache": strings.TrimPrefix(s.url, "https://"),
				"aliases": []string{strings.TrimPrefix(s.url, "https://")},
			}},
		}, nil
	}
	if !tenantName.MatchString(tenant) && !slices.Contains([]string{"common", "organizations", "consumers"}, tenant) {
		return 0, nil, signInRefused(400, "invalid_request", 900023, "Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain.", tenant)
	}
	if !strings.EqualFold(tenant, s.options.Tenant) && !strings.EqualFold(tenant, s.options.TenantDomain) {
		return 0, nil, signInRefused(400, "invalid_request", 90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.", tenant)
	}
	if kind == "discovery" {
		base := s.url + "/" + s.options.Tenant
		return http.StatusOK, map[string]any{
			"token_endpoint": s.url + "/" + tenant + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
			"device_authorization_endpoint": base + "/oauth2/v2.0/devicecode", "issuer": base + "/v2.0",
			"jwks_uri":                              base + "/discovery/v2.0/keys",
			"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
			"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
			"msgraph_host":                          strings.TrimPrefix(s.options.Cloud.Graph, "https://"),
		}, nil
	}
	if r.Method != http.MethodPost {
		q.Illegal = "a token is had by POST"
		return 0, nil, signInRefused(400, "invalid_request", 900561, "The endpoint only accepts POST requests. Received a %s request.", r.Method)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err == nil {
		err = r.ParseForm()
	} else if !errors.As(err, new(*http.MaxBytesError)) {
		// Whoever asked has gone.
		return 0, nil, signInRefused(400, "invalid_request", 90014, "The request body could not be read.")
	}
	if err != nil {
		q.Illegal = "the body is no form"
		return 0, nil, signInRefused(400, "invalid_request", 900144, "The request body must contain the following parameter: 'grant_type'.")
	}
	q.App = r.PostForm.Get("client_id")
	if f := s.failure(); f != nil {
		return 0, nil, f
	}
	if played := s.plan(q, ""); played != nil && s.playEntra(w, r, q, played) {
		return 0, nil, nil
	}
	if kind == "devicecode" {
		return s.deviceCode(r.PostForm)
	}
	switch r.PostForm.Get("grant_type") {
	case "refresh_token", "urn:ietf:params:oauth:grant-type:device_code":
		return s.personToken(r.PostForm)
	}
	return s.token(tenant, r.PostForm)
}

// token answers a request for a token.
func (s *Server) token(tenant string, form url.Values) (int, any, *SignInFailure) {
	for _, name := range []string{"grant_type", "client_id", "scope"} {
		if form.Get(name) == "" {
			return 0, nil, signInRefused(400, "invalid_request", 900144, "The request body must contain the following parameter: '%s'.", name)
		}
	}
	if grant := form.Get("grant_type"); grant != "client_credentials" {
		return 0, nil, signInRefused(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", grant)
	}
	app, f := s.application(form)
	if f != nil {
		return 0, nil, f
	}
	switch {
	case form.Get("client_assertion") != "":
		if f := s.checkAssertion(app, tenant, form.Get("client_assertion_type"), form.Get("client_assertion")); f != nil {
			return 0, nil, f
		}
	case form.Get("client_secret") != "":
		if f := s.checkSecret(app, form.Get("client_secret")); f != nil {
			return 0, nil, f
		}
	default:
		return 0, nil, signInRefused(401, "invalid_client", 7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	}
	// Besides the resource a library may ask for scopes of OpenID Connect.
	var resource string
	for scope := range strings.FieldsSeq(form.Get("scope")) {
		switch name, ok := strings.CutSuffix(scope, "/.default"); {
		case slices.Contains([]string{"openid", "profile", "offline_access"}, scope):
		case !ok:
			return 0, nil, signInRefused(400, "invalid_scope", 1002012, "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", form.Get("scope"))
		default:
			resource = name
		}
	}
	if !slices.Contains(s.audiences(), resource) && !slices.Contains(s.options.Resources, resource) {
		return 0, nil, signInRefused(400, "invalid_resource", 500011, "The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.", resource, s.options.TenantDomain)
	}
	token, life := s.issue(app, resource, capabilities(form.Get("claims")))
	return http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": int(life / time.Second), "ext_expires_in": int(life / time.Second), "access_token": token,
	}, nil
}

// application returns that which asks.
func (s *Server) application(form url.Values) (*App, *SignInFailure) {
	app := s.apps[strings.ToLower(form.Get("client_id"))]
	if app == nil {
		return nil, signInRefused(400, "unauthorized_client", 700016, "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
			form.Get("client_id"), s.options.TenantDomain)
	}
	if app.Disabled {
		return nil, signInRefused(400, "unauthorized_client", 7000112, "Application '%s'(%s) is disabled.", app.ID, app.Name)
	}
	return app, nil
}

// checkSecret reports a secret that is not the application's.
func (s *Server) checkSecret(app *App, secret string) *SignInFailure {
	expired := false
	for _, known := range app.Secrets {
		if subtle.ConstantTimeCompare([]byte(known.Value), []byte(secret)) == 1 {
			if known.Expires.IsZero() || s.now().Before(known.Expires) {
				return nil
			}
			expired = true
		}
	}
	if expired {
		return signInRefused(401, "invalid_client", 7000222, "The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app, or consider using certificate credentials for added security.", app.ID)
	}
	return signInRefused(401, "invalid_client", 7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", app.ID)
}

// capabilities are those that a client says it has in the claims parameter.
func capabilities(text string) []string {
	var request struct {
		Token struct {
			Client struct {
				Values []string `json:"values"`
			} `json:"xms_cc"`
		} `json:"access_token"`
	}
	if json.Unmarshal([]byte(text), &request) != nil {
		return nil
	}
	return request.Token.Client.Values
}
