package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// credential returns what gets tokens by the flow of the settings.
func (c *Client) credential() (azcore.TokenCredential, error) {
	s := &c.settings
	options := azcore.ClientOptions{
		Cloud:     azcloud.Configuration{ActiveDirectoryAuthorityHost: c.cloud.Authority},
		Transport: (*authority)(c),
		// Whoever asked tries again later: the more often a credential is refused,
		// the longer Entra refuses it.
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}
	// The metadata of unknown hosts would be asked of the public cloud.
	own := c.cloud.custom
	switch s.Flow {
	case ManagedIdentity:
		var id azidentity.ManagedIDKind
		if s.ClientID != "" {
			id = azidentity.ClientID(s.ClientID)
		}
		options.Retry = policy.RetryOptions{MaxRetries: 2, RetryDelay: time.Second, MaxRetryDelay: 5 * time.Second}
		return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: options, ID: id})
	case WorkloadIdentity:
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, ClientID: s.ClientID, TenantID: s.TenantID, DisableInstanceDiscovery: own,
		})
	case DeviceCode:
		if s.Person == nil {
			return nil, errors.New("flow: device_code without a person")
		}
		return personCredential{c}, nil
	case ClientCredentials, "":
	default:
		return nil, fmt.Errorf("flow: none is named %q", s.Flow)
	}
	if s.Certificate == "" {
		return azidentity.NewClientSecretCredential(s.TenantID, s.ClientID, s.ClientSecret.Reveal(),
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: own})
	}
	cert, err := s.readCertificate()
	if err != nil {
		return nil, err
	}
	c.tokens.expires.Store(cert.chain[0].NotAfter.Unix())
	return azidentity.NewClientCertificateCredential(s.TenantID, s.ClientID, cert.chain, cert.key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: own})
}

// spoken is what the authority said last, of one attempt to sign in.
type spoken struct {
	// asked is which tokens it was about.
	asked  *tokens
	host   string
	status int
	date   time.Time
	answer oauthError
	err    error
}

// oauthError is the body of a refusal (RFC 6749 5.2, with Entra's additions).
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Codes       []int  `json:"error_codes"`
	TraceID     string `json:"trace_id"`
}

type spokenKey struct{}

// maxSignIn bounds an answer of the authority.
const maxSignIn = 1 << 20

// authority carries the requests of the sign-in library, and keeps what was
// answered: the library's own errors are not for people.
type authority Client

// Do implements policy.Transporter.
func (a *authority) Do(req *http.Request) (*http.Response, error) {
	note, _ := req.Context().Value(spokenKey{}).(*spoken)
	if note == nil {
		note = new(spoken)
	}
	*note = spoken{asked: note.asked, host: req.URL.Host}
	client := &http.Client{CheckRedirect: noRedirect, Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		return watched(req.Context(), a.rt, req, a.timeouts.SignIn, a.timeouts.Silence)
	})}
	resp, err := client.Do(req)
	if err != nil {
		note.err = err
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSignIn))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		note.err = err
		return nil, err
	}
	note.status = resp.StatusCode
	note.date, _ = http.ParseTime(resp.Header.Get("Date"))
	if resp.StatusCode >= 400 {
		var refusal oauthError
		if json.Unmarshal(body, &refusal) == nil {
			note.answer = refusal
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// signIn gets a new token. An error is a *SignInError, a *ConnError, or that of
// the context.
func (c *Client) signIn(ctx context.Context, of *tokens) (token azcore.AccessToken, err error) {
	err = c.attempt(ctx, &spoken{asked: of}, func(ctx context.Context) (err error) {
		token, err = of.cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{of.scope}})
		return err
	})
	return token, err
}

// attempt lets do talk to the authority once, within the time for that, and notes
// what is said. Its error is a *SignInError, a *ConnError, or that of the context.
func (c *Client) attempt(ctx context.Context, note *spoken, do func(context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(context.WithValue(ctx, spokenKey{}, note), c.timeouts.SignIn, errNoAnswer)
	defer cancel()
	err := do(limited)
	switch {
	case err == nil:
		if !note.date.IsZero() {
			c.tokens.skew.Store(int64(time.Until(note.date)))
		}
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case note.err != nil:
		host, _ := url.Parse(c.cloud.Authority)
		if note.host == "" && host != nil {
			note.host = host.Host
		}
		return c.settings.explainConn(note.host, note.err)
	case limited.Err() != nil:
		return c.settings.explainConn(note.host, errNoAnswer)
	}
	return c.settings.explainSignIn(note, err)
}
