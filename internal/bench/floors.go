package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// floors are what this program does in a process of its own, by the first
// argument: the two halves of what any program that files mail does, and the
// conversion to .msg.
var floors = map[string]func(args []string) error{
	"convert":     convertFolder,
	"floor-fetch": floorFetch,
	"floor-copy":  floorCopy,
	"floor-graph": floorGraph,
	"floor-pop3":  floorPOP3,
}

var rawFetch = program{
	name: "floor: `UID FETCH 1:* BODY.PEEK[]` to nowhere",
	command: func(_ *hall, _ string, from server, m *mailbox) ([]string, error) {
		self, err := os.Executable()
		return []string{self, "floor-fetch", from.address, from.ca, fmt.Sprint(from.tls), m.user, fmt.Sprint(m.messages)}, err
	},
	check: func(*mailbox, string) error { return nil },
}

func copyFiles(source string) program {
	return program{
		name: "yardstick: the same files copied one by one, fsync each",
		command: func(_ *hall, dir string, _ server, _ *mailbox) ([]string, error) {
			self, err := os.Executable()
			return []string{self, "floor-copy", source, filepath.Join(dir, got)}, err
		},
		check: func(m *mailbox, dir string) error { return m.checkFiles(filepath.Join(dir, got)) },
	}
}

// floorFetch is given address, CA file, whether to use TLS, user, and how many
// messages there are.
func floorFetch(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("floor-fetch: %d arguments", len(args))
	}
	client, err := dial(args[0], args[1], args[2] == "true")
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Login(args[3], password).Wait(); err != nil {
		return err
	}
	if _, err := client.Select("INBOX", &goimap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		return err
	}
	n := 0
	fetch := client.Fetch(goimap.UIDSet{{Start: 1}}, &goimap.FetchOptions{
		UID: true, BodySection: []*goimap.FetchItemBodySection{{Peek: true}},
	})
	for message := fetch.Next(); message != nil; message = fetch.Next() {
		for item := message.Next(); item != nil; item = message.Next() {
			body, ok := item.(imapclient.FetchItemDataBodySection)
			if !ok {
				continue
			}
			if _, err := io.Copy(io.Discard, body.Literal); err != nil {
				return err
			}
			n++
		}
	}
	if err := fetch.Close(); err != nil {
		return err
	}
	if fmt.Sprint(n) != args[4] {
		return fmt.Errorf("%d messages, want %s", n, args[4])
	}
	return client.Logout().Wait()
}

func dial(address, ca string, secure bool) (*imapclient.Client, error) {
	if !secure {
		return imapclient.DialInsecure(address, nil)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return imapclient.DialTLS(address, &imapclient.Options{TLSConfig: &tls.Config{RootCAs: roots}})
}

// floorCopy is given two folders.
func floorCopy(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("floor-copy: %d arguments", len(args))
	}
	entries, err := os.ReadDir(args[0])
	if err != nil {
		return err
	}
	if err := os.Mkdir(args[1], 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyFile(filepath.Join(args[0], e.Name()), filepath.Join(args[1], e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
	}()
	// Through memory: mail does not come from a file.
	if _, err := io.Copy(struct{ io.Writer }{out}, struct{ io.Reader }{in}); err != nil {
		return err
	}
	return out.Sync()
}

// settleFolder lets Dovecot finish with a folder: it reads the folder's
// directory at each look until a session that may write has ended some time
// after the last change.
func (h *hall) settleFolder(ctx context.Context, user string) error {
	return h.dovecot.Do(user, func(client *imapclient.Client) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := client.Select("INBOX", nil).Wait()
		return err
	})
}
