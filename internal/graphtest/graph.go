package graphtest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// call is a request to Graph on its way through the server.
type call struct {
	s       *Server
	q       *Request
	target  *target
	query   *query
	body    map[string]any
	app     *App
	roles   []string
	token   *claims
	mailbox *Mailbox // nil if the path names none
	// key is what limits are counted by.
	key string
	// What the client prefers.
	immutable bool
	asText    bool
	pageSize  int // 0 if not said
	raw       string
	// again is the link to the page of a delta that is being answered.
	again string
}

// response is what a handler answers.
type response struct {
	status int
	body   any // as JSON; none if nil
	// stream writes a body of the type, in place of JSON.
	stream      func(io.Writer) error
	contentType string
	header      http.Header
}

// maxBody is the largest body of a request: 4 MB.
const maxBody = 4 << 20

// serveGraph answers requests to Graph.
func (s *Server) serveGraph(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	q := &Request{Method: r.Method, URL: r.URL.RequestURI(), Prefer: r.Header.Values("Prefer")}
	s.record(q)
	s.mu.Unlock()
	body, bodyProblem := readBody(r)

	s.mu.Lock()
	q.Body = string(body[:min(len(body), 64<<10)])
	c := &call{s: s, q: q, raw: r.URL.RawQuery}
	requestID := guid("request", s.options.Seed, q.Number)
	clientID := r.Header.Get("client-request-id")
	if clientID == "" {
		clientID = requestID
	}
	w.Header().Set("request-id", requestID)
	w.Header().Set("client-request-id", clientID)
	w.Header().Set("x-ms-ags-diagnostic", `{"ServerInfo":{"DataCenter":"West Europe","Slice":"E","Ring":"5","ScaleUnit":"001","RoleInstance":"AM1PEPF00000001"}}`)
	response, leave, fault, p := c.answer(r, body, bodyProblem)
	if p != nil {
		q.Code = p.code
		if p.illegal {
			q.Illegal = p.message
		}
		response = c.refused(p, requestID, clientID)
	}
	s.mu.Unlock()
	if c.asText {
		w.Header().Set("Preference-Applied", `outlook.body-content-type="text"`)
	}
	if leave != nil {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			leave()
		}()
	}
	s.write(w, r, q, response, fault)
}

// refused is the answer to a request that cannot be granted.
func (c *call) refused(p *problem, requestID, clientID string) *response {
	return &response{
		status: p.status, header: p.header, contentType: "application/json",
		stream: func(w io.Writer) error {
			_, err := w.Write(errorBody(p.code, p.message, requestID, clientID, c.s.now()))
			return err
		},
	}
}

// readBody returns the body of a request, unpacked.
func readBody(r *http.Request) ([]byte, *problem) {
	var in io.Reader = io.LimitReader(r.Body, maxBody+1)
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		packed, err := gzip.NewReader(in)
		if err != nil {
			return nil, badRequest("The body is not in the encoding gzip.")
		}
		in = io.LimitReader(packed, maxBody+1)
	default:
		return nil, illegal(415, "UnsupportedMediaType", "The content encoding '%s' is not supported.", encoding)
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return nil, refuse(400, "BadRequest", "Unable to read the request body.")
	}
	if len(body) > maxBody {
		return nil, illegal(413, "RequestEntityTooLarge", "The request is too large.")
	}
	return body, nil
}

// answer does what is asked. The caller holds the mutex. If leave is not nil,
// the request counts as under way until it is called.
func (c *call) answer(r *http.Request, body []byte, bodyProblem *problem) (answered *response, leave func(), fault *Fault, p *problem) {
	s := c.s
	path, version := strings.CutPrefix(r.URL.EscapedPath(), "/v1.0/")
	if !version {
		return nil, nil, nil, illegal(400, "BadRequest", "Only v1.0 is there.")
	}
	var h handler
	c.target, p = s.model.resolve(path)
	if p == nil {
		h = handlers[r.Method+" "+c.target.pattern]
		c.q.Kind = h.kind
	}
	claims, denied := s.authorize(r)
	if denied != nil {
		denied.header = http.Header{"Www-Authenticate": {s.challenge(claims)}}
		c.q.Illegal = p.text() // an illegal request is one whoever sends it
		return nil, nil, nil, denied
	}
	c.q.App, c.roles, c.token = claims.App, claims.Roles, claims
	if claims.UPN != "" {
		c.roles = strings.Fields(claims.Scopes)
	}
	if c.app = s.apps[strings.ToLower(claims.App)]; c.app == nil {
		return nil, nil, nil, refuse(http.StatusUnauthorized, "InvalidAuthenticationToken", "The application is not in the tenant.")
	}
	if p == nil {
		p = c.check(r, h, body, bodyProblem)
	}
	if p != nil {
		return nil, nil, nil, p
	}
	if p := c.find(h); p != nil {
		return nil, nil, nil, p
	}
	if c.mailbox != nil {
		c.q.Mailbox = c.mailbox.address
		c.key = c.app.ID + " " + c.mailbox.address
		if leave, p = s.admit(r.Context(), c.key, c.q); p != nil {
			return nil, leave, nil, p
		}
	}
	if fault = s.plan(c.q, c.key); fault != nil {
		c.q.Fault = fault.Kind
		if answered, p = c.before(fault); !fault.Kind.hasEffect() {
			return answered, leave, fault, p
		}
	}
	if answered, p = h.do(c); p != nil {
		return nil, leave, fault, p
	}
	if fault != nil {
		c.after(fault, answered)
		if fault.Kind == FaultLost {
			answered = nil
		}
	}
	return answered, leave, fault, nil
}

// text is the message of a problem that should not be; empty without one.
func (p *problem) text() string {
	if p == nil || !p.illegal {
		return ""
	}
	return p.message
}

// authorize returns the claims of the request's token.
func (s *Server) authorize(r *http.Request) (*claims, *problem) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return nil, invalidToken("Access token is empty.")
	}
	return s.verify(token)
}

// check checks a request against the schema, and what the schema does not say.
func (c *call) check(r *http.Request, h handler, body []byte, bodyProblem *problem) (p *problem) {
	if refused := knownRefusal(r.Method, c.target.pattern); refused != nil {
		return refused
	}
	if p := c.target.checkMethod(r.Method); p != nil {
		return p
	}
	if c.query, p = c.s.model.parseQuery(c.target, r.URL.RawQuery); p != nil {
		return p
	}
	if bodyProblem != nil {
		return bodyProblem
	}
	if p := c.prefer(r); p != nil {
		return p
	}
	if h.do == nil {
		return illegal(http.StatusNotImplemented, "NotImplemented", "This stand-in does not serve %s %s.", r.Method, c.target.pattern)
	}
	if r.Method == http.MethodGet || r.Method == http.MethodDelete {
		if len(body) > 0 {
			return badRequest("A %s has no body.", r.Method)
		}
		return nil
	}
	return c.parseBody(r, body)
}

// knownRefusal is what the service refuses although its schema has it.
func knownRefusal(method, pattern string) *problem {
	switch pattern {
	case "users/{}/mailFolders/{}/messages/{}/$value":
		return illegal(http.StatusMethodNotAllowed, "ErrorInvalidRequest", "The OData request is not supported.")
	case "users/{}/messages/delta":
		return illegal(http.StatusBadRequest, "ErrorInvalidRequest", "Change tracking is not supported against 'microsoft.graph.message'.")
	}
	if strings.HasPrefix(pattern, "me/") || pattern == "me" {
		return illegal(http.StatusBadRequest, "BadRequest", "/me request is only valid with delegated authentication flow.")
	}
	return nil
}

// prefer reads the Prefer headers (RFC 7240).
func (c *call) prefer(r *http.Request) *problem {
	for _, line := range r.Header.Values("Prefer") {
		for preference := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(preference), "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "idtype":
				if !strings.EqualFold(value, "ImmutableId") {
					return badRequest("Unknown IdType '%s'.", value)
				}
				c.immutable = true
			case "odata.maxpagesize":
				n, err := strconv.Atoi(value)
				if err != nil || n < 1 {
					return badRequest("Invalid odata.maxpagesize '%s'.", value)
				}
				c.pageSize = min(n, maxTop)
			case "outlook.body-content-type":
				c.asText = strings.EqualFold(value, "text")
			}
		}
	}
	return nil
}

// parseBody reads and checks the JSON body of a request that changes something.
func (c *call) parseBody(r *http.Request, body []byte) *problem {
	if len(bytes.TrimSpace(body)) == 0 {
		if c.target.operation != nil && len(c.target.operation.parameters) == 0 {
			return nil
		}
		return badRequest("Empty Payload. JSON content expected.")
	}
	if typ, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(typ), "application/json") {
		return illegal(415, "RequestBodyRead", "The content type '%s' is not application/json.", typ)
	}
	if err := json.Unmarshal(body, &c.body); err != nil {
		return badRequest("Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.")
	}
	return c.s.model.checkBody(c.target, c.body)
}

// find finds the mailbox that the path names, and checks that the application
// may use it so.
func (c *call) find(h handler) *problem {
	if h.directory {
		return nil
	}
	user := c.target.keys["users"]
	m := c.s.mailbox(user)
	if c.target.pattern == "users/{}" {
		if !slices.Contains(c.roles, "User.Read.All") && !slices.Contains(c.roles, "Directory.Read.All") {
			return insufficient()
		}
		if m == nil {
			return noResource(user)
		}
		c.mailbox = m
		return nil
	}
	roles := slices.Concat(c.roles, c.app.Granted)
	allowed := slices.Contains(roles, "Mail.ReadWrite") ||
		!h.writes && slices.Contains(roles, "Mail.Read") || h.basic && slices.Contains(roles, "Mail.ReadBasic.All")
	switch {
	case !allowed:
		return accessDenied()
	case m == nil:
		return refuse(http.StatusNotFound, "ErrorInvalidUser", "The requested user '%s' is invalid.", user)
	case c.token.UPN != "" && !strings.EqualFold(c.token.UPN, m.address):
		return accessDenied()
	case !c.app.mayUse(m):
		return refuse(http.StatusForbidden, "ErrorAccessDenied", "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.")
	case m.options.Unlicensed:
		return refuse(http.StatusNotFound, "MailboxNotEnabledForRESTAPI", "The mailbox is either inactive, soft-deleted, or is hosted on-premise.")
	}
	c.mailbox = m
	return nil
}
