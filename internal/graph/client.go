package graph

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	abs "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoft/kiota-abstractions-go/authentication"
	khttp "github.com/microsoft/kiota-http-go"
	kjson "github.com/microsoft/kiota-serialization-json-go"
	"github.com/microsoftgraph/msgraph-sdk-go/users"
)

// Clients are the clients of a process. Sources that name the same settings get
// the same one, and with it its tokens.
type Clients struct {
	// Timeouts are those of clients opened later.
	Timeouts Timeouts
	// Transport, if set, carries the requests of clients opened later in place of
	// the network.
	Transport http.RoundTripper

	mu    sync.Mutex
	byKey map[string]*Client
	lanes map[string]*lane
}

// maxIdle is how many clients that nobody uses are kept for their tokens.
const maxIdle = 32

// Open returns the client of the settings, which the caller closes. It makes no
// connection; it reads ca_file and the certificate, and an error says what is
// wrong with them.
func (c *Clients) Open(s Settings) (*Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := s.key()
	if client := c.byKey[key]; client != nil {
		client.take()
		return client, nil
	}
	client, err := newClient(c, s)
	if err != nil {
		return nil, err
	}
	if c.byKey == nil {
		c.byKey = make(map[string]*Client)
	}
	if len(c.byKey) >= maxIdle {
		for key, old := range c.byKey {
			if old.users == 0 {
				delete(c.byKey, key)
			}
		}
	}
	c.byKey[key] = client
	client.take()
	return client, nil
}

// take counts one more who uses the client. The caller holds clients.mu.
func (c *Client) take() {
	c.users++
	c.conns.use(true)
}

// lane returns that of the application and mailbox, which outlives every client.
func (c *Clients) lane(application, mailbox string) *lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := strings.ToLower(application + " " + mailbox)
	if c.lanes == nil {
		c.lanes = make(map[string]*lane)
	}
	l := c.lanes[key]
	if l == nil {
		l = newLane(outlook, c.Timeouts.withDefaults().Pause)
		c.lanes[key] = l
	}
	return l
}

// Client signs in as one application.
type Client struct {
	clients  *Clients
	settings Settings
	cloud    Cloud
	timeouts Timeouts
	rt       http.RoundTripper
	conns    conns
	tokens   *tokens
	proofs   proofs
	dead     atomic.Pointer[dead]
	builder  *users.UsersRequestBuilder
	adapter  *khttp.NetHttpRequestAdapter
	host     string
	// users and resources are guarded by clients.mu.
	users     int
	resources map[string]*tokens
}

func newClient(clients *Clients, s Settings) (*Client, error) {
	cloud, err := s.cloud()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(cloud.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("graph_endpoint: %w", err)
	}
	c := &Client{clients: clients, settings: s, cloud: cloud, timeouts: clients.Timeouts.withDefaults(), host: u.Host}
	if c.rt, err = s.transport(c.timeouts, &c.conns); err != nil {
		return nil, err
	}
	if clients.Transport != nil {
		c.rt = clients.Transport
	}
	c.tokens = newTokens(c)
	// What is wrong with a file shows before it is relied on.
	if s.Certificate != "" && (s.Flow == "" || s.Flow == ClientCredentials) {
		if _, err := s.readCertificate(); err != nil {
			return nil, err
		}
	}
	// The adapter only writes requests: it has neither a token nor a chain.
	c.adapter, err = khttp.NewNetHttpRequestAdapterWithParseNodeFactoryAndSerializationWriterFactoryAndHttpClient(
		&authentication.AnonymousAuthenticationProvider{}, kjson.NewJsonParseNodeFactory(), kjson.NewJsonSerializationWriterFactory(),
		&http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, http.ErrNotSupported })})
	if err != nil {
		return nil, fmt.Errorf("prepare requests: %w", err)
	}
	base := cloud.Endpoint + "/v1.0"
	c.adapter.SetBaseUrl(base)
	c.builder = users.NewUsersRequestBuilderInternal(map[string]string{"baseurl": base}, c.adapter)
	return c, nil
}

// Close ends the use of the client. Its tokens are kept for whoever opens the
// same settings again.
func (c *Client) Close() {
	c.clients.mu.Lock()
	defer c.clients.mu.Unlock()
	c.users--
	if c.users > 0 {
		return
	}
	if t, ok := c.rt.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	c.conns.use(false)
}

// Cloud is where the client works.
func (c *Client) Cloud() Cloud { return c.cloud }

// SignIn returns what the present token says, after getting one if needed.
func (c *Client) SignIn(ctx context.Context) (Grant, error) {
	token, err := c.tokens.get(ctx)
	if err != nil {
		return Grant{}, err
	}
	return grantOf(token), nil
}

// Mailbox is the mailbox of a user as the application sees it.
type Mailbox struct {
	*Client
	address string
	lane    *lane
}

// Mailbox returns the mailbox of the address, a user principal name or a user's
// id.
func (c *Client) Mailbox(address string) *Mailbox {
	application := c.settings.ClientID
	if application == "" {
		application = "managed"
	}
	return &Mailbox{Client: c, address: address, lane: c.clients.lane(c.host+" "+application, address)}
}

// native returns the request that the SDK has written.
func (c *Client) native(ctx context.Context, info *abs.RequestInformation, err error) (*http.Request, error) {
	if err != nil {
		return nil, fmt.Errorf("prepare request: %w", err)
	}
	made, err := c.adapter.ConvertToNativeRequest(ctx, info)
	if err != nil {
		return nil, fmt.Errorf("prepare request: %w", err)
	}
	req, ok := made.(*http.Request)
	if !ok {
		return nil, fmt.Errorf("prepare request: the SDK made a %T", made)
	}
	return finish(req, info.Content), nil
}
