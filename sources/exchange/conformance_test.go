package exchange_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroom/internal/faultnet"
	"postroom/internal/graph"
	"postroom/internal/graphtest"
	"postroom/internal/secret"
	"postroom/sources"
	"postroom/sources/exchange"
	"postroom/sources/sourcetest"
)

func TestConformance(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Server { return newMailbox(t, graphtest.Options{}) })
}

// TestConformanceWithoutDelta is the same in the cloud that has no listing of
// changes.
func TestConformanceWithoutDelta(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Server { return newMailbox(t, graphtest.Options{Cloud: graphtest.China}) })
}

// TestConformanceInFinnish is the same in a mailbox whose folders have Finnish
// names.
func TestConformanceInFinnish(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Server {
		m := newMailbox(t, graphtest.Options{})
		m.Mailbox = m.server.AddMailbox("laskut@contoso.example", graphtest.MailboxOptions{Language: "fi", Missing: bare})
		return m
	})
}

// mailbox is a mailbox of the stand-in.
type mailbox struct {
	*graphtest.Mailbox
	server  *graphtest.Server
	clients *graph.Clients
	ca      string
}

// bare are the folders that the suite knows nothing of.
var bare = []string{"archive", "sentitems", "conversationhistory"}

func newMailbox(t *testing.T, options graphtest.Options) *mailbox {
	t.Helper()
	m := &mailbox{server: graphtest.Start(t, options), clients: new(graph.Clients)}
	m.Mailbox = m.server.AddMailbox("invoices@contoso.example", graphtest.MailboxOptions{Missing: bare})
	m.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(m.ca, m.server.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mailbox) Abilities() sourcetest.Abilities {
	return sourcetest.Abilities{
		Folders: true, Seen: true, Received: true, Changes: true,
		Verbs: []sources.Verb{sources.MarkRead, sources.Move, sources.Delete},
	}
}

// path names a folder for the stand-in.
func (m *mailbox) path(t *testing.T, folder string) string {
	t.Helper()
	parsed, err := sources.ParsePath(folder)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(parsed))
	for i, name := range parsed {
		names[i] = strings.NewReplacer(`\`, `\\`, "/", `\/`).Replace(name)
	}
	return strings.Join(names, "/")
}

func (m *mailbox) Deliver(t *testing.T, folder string, mail sourcetest.Mail) []byte {
	t.Helper()
	item := m.Mailbox.Deliver(m.path(t, folder), graphtest.Mail{Raw: mail.Raw, Received: mail.Received, Read: mail.Seen, Verbatim: true})
	return item.MIME()
}

func (m *mailbox) Snapshot(t *testing.T, folder string) []sourcetest.Mail {
	t.Helper()
	var all []sourcetest.Mail
	for _, item := range m.Messages(m.path(t, folder)) {
		all = append(all, sourcetest.Mail{Raw: item.MIME(), Received: item.Received, Seen: item.Read})
	}
	return all
}

func (m *mailbox) Remove(t *testing.T, folder string, position int) {
	t.Helper()
	if err := m.Mailbox.Remove(m.Messages(m.path(t, folder))[position].ID); err != nil {
		t.Fatal(err)
	}
}

func (m *mailbox) Renumber(t *testing.T, folder string) {
	t.Helper()
	if err := m.Mailbox.Renumber(m.path(t, folder)); err != nil {
		t.Fatal(err)
	}
}

func (m *mailbox) settings() graph.Settings {
	return graph.Settings{
		TenantID: m.server.Tenant(), ClientID: m.server.ClientID(), ClientSecret: secret.New(m.server.ClientSecret()),
		Cloud: "custom", AuthorityHost: m.server.AuthorityURL(), GraphEndpoint: m.server.GraphURL(), CAFile: m.ca,
	}
}

func (m *mailbox) config(setup sourcetest.Setup) exchange.Config {
	return exchange.Config{
		Options: exchange.Options{
			Folders: setup.Folders, ExcludeFolders: setup.Exclude, FiledFolder: setup.FiledFolder, FailedFolder: setup.FailedFolder,
		},
		Name: "test", Mailbox: m.Address(), Clients: m.clients, Settings: m.settings(), AfterFiling: setup.AfterFiling,
	}
}

func open(t *testing.T, cfg exchange.Config) *exchange.Source {
	t.Helper()
	source, err := exchange.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
	return source
}

func (m *mailbox) Open(t *testing.T, setup sourcetest.Setup) sources.Source {
	t.Helper()
	return open(t, m.config(setup))
}

func (m *mailbox) OpenRefused(t *testing.T, setup sourcetest.Setup) (sources.Source, string) {
	t.Helper()
	const wrong = "Wrong~8Q.secret"
	cfg := m.config(setup)
	cfg.Settings.ClientSecret = secret.New(wrong)
	return open(t, cfg), wrong
}

func (m *mailbox) OpenCut(t *testing.T, setup sourcetest.Setup, bytes int64) (sources.Source, func()) {
	t.Helper()
	proxy, err := faultnet.Start(strings.TrimPrefix(m.server.GraphURL(), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	if bytes >= 0 {
		proxy.Use(faultnet.Always(faultnet.Conduct{Down: faultnet.Line{Fault: faultnet.FIN, After: bytes}}))
	}
	cfg := m.config(setup)
	cfg.Settings.Proxy = secret.New("http://user:" + proxySecret + "@" + tunnel(t, proxy.Addr()))
	cfg.Clients = new(graph.Clients)
	return open(t, cfg), func() {
		proxy.Use(nil)
		proxy.Drop()
	}
}

// Withhold makes the server fail over the message, without a reason.
func (m *mailbox) Withhold(t *testing.T, folder string, position int) (release func()) {
	t.Helper()
	id := m.Messages(m.path(t, folder))[position].ImmutableID
	m.server.InjectFor(func(r graphtest.Request) bool {
		return r.Kind == "value" && strings.Contains(r.URL, strings.TrimRight(id, "="))
	}, -1,
		graphtest.Fault{Kind: graphtest.FaultInternal})
	return m.server.Heal
}
