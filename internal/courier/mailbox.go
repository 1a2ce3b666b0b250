//go:build unix

package courier

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"postroom/internal/maildir"
)

// Folders are named by their levels: none for the inbox, below which all others
// are.

// Deliver puts a message into a folder, which is created when missing, as a file
// whose lines end in LF, as Courier has it.
func (s *Server) Deliver(user string, folder []string, raw []byte, received time.Time, seen bool) error {
	for n := range len(folder) + 1 {
		dir := s.folder(user, folder[:n])
		if err := maildir.Make(dir, s.owner); err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		mark := filepath.Join(dir, "maildirfolder")
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			return fmt.Errorf("deliver: %w", err)
		}
		if err := os.Chown(mark, s.owner.UID, s.owner.GID); err != nil {
			return fmt.Errorf("deliver: %w", err)
		}
	}
	return maildir.Deliver(s.folder(user, folder), bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")), received, seen, s.owner)
}

// Wire returns what the server sends for a file of Deliver.
func Wire(file []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(file, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
}

// Snapshot reads the messages of a folder from disk, in the order of their dates.
// One that does not exist is empty.
func (s *Server) Snapshot(user string, folder []string) ([]maildir.Message, error) {
	messages, err := maildir.Read(s.folder(user, folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return messages, err
}

// Remove removes the message at the position, from 0.
func (s *Server) Remove(user string, folder []string, position int) error {
	messages, err := s.Snapshot(user, folder)
	if err != nil {
		return err
	}
	return os.Remove(messages[position].Path)
}

// MarkDeleted marks the message at the position, from 0, as deleted.
func (s *Server) MarkDeleted(user string, folder []string, position int) error {
	messages, err := s.Snapshot(user, folder)
	if err != nil {
		return err
	}
	path := messages[position].Path
	base, flags, _ := strings.Cut(filepath.Base(path), ":2,")
	return os.Rename(path, filepath.Join(s.folder(user, folder), "cur", base+":2,"+flags+"T"))
}

// Renumber gives all messages of a folder a new identity, over IMAP and POP3.
func (s *Server) Renumber(user string, folder []string) error {
	for name, field := range map[string]int{"courierimapuiddb": 1, "courierpop3dsizelist": 2} {
		path := filepath.Join(s.folder(user, folder), name)
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("renumber: %w", err)
		}
		first, rest, _ := strings.Cut(string(text), "\n")
		fields := strings.Fields(first)
		if len(fields) <= field {
			return fmt.Errorf("renumber: %s begins with %q", path, first)
		}
		validity, err := strconv.ParseUint(fields[field], 10, 32)
		if err != nil {
			return fmt.Errorf("renumber: %s: %w", path, err)
		}
		before := fields[field]
		fields[field] = strconv.FormatUint(validity+1, 10)
		// Over POP3 each message has it.
		rest = strings.ReplaceAll(rest, ":"+before, ":"+fields[field])
		if err := os.WriteFile(path, []byte(strings.Join(fields, " ")+"\n"+rest), 0o600); err != nil {
			return fmt.Errorf("renumber: %w", err)
		}
	}
	return nil
}

// folder is where a folder is.
func (s *Server) folder(user string, folder []string) string {
	name := ""
	for _, level := range folder {
		name += "." + level
	}
	return filepath.Join(s.inbox(user), name)
}
