package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"postroom/internal/graphtest"
	"postroom/internal/imaptest"
	"postroom/internal/mailgen"
	"postroom/internal/poptest"
)

// demoConfig is the configuration of the demo, as an administrator would write
// it. Its arguments are what demoServers.config gives.
const demoConfig = `# The configuration of the demo.
version: 1
repository:
  type: filesystem
  path: ./documents
state_dir: ./state
log: {level: warn}

credentials:
  - name: office
    type: password
    username: %s
    password: ${file:password}
  - name: scanner
    type: password
    username: %s
    password: ${file:pop3-password}
  - name: contoso
    type: entra
    tenant_id: %s
    client_id: %s
    client_secret: ${file:client-secret}
    cloud: custom
    authority_host: %s
    graph_endpoint: %s
    ca_file: ./graph-ca.pem

defaults:
  poll_interval: 2s

sources:
  - name: orders
    type: imap
    server: %s
    ca_file: ./imap-ca.pem
    credentials: office
    folders: [Inbox, "Inbox/**"]
    watch: %t
    after_filing: mark_read
  - name: scans
    type: pop3
    server: %s
    ca_file: ./pop3-ca.pem
    credentials: scanner
    after_filing: delete
  - name: invoices
    type: exchange
    credentials: contoso
    mailbox: %s
    folders: [Inbox, "Inbox/**"]
    after_filing: move
    filed_folder: Filed
`

const demoMailbox = "invoices@contoso.example"

// demoServers are stand-ins of each kind of server, on this machine.
type demoServers struct {
	imap  *imaptest.Server
	pop3  *poptest.Server
	graph *graphtest.Server
	box   *graphtest.Mailbox
	sent  int
}

func startDemoServers() (_ *demoServers, err error) {
	s := &demoServers{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.imap, err = imaptest.Start(imaptest.Options{}); err != nil {
		return nil, err
	}
	if s.pop3, err = poptest.Start(poptest.Options{Username: "scanner"}); err != nil {
		return nil, err
	}
	if s.graph, err = graphtest.Run(graphtest.Options{Seed: uint64(time.Now().UnixNano())}); err != nil {
		return nil, err
	}
	s.box = s.graph.AddMailbox(demoMailbox, graphtest.MailboxOptions{})
	return s, nil
}

func (s *demoServers) close() error {
	var errs []error
	if s.graph != nil {
		errs = append(errs, s.graph.Close())
	}
	if s.pop3 != nil {
		errs = append(errs, s.pop3.Close())
	}
	if s.imap != nil {
		errs = append(errs, s.imap.Close())
	}
	return errors.Join(errs...)
}

// deliver sends a message to one of the servers, in turn.
func (s *demoServers) deliver(m mailgen.Mail) error {
	s.sent++
	switch s.sent % 3 {
	case 1:
		return s.imap.Deliver(m.Folder, m.Raw, time.Now())
	case 2:
		// The logs of requests would grow for as long as the demo runs.
		s.graph.Forget()
		s.box.CreateFolder(m.Folder)
		s.box.Deliver(m.Folder, graphtest.Mail{Raw: m.Raw, Received: time.Now()})
	default:
		s.pop3.Forget()
		s.pop3.Deliver(m.Raw)
	}
	return nil
}

// files returns the configuration, with what it names.
func (s *demoServers) files(watch bool) map[string][]byte {
	return map[string][]byte{
		"config.yaml": fmt.Appendf(nil, demoConfig, s.imap.Username(), s.pop3.Username(), s.graph.Tenant(), s.graph.ClientID(),
			s.graph.AuthorityURL(), s.graph.GraphURL(), s.imap.Addr(), watch, s.pop3.Addr(), demoMailbox),
		"imap-ca.pem": s.imap.CAPEM(), "pop3-ca.pem": s.pop3.CAPEM(), "graph-ca.pem": s.graph.CAPEM(),
		"password": []byte(s.imap.Password()), "pop3-password": []byte(s.pop3.Password()), "client-secret": []byte(s.graph.ClientSecret()),
	}
}

// introduce says what there is.
func (s *demoServers) introduce(out io.Writer) {
	fmt.Fprintf(out, "Stand-ins for an IMAP4 server, at %s, a POP3 server, at %s, and Exchange Online, at %s, hold %s.\n",
		s.imap.Addr(), s.pop3.Addr(), s.graph.GraphURL(), count(s.sent, "message", "messages"))
}
