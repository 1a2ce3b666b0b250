package graph

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"postroom/internal/secret"
	"postroom/internal/vault"
)

// Person is who signs in with [DeviceCode], and where that is kept.
type Person struct {
	// Mailbox is the person's user principal name, or object id. The sign-in of
	// another person is refused.
	Mailbox string
	// Vault keeps the sign-in under Name.
	Vault *vault.Vault
	Name  string
	// Command is what the person types in order to sign in.
	Command string
}

// kept is a sign-in as it is in the vault.
type kept struct {
	RefreshToken string `json:"refresh_token"`
	// User is the user principal name, Object the object id.
	User   string `json:"user"`
	Object string `json:"object"`
	// Tenant, Client and Authority are those that were configured.
	Tenant    string `json:"tenant"`
	Client    string `json:"client"`
	Authority string `json:"authority"`
	// SignedIn is when the person did, Used when a token was last had.
	SignedIn time.Time `json:"signed_in"`
	Used     time.Time `json:"used"`
	// Life is for how many seconds from Used the refresh token is good, if Entra
	// has said so.
	Life int64 `json:"life,omitempty"`
}

// unusedLife is after how long without use a refresh token ends, unless Entra says
// otherwise (https://learn.microsoft.com/entra/identity-platform/refresh-tokens).
const unusedLife = 90 * 24 * time.Hour

func (k *kept) life() time.Duration {
	if k.Life > 0 {
		return time.Duration(k.Life) * time.Second
	}
	return unusedLife
}

// of reports whether it is the sign-in of whom mailbox names.
func (k *kept) of(mailbox string) bool {
	return strings.EqualFold(k.User, mailbox) || k.Object != "" && strings.EqualFold(k.Object, mailbox)
}

// dead is a refresh token that Entra will never take again.
type dead struct {
	refreshToken string
	refusal      *SignInError
}

// tokenAnswer is an answer of the token endpoint (RFC 6749 5.1), with what OpenID
// Connect and Entra add.
type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	Type         string `json:"token_type"`
	// In seconds.
	Expires        json.Number `json:"expires_in"`
	RefreshExpires json.Number `json:"refresh_token_expires_in"`
}

// deviceAnswer is an answer of the device authorization endpoint (RFC 8628 3.2).
type deviceAnswer struct {
	DeviceCode string      `json:"device_code"`
	UserCode   string      `json:"user_code"`
	URL        string      `json:"verification_uri"`
	Expires    json.Number `json:"expires_in"`
	Interval   json.Number `json:"interval"`
}

func seconds(n json.Number, otherwise time.Duration) time.Duration {
	if f, err := n.Float64(); err == nil && f > 0 && f < 1e9 {
		return time.Duration(f * float64(time.Second))
	}
	return otherwise
}

// post sends a form to an endpoint of the authority, and decodes the answer. An
// error is for explainSignIn.
func (c *Client) post(ctx context.Context, endpoint string, form url.Values, to any) error {
	form.Set("client_id", c.settings.ClientID)
	address := c.cloud.Authority + "/" + url.PathEscape(c.settings.TenantID) + "/oauth2/v2.0/" + endpoint
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "postroom")
	resp, err := (*authority)(c).Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body) // it is bounded and at hand
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		if note, _ := ctx.Value(spokenKey{}).(*spoken); note != nil {
			for _, name := range []string{"refresh_token", "device_code"} {
				if sent := form.Get(name); sent != "" {
					note.answer.Description = strings.ReplaceAll(note.answer.Description, sent, "***")
				}
			}
		}
		return errRefused
	}
	if json.Unmarshal(body, to) != nil {
		return errOdd
	}
	return nil
}

var (
	errRefused = errors.New("refused")
	errOdd     = errors.New("the answer is none that Entra gives")
)

// openID are the scopes beside that of a service: a refresh token, and who signed
// in.
const openID = " offline_access openid profile"

// redeem asks for a token with a grant.
func (c *Client) redeem(ctx context.Context, scope string, form url.Values) (*tokenAnswer, error) {
	form.Set("scope", scope+openID)
	answer := new(tokenAnswer)
	if err := c.post(ctx, "token", form, answer); err != nil {
		return nil, err
	}
	if answer.AccessToken == "" || !strings.EqualFold(answer.Type, "Bearer") {
		return nil, errOdd
	}
	return answer, nil
}

func refreshGrant(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// take notes what an answer brings: the refresh token that replaces the one
// before, and who the person is.
func (k *kept) take(answer *tokenAnswer, now time.Time) {
	if answer.RefreshToken != "" {
		k.RefreshToken = answer.RefreshToken
		k.Life = int64(seconds(answer.RefreshExpires, 0) / time.Second)
	}
	k.Used = now.UTC().Truncate(time.Second)
	if user, object := readIDToken(answer.IDToken); user != "" {
		k.User, k.Object = user, object
	}
}

// readIDToken returns who an ID token is about. It is not verified: it was had
// from its issuer (OpenID Connect Core 3.1.3.7).
func readIDToken(token string) (user, object string) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", ""
	}
	var claims struct {
		Preferred string `json:"preferred_username"`
		UPN       string `json:"upn"`
		Object    string `json:"oid"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return "", ""
	}
	return clean(cmp.Or(claims.UPN, claims.Preferred)), clean(claims.Object)
}

// personCredential gets tokens with the sign-in that is kept. It implements
// [azcore.TokenCredential].
type personCredential struct{ client *Client }

// GetToken implements [azcore.TokenCredential].
func (p personCredential) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c := p.client
	k, err := c.signedIn()
	if err != nil {
		return azcore.AccessToken{}, err
	}
	if d := c.dead.Load(); d != nil && d.refreshToken == k.RefreshToken {
		return azcore.AccessToken{}, d.refusal
	}
	began := c.tokens.now()
	answer, err := c.redeem(ctx, strings.Join(options.Scopes, " "), refreshGrant(k.RefreshToken))
	if err != nil {
		if note, _ := ctx.Value(spokenKey{}).(*spoken); note != nil && errors.Is(err, errRefused) {
			var refusal *SignInError
			if errors.As(c.settings.explainSignIn(note, err), &refusal) && refusal.Reason == NotSignedIn {
				c.dead.Store(&dead{k.RefreshToken, refusal})
			}
		}
		return azcore.AccessToken{}, err
	}
	// Before the token is used: the refresh token may have been replaced.
	if err := c.keep(ctx, *k, answer); err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{Token: answer.AccessToken, ExpiresOn: began.Add(seconds(answer.Expires, 5*time.Minute))}, nil
}

// personError is a refusal for whose sign-in is kept, or is not.
func (s *Settings) personError(reason Reason, remedy, format string, args ...any) *SignInError {
	return &SignInError{Reason: reason, who: s.who(), Summary: fmt.Sprintf(format, args...), Remedy: remedy}
}

// signInAgain is what to do where a person has to sign in.
func (s *Settings) signInAgain() string {
	if s.Person == nil {
		return "sign in"
	}
	return "sign in as " + s.Person.Mailbox + ": " + s.Person.Command
}

// signedIn returns the sign-in that is kept. An error is a *SignInError.
func (c *Client) signedIn() (*kept, error) {
	s := &c.settings
	value, err := s.Person.Vault.Get(s.Person.Name)
	var unreadable *vault.UnreadableError
	switch {
	case errors.Is(err, vault.ErrUnknown):
		return nil, s.personError(NotSignedIn, s.signInAgain(), "nobody has signed in for mailbox %s", s.Person.Mailbox)
	case errors.As(err, &unreadable):
		return nil, s.personError(NotSignedIn, cmp.Or(unreadable.Remedy, s.signInAgain()), "the sign-in for mailbox %s cannot be read: %s: %s", s.Person.Mailbox, unreadable.Path, unreadable.Reason)
	case err != nil:
		return nil, s.personError(NotSignedIn, "run this as the user that postroom runs as, or as an administrator, and let that user read the folder", "the sign-in for mailbox %s cannot be read: %v", s.Person.Mailbox, err)
	}
	k := new(kept)
	if json.Unmarshal([]byte(value.Reveal()), k) != nil || k.RefreshToken == "" {
		return nil, s.personError(NotSignedIn, s.signInAgain(), "the sign-in for mailbox %s was kept by another version and cannot be read", s.Person.Mailbox)
	}
	if !strings.EqualFold(k.Client, s.ClientID) || !strings.EqualFold(k.Tenant, s.TenantID) || k.Authority != c.cloud.Authority {
		return nil, s.personError(NotSignedIn, s.signInAgain(), "the sign-in for mailbox %s was for application %s, tenant %s", s.Person.Mailbox, k.Client, k.Tenant)
	}
	if !k.of(s.Person.Mailbox) {
		return nil, s.wrongPerson(k.User)
	}
	return k, nil
}

func (s *Settings) wrongPerson(user string) *SignInError {
	return s.personError(WrongPerson, "a sign-in opens the person's own mailbox only: "+s.signInAgain()+"; or set mailbox to "+user+", if that is the mailbox meant; a shared mailbox needs an application (flow: client_credentials)",
		"the person who signed in is %s, and mailbox is %s", user, s.Person.Mailbox)
}

// keepTime bounds the wait for the vault, once a sign-in has been renewed.
const keepTime = 5 * time.Second

// keep replaces the sign-in k by what the answer makes of it, unless somebody has
// signed in anew meanwhile.
func (c *Client) keep(ctx context.Context, k kept, answer *tokenAnswer) error {
	since := k.SignedIn
	k.take(answer, c.tokens.now())
	// Who renewed it may not wait any more; the one before it may be of no use now.
	keeping, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTime)
	defer cancel()
	err := c.settings.Person.Vault.Update(keeping, c.settings.Person.Name, func(old secret.Value) (secret.Value, error) {
		var now kept
		if json.Unmarshal([]byte(old.Reveal()), &now) == nil && !now.SignedIn.Equal(since) {
			return old, nil
		}
		return k.sealed()
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, vault.ErrUnknown):
		return c.settings.personError(NotSignedIn, c.settings.signInAgain(), "the sign-in for mailbox %s has been removed", c.settings.Person.Mailbox)
	}
	return c.settings.notKept("the renewed sign-in for mailbox %s cannot be kept, and is not used", err)
}

// notKept is the refusal for which a sign-in is not kept in the vault; the format
// is for the mailbox.
func (s *Settings) notKept(format string, err error) *SignInError {
	remedy := "see that the user that postroom runs as can write to " + s.Person.Vault.Dir() + ", and that its disk has room"
	var unreadable *vault.UnreadableError
	if errors.As(err, &unreadable) {
		remedy = cmp.Or(unreadable.Remedy, s.signInAgain())
		err = errors.New(unreadable.Path + ": " + unreadable.Reason)
	}
	return s.personError(NotKept, remedy, format+": %v", s.Person.Mailbox, err)
}

func (k *kept) sealed() (secret.Value, error) {
	data, err := json.Marshal(k)
	return secret.New(string(data)), err
}

// personProof tells until when the sign-in is good if it is not used; zero if
// there is none.
func (c *Client) personProof() Proof {
	k, err := c.signedIn()
	if err != nil {
		return Proof{} // getting a token says what is wrong
	}
	return Proof{Kind: "sign-in", Name: k.User, Expires: k.Used.Add(k.life()), Life: k.life(), Renew: c.settings.signInAgain()}
}

// Prompt is what a person is to be shown, who signs in on any device.
type Prompt struct {
	// URL is where to enter Code, until Expires.
	URL, Code string
	Expires   time.Time
}

// SignInPerson has the person of the settings sign in with a code on another
// device (RFC 8628), for all of the scopes, and keeps that. It calls show for
// every code: more than one if a service asks for more than the one before. It
// returns the name of who signed in. When there is an error nothing has changed;
// it is a *SignInError, a *ConnError, or that of the context.
func (c *Client) SignInPerson(ctx context.Context, scopes []string, show func(Prompt)) (user string, err error) {
	s := &c.settings
	// Nobody is to sign in for nothing.
	if err := s.Person.Vault.Ready(); err != nil {
		return "", s.notKept("a sign-in for mailbox %s cannot be kept", err)
	}
	k := &kept{Tenant: s.TenantID, Client: s.ClientID, Authority: c.cloud.Authority}
	for _, scope := range scopes {
		asked := &tokens{scope: scope, service: serviceOf(scope)}
		if k.RefreshToken != "" {
			var answer *tokenAnswer
			err := c.attempt(ctx, &spoken{asked: asked}, func(ctx context.Context) (err error) {
				answer, err = c.redeem(ctx, scope, refreshGrant(k.RefreshToken))
				return err
			})
			var refused *SignInError
			if err == nil {
				k.take(answer, c.tokens.now())
				continue
			}
			if !errors.As(err, &refused) || refused.Reason != NotSignedIn && refused.Reason != NoConsent {
				return "", err
			}
		}
		answer, err := c.deviceSignIn(ctx, asked, show)
		if err != nil {
			return "", err
		}
		k.take(answer, c.tokens.now())
		switch {
		case answer.RefreshToken == "":
			return "", s.personError(Refused, "see that no policy of the tenant forbids the application the permission offline_access", "Entra has given no refresh token: the sign-in would end within the hour")
		case k.User == "":
			return "", s.personError(Refused, "check tenant_id and client_id", "Entra has not said who signed in")
		case !k.of(s.Person.Mailbox):
			return "", s.wrongPerson(k.User)
		}
	}
	k.SignedIn = c.tokens.now().UTC()
	value, err := k.sealed()
	if err != nil {
		return "", err
	}
	if err := s.Person.Vault.Set(ctx, s.Person.Name, value); err != nil {
		if ctx.Err() != nil {
			return "", err
		}
		return "", s.notKept("the sign-in for mailbox %s cannot be kept", err)
	}
	return k.User, nil
}

// serviceOf is the name of the service of a scope, for errors.
func serviceOf(scope string) string {
	if strings.Contains(scope, "AccessAsUser") {
		return "Exchange Online"
	}
	return ""
}

// maxPause bounds the pauses between two questions whether the person has signed
// in.
const maxPause = time.Minute

// deviceSignIn waits until the person has entered a code.
func (c *Client) deviceSignIn(ctx context.Context, asked *tokens, show func(Prompt)) (*tokenAnswer, error) {
	var device deviceAnswer
	err := c.attempt(ctx, &spoken{asked: asked}, func(ctx context.Context) error {
		err := c.post(ctx, "devicecode", url.Values{"scope": {asked.scope + openID}}, &device)
		if err == nil && (device.DeviceCode == "" || device.UserCode == "" || device.URL == "") {
			err = errOdd
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	expires := time.Now().Add(min(seconds(device.Expires, 15*time.Minute), time.Hour))
	pause := seconds(device.Interval, 5*time.Second) // RFC 8628 3.2
	show(Prompt{URL: clean(device.URL), Code: clean(device.UserCode), Expires: expires})
	for {
		if time.Now().Add(pause).After(expires) {
			return nil, c.settings.personError(NotSignedIn, "begin again", "the code was not used in time")
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
		var answer *tokenAnswer
		note := &spoken{asked: asked}
		err := c.attempt(ctx, note, func(ctx context.Context) (err error) {
			answer, err = c.redeem(ctx, asked.scope, url.Values{
				"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {device.DeviceCode},
			})
			return err
		})
		var (
			refused *SignInError
			lost    *ConnError
		)
		switch {
		case err == nil:
			return answer, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case note.answer.Error == "authorization_pending":
		case note.answer.Error == "slow_down":
			pause = min(pause+5*time.Second, maxPause) // RFC 8628 3.5
		case note.answer.Error == "authorization_declined" || note.answer.Error == "access_denied":
			return nil, c.settings.personError(Refused, "begin again, and allow it", "the sign-in was declined on the other device")
		case note.answer.Error == "expired_token" || note.answer.Error == "code_expired":
			return nil, c.settings.personError(NotSignedIn, "begin again", "the code was not used in time")
		case errors.As(err, &refused) && refused.Temporary(), errors.As(err, &lost) && !lost.Lasting:
			pause = min(2*pause, maxPause) // RFC 8628 3.5
		default:
			return nil, err
		}
	}
}

// explainPerson says why a person could not sign in, or why that is of no use any
// more; nil if it is for a reason that has nothing to do with a person.
func (s *Settings) explainPerson(note *spoken, code int) (reason Reason, summary, remedy string) {
	if s.Person == nil {
		return 0, "", ""
	}
	const register = "Entra admin center, App registrations"
	again, of := s.signInAgain(), "the sign-in for mailbox "+s.Person.Mailbox
	switch code {
	case 50173, 50133, 50089, 70002, 700084:
		return NotSignedIn, of + " has been revoked: the password was changed, or an administrator has ended the sessions", again
	case 700082, 70008:
		return NotSignedIn, of + " has expired: it was not used for too long", again
	case 70043, 70044:
		return NotSignedIn, of + " has ended: a Conditional Access policy asks the person to sign in from time to time (sign-in frequency)",
			again + "; where that is too often for a mailbox that is filed day and night, use an application in place of a person"
	case 50076, 50078, 50079, 50074, 50072, 50158:
		return NotSignedIn, of + " does not suffice any more: multi-factor authentication is asked for", again
	case 50057:
		return Blocked, "the account of the person is disabled", "enable it: Entra admin center, Users; or file another mailbox"
	case 50034:
		return Blocked, "there is no such account in the tenant any more", "check tenant_id and mailbox"
	case 65001, 65004, 90094:
		what := "the permission " + permissionOf(note.asked)
		return NoConsent, "the person, or an administrator for all, has not consented to " + what,
			register + ", API permissions: add " + what + " as a Delegated permission, and Grant admin consent; then " + again
	case 650053, 70011, 28000:
		return NoConsent, "the permission " + permissionOf(note.asked) + " is not known to the service", "check cloud, and with cloud: custom the host name of server"
	case 7000218, 700025:
		return WrongClient, "the application is not one that a person can sign in to with a code", register + ", Authentication: set \"Allow public client flows\" to Yes; or use flow: client_credentials with a secret or certificate"
	case 53003, 530031, 53000, 53001, 530035, 530036:
		return Blocked, "a Conditional Access policy blocks the sign-in; many tenants block signing in with a code", "allow it for this person and application (Conditional Access, Authentication flows), or use an application in place of a person"
	}
	if e := note.answer.Error; note.status < 500 && (e == "invalid_grant" || e == "interaction_required" || e == "login_required") {
		return NotSignedIn, of + " is not accepted any more: " + s.said(note), again
	}
	return 0, "", ""
}

// permissionOf is the permission that a scope asks for.
func permissionOf(asked *tokens) string {
	if asked == nil {
		return "of the service"
	}
	return asked.scope[strings.LastIndexByte(asked.scope, '/')+1:]
}
