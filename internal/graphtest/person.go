package graphtest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// people is what Entra keeps of persons who sign in with a code on another device
// (RFC 8628, as Microsoft has it:
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code).
type people struct {
	devices []*device
	refresh map[string]*refreshToken
	// consents are permissions that a person has given an application.
	consents map[consent]bool
	// life is sent with refresh tokens, if it is not zero.
	life   time.Duration
	issued int
	// interval is how often it may be asked whether the code was entered.
	interval time.Duration
}

type consent struct{ app, user, permission string }

// device is a sign-in that was begun.
type device struct {
	app            *App
	code, userCode string
	scopes         []string
	expires        time.Time
	interval       time.Duration
	asked          time.Time // last
	user           string    // "" until somebody has entered the code
	declined, used bool
}

// refreshToken is one that was issued.
type refreshToken struct {
	app, user string
	issued    time.Time
	// refusal is with which code it is refused; 0 for not.
	refusal int
}

// unusedLife is how long a refresh token lives that is not used.
const unusedLife = 90 * 24 * time.Hour

// UserCode returns the code that was handed out last for a person to enter; ""
// if none waits.
func (s *Server) UserCode() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range slices.Backward(s.entra.people.devices) {
		if d.user == "" && !d.declined {
			return d.userCode
		}
	}
	return ""
}

// EnterCode is a person who enters the code, signs in, and lets the application do
// what it asks for.
func (s *Server) EnterCode(userCode, user string) error {
	return s.enter(userCode, func(d *device) {
		d.user = user
		for _, permission := range d.scopes {
			s.entra.people.consents[consent{d.app.ID, strings.ToLower(user), permission}] = true
		}
	})
}

// DeclineCode is a person who enters the code, and does not let the application.
func (s *Server) DeclineCode(userCode string) error {
	return s.enter(userCode, func(d *device) { d.declined = true })
}

func (s *Server) enter(userCode string, f func(*device)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.entra.people.devices {
		if d.userCode == userCode && d.user == "" && !d.declined && s.now().Before(d.expires) {
			f(d)
			return nil
		}
	}
	return fmt.Errorf("graphtest: the code %s is not one that waits", userCode)
}

// RevokeSignIns makes Entra refuse the refresh tokens that the person has had so
// far, with an AADSTS code: 50173 after a change of the password, 700082 when not
// used for long, 70043 by a policy of sign-in frequency, 50076 where multi-factor
// authentication is asked for.
func (s *Server) RevokeSignIns(user string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.entra.people.refresh {
		if strings.EqualFold(t.user, user) {
			t.refusal = code
		}
	}
}

// SetDeviceInterval sets how often it may be asked whether a person has entered a
// code: every 5 s if it is not called.
func (s *Server) SetDeviceInterval(interval time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entra.people.interval = interval
}

// SetSignInLife makes Entra say for how long refresh tokens live, as it does by a
// policy.
func (s *Server) SetSignInLife(life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entra.people.life = life
}

// ValidUser is [Server.Valid] for the token of a person.
func (s *Server) ValidUser(token, resource string) (user string, scopes []string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, refused := s.verifyFor(token, []string{resource})
	if refused != nil || c.UPN == "" || !slices.Contains(s.options.Resources, resource) {
		return "", nil, false
	}
	return c.UPN, strings.Fields(c.Scopes), true
}

// publicApp returns the application of a request by which a person is to sign in:
// one that is allowed to have no secret, and sends none.
func (s *Server) publicApp(form url.Values) (*App, *SignInFailure) {
	app, f := s.application(form)
	switch {
	case f != nil:
		return nil, f
	case app.Public && (form.Has("client_secret") || form.Has("client_assertion")):
		return nil, signInRefused(401, "invalid_client", 700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.")
	case !app.Public:
		return nil, signInRefused(401, "invalid_client", 7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	}
	return app, nil
}

// delegated returns the service and the permissions that a scope asks for, and
// those of OpenID Connect beside them.
func (s *Server) delegated(app *App, scope string) (resource string, permissions, openID []string, f *SignInFailure) {
	for one := range strings.FieldsSeq(scope) {
		if slices.Contains([]string{"openid", "profile", "email", "offline_access"}, one) {
			openID = append(openID, one)
			continue
		}
		slash := strings.LastIndexByte(one, '/')
		if slash < 0 {
			return "", nil, nil, signInRefused(400, "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid. The scope '%s' is not valid.", one)
		}
		of, permission := one[:slash], one[slash+1:]
		switch {
		case !slices.Contains(s.audiences(), of) && !slices.Contains(s.options.Resources, of):
			return "", nil, nil, signInRefused(400, "invalid_resource", 500011, "The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.", of, s.options.TenantDomain)
		case resource != "" && resource != of:
			return "", nil, nil, signInRefused(400, "invalid_request", 28000, "Provided value for the input parameter scope is not valid because it contains more than one resource. Scope %s is not valid.", scope)
		case permission == ".default":
			permissions = append(permissions, app.Delegated...)
		case !slices.Contains(app.Delegated, permission):
			return "", nil, nil, signInRefused(400, "invalid_client", 650053, "The application '%s' asked for scope '%s' that doesn't exist on the resource. Contact the app vendor.", app.Name, permission)
		default:
			permissions = append(permissions, permission)
		}
		resource = of
	}
	if resource == "" {
		return "", nil, nil, signInRefused(400, "invalid_scope", 70011, "The provided request must include a 'scope' input parameter.")
	}
	return resource, permissions, openID, nil
}

// deviceCode answers a request to begin a sign-in (RFC 8628 3.1).
func (s *Server) deviceCode(form url.Values) (int, any, *SignInFailure) {
	for _, name := range []string{"client_id", "scope"} {
		if form.Get(name) == "" {
			return 0, nil, signInRefused(400, "invalid_request", 900144, "The request body must contain the following parameter: '%s'.", name)
		}
	}
	app, f := s.publicApp(form)
	if f != nil {
		return 0, nil, f
	}
	_, permissions, _, f := s.delegated(app, form.Get("scope"))
	if f != nil {
		return 0, nil, f
	}
	p := &s.entra.people
	interval := cmp.Or(p.interval, 5*time.Second)
	number := len(p.devices)
	d := &device{
		app: app, scopes: permissions, expires: s.now().Add(15 * time.Minute), interval: interval,
		code:     "device-" + guid("device", s.options.Seed, number),
		userCode: strings.ToUpper(strings.ReplaceAll(guid("user code", s.options.Seed, number), "-", "")[:9]),
	}
	p.devices = append(p.devices, d)
	verify := s.url + "/devicelogin"
	return http.StatusOK, map[string]any{
		"user_code": d.userCode, "device_code": d.code, "verification_uri": verify, "expires_in": 900, "interval": interval.Seconds(),
		"message": "To sign in, use a web browser to open the page " + verify + " and enter the code " + d.userCode + " to authenticate.",
	}, nil
}

// personToken answers a request for a token of a person.
func (s *Server) personToken(form url.Values) (int, any, *SignInFailure) {
	app, f := s.publicApp(form)
	if f != nil {
		return 0, nil, f
	}
	user, scope := "", form.Get("scope")
	byDevice := form.Get("grant_type") != "refresh_token"
	if byDevice {
		d, f := s.poll(app, form.Get("device_code"))
		if f != nil {
			return 0, nil, f
		}
		user = d.user
	} else if user, f = s.refreshed(app, form.Get("refresh_token")); f != nil {
		return 0, nil, f
	}
	resource, permissions, openID, f := s.delegated(app, scope)
	if f != nil {
		return 0, nil, f
	}
	p := &s.entra.people
	for _, permission := range permissions {
		if !p.consents[consent{app.ID, strings.ToLower(user), permission}] && !app.Consented {
			f := signInRefused(400, "invalid_grant", 65001, "The user or administrator has not consented to use the application with ID '%s' named '%s'. Send an interactive authorization request for this user and resource.", app.ID, app.Name)
			f.Suberror = "consent_required"
			return 0, nil, f
		}
	}
	token, life := s.issueFor(app, resource, nil, user, permissions)
	answer := map[string]any{
		"token_type": "Bearer", "scope": scope, "expires_in": int(life / time.Second), "ext_expires_in": int(life / time.Second), "access_token": token,
	}
	if slices.Contains(openID, "offline_access") {
		p.issued++
		fresh := fmt.Sprintf("1.refresh.%s", guid("refresh", s.options.Seed, p.issued))
		p.refresh[fresh] = &refreshToken{app: app.ID, user: user, issued: s.now()}
		answer["refresh_token"] = fresh
		if p.life > 0 {
			answer["refresh_token_expires_in"] = int(p.life / time.Second)
		}
	}
	if slices.Contains(openID, "openid") {
		answer["id_token"] = s.idToken(app, user, slices.Contains(openID, "profile"))
	}
	if byDevice {
		for _, d := range p.devices {
			d.used = d.used || d.code == form.Get("device_code")
		}
	}
	return http.StatusOK, answer, nil
}

// poll answers the question whether the person has entered the code.
func (s *Server) poll(app *App, code string) (*device, *SignInFailure) {
	i := slices.IndexFunc(s.entra.people.devices, func(d *device) bool { return d.code == code && d.app.ID == app.ID && !d.used })
	if i < 0 {
		return nil, signInRefused(400, "bad_verification_code", 70018, "Invalid verification code due to User typing in wrong user code for device code flow. Authorization isn't approved.")
	}
	d, now := s.entra.people.devices[i], s.now()
	early := !d.asked.IsZero() && now.Sub(d.asked) < d.interval*9/10
	d.asked = now
	switch {
	case !now.Before(d.expires):
		return nil, signInRefused(400, "expired_token", 70020, "The provided device code has expired.")
	case d.declined:
		return nil, signInRefused(400, "authorization_declined", 65004, "User declined to consent to access the app.")
	case early:
		d.interval += 5 * time.Second
		return nil, signInRefused(400, "slow_down", 70016, "The client is polling too often.")
	case d.user == "":
		return nil, signInRefused(400, "authorization_pending", 70016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
	}
	return d, nil
}

// refreshed returns whose the refresh token is. The one before stays good when
// another is handed out, as Entra has it.
func (s *Server) refreshed(app *App, token string) (user string, f *SignInFailure) {
	t := s.entra.people.refresh[token]
	switch {
	case token == "":
		return "", signInRefused(400, "invalid_request", 900144, "The request body must contain the following parameter: 'refresh_token'.")
	case t == nil:
		return "", signInRefused(400, "invalid_grant", 9002313, "Invalid request. Request is malformed or invalid.")
	case t.app != app.ID:
		return "", signInRefused(400, "invalid_grant", 700003, "The refresh token was issued to another application.")
	case t.refusal == 0 && s.now().Sub(t.issued) > unusedLife:
		t.refusal = 700082
	}
	const date = "2006-01-02T15:04:05.0000000Z"
	switch t.refusal {
	case 0:
		return t.user, nil
	case 50173:
		f = signInRefused(400, "invalid_grant", 50173, "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password. The grant was issued on '%s' and the TokensValidFrom date (before which tokens are not valid) for this user is '%s'.", t.issued.UTC().Format(date), s.now().UTC().Format(date))
	case 700082:
		f = signInRefused(400, "invalid_grant", 700082, "The refresh token has expired due to inactivity. The token was issued on %s and was inactive for 90.00:00:00.", t.issued.UTC().Format(date))
	case 70043:
		f = signInRefused(400, "invalid_grant", 70043, "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access. The token was issued on %s and the maximum allowed lifetime for this request is 3600.", t.issued.UTC().Format(date))
		f.Suberror = "token_expired"
	case 50076, 50079:
		f = signInRefused(400, "interaction_required", t.refusal, "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access the service.")
		f.Suberror, f.Claims = "basic_action", `{"access_token":{"capolids":{"essential":true,"values":["`+guid("policy", s.options.Seed)+`"]}}}`
	default:
		f = signInRefused(400, "invalid_grant", t.refusal, "The grant is not accepted any more.")
	}
	return "", f
}

// idToken tells who a person is (OpenID Connect Core 2).
func (s *Server) idToken(app *App, user string, profile bool) string {
	now := s.now()
	c := map[string]any{
		"aud": app.ID, "iss": s.url + "/" + s.options.Tenant + "/v2.0", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"sub": guid("pairwise", app.ID, strings.ToLower(user)), "tid": s.options.Tenant, "ver": "2.0",
	}
	if profile {
		c["preferred_username"], c["name"], c["oid"] = user, user, guid("user", strings.ToLower(user))
	}
	return s.signed(c)
}

// signed returns the claims as a token.
func (s *Server) signed(c any) string {
	body, err := json.Marshal(c)
	if err != nil {
		panic("graphtest: " + err.Error()) // claims can be encoded
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(s.sign(text))
}
