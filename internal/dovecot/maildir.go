package dovecot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/internal/maildir"
)

// Message is a message as it lies in a folder.
type Message = maildir.Message

// CreateFolder creates a folder of the user, named as over IMAP, in UTF-8.
func (s *Server) CreateFolder(user, folder string) error {
	return s.doadm("mailbox", "create", "-u", user, folder)
}

// RemoveFolder removes a folder with its messages.
func (s *Server) RemoveFolder(user, folder string) error {
	return s.doadm("mailbox", "delete", "-u", user, folder)
}

// renumbered is far from what the server itself gives folders, which is the time of
// their making, and a few more where several are made in a second.
const renumbered = 1_000_000

// Renumber gives all messages of a folder new UIDs and the folder a new
// UIDVALIDITY.
func (s *Server) Renumber(user, folder string) error {
	return s.doadm("mailbox", "update", "-u", user, "--uid-validity", strconv.FormatInt(time.Now().Unix()+renumbered+s.serial(), 10), folder)
}

// doadm runs doveadm on this server.
func (s *Server) doadm(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, "doveadm", append([]string{"-c", filepath.Join(s.dir, "dovecot.conf")}, args...)...)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("doveadm %s: %w: %s", strings.Join(args, " "), err, output)
	}
	return nil
}

// Deliver puts a message into a folder as a file, so that its bytes are kept
// whatever they are. A server with messages that hold a bare LF sends them with
// CRLF; use Append to keep them.
func (s *Server) Deliver(user, folder string, raw []byte, received time.Time, seen bool) error {
	dir, err := s.maildir(user, folder)
	if err != nil {
		return err
	}
	return maildir.Deliver(dir, raw, received, seen, s.owner)
}

// Snapshot reads the messages of a folder from disk, in the order of their dates.
func (s *Server) Snapshot(user, folder string) ([]Message, error) {
	dir, err := s.maildir(user, folder)
	if err != nil {
		return nil, err
	}
	return maildir.Read(dir)
}

// maildir returns the directory of a folder, created when missing.
func (s *Server) maildir(user, folder string) (string, error) {
	root := filepath.Join(s.dir, "mail", user)
	dir := root
	if !strings.EqualFold(folder, "INBOX") {
		name := strings.TrimPrefix(folder, s.options.Prefix)
		encoded := encodeName(strings.ReplaceAll(name, s.options.Separator, "."))
		dir = filepath.Join(root, "."+encoded)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			if err := s.CreateFolder(user, folder); err != nil {
				return "", err
			}
		}
	}
	for _, dir := range []string{root, dir} {
		if err := maildir.Make(dir, s.owner); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// Do signs in over IMAP as the user and calls f, to arrange what files cannot.
func (s *Server) Do(user string, f func(*imapclient.Client) error) error {
	client, err := imapclient.DialInsecure(s.IMAP(), nil)
	if err != nil {
		return fmt.Errorf("dovecot: %w", err)
	}
	// The session has ended; nothing depends on how the connection does.
	defer func() { _ = client.Close() }()
	if err := client.Login(user, s.options.Users[user]).Wait(); err != nil {
		return fmt.Errorf("dovecot: sign in: %w", err)
	}
	if err := f(client); err != nil {
		return fmt.Errorf("dovecot: %w", err)
	}
	return client.Logout().Wait()
}

// MarkDeleted sets \Deleted on the messages of a folder whose positions, from
// 1, are given, and removes nothing.
func (s *Server) MarkDeleted(user, folder string, positions ...uint32) error {
	return s.Do(user, func(client *imapclient.Client) error {
		if _, err := client.Select(folder, nil).Wait(); err != nil {
			return err
		}
		return client.Store(goimap.SeqSetNum(positions...), &goimap.StoreFlags{
			Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{goimap.FlagDeleted},
		}, nil).Close()
	})
}

// Expunge removes the messages of a folder whose positions, from 1, are given.
func (s *Server) Expunge(user, folder string, positions ...uint32) error {
	if err := s.MarkDeleted(user, folder, positions...); err != nil {
		return err
	}
	return s.Do(user, func(client *imapclient.Client) error {
		if _, err := client.Select(folder, nil).Wait(); err != nil {
			return err
		}
		return client.Expunge().Close()
	})
}
