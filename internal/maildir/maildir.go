// Package maildir puts messages into the Maildir folders of a mail server and reads
// them there, without going through the server.
package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Message is a message as it lies in a folder.
type Message struct {
	Raw      []byte
	Seen     bool
	Deleted  bool
	Received time.Time
	// Path is that of its file, until the server renames it.
	Path string
}

// Owner is whose the files are.
type Owner struct{ UID, GID int }

// OwnerNamed returns the user of the system who has the name.
func OwnerNamed(name string) (Owner, error) {
	found, err := user.Lookup(name)
	if err != nil {
		return Owner{}, err
	}
	var o Owner
	if o.UID, err = strconv.Atoi(found.Uid); err != nil {
		return Owner{}, err
	}
	if o.GID, err = strconv.Atoi(found.Gid); err != nil {
		return Owner{}, err
	}
	return o, nil
}

// Make makes a folder, and whatever of it is missing.
func Make(dir string, owner Owner) error {
	for _, sub := range []string{dir, filepath.Join(dir, "tmp"), filepath.Join(dir, "new"), filepath.Join(dir, "cur")} {
		err := os.Mkdir(sub, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("make maildir: %w", err)
		}
		if err := os.Chown(sub, owner.UID, owner.GID); err != nil {
			return fmt.Errorf("make maildir: %w", err)
		}
	}
	return nil
}

// serial makes names of files that are not used again.
var serial atomic.Int64

// Deliver puts a message into the folder as a file, so that its bytes are kept
// whatever they are.
func Deliver(dir string, raw []byte, received time.Time, seen bool, owner Owner) error {
	base := fmt.Sprintf("%d.%09d.test,S=%d", received.Unix(), serial.Add(1), len(raw))
	name, sub := base, "new"
	if seen {
		name, sub = base+":2,S", "cur"
	}
	temporary := filepath.Join(dir, "tmp", base)
	if err := os.WriteFile(temporary, raw, 0o600); err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	if err := os.Chown(temporary, owner.UID, owner.GID); err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	if err := os.Chtimes(temporary, received, received); err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	if err := os.Rename(temporary, filepath.Join(dir, sub, name)); err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	return nil
}

// Read reads the messages of a folder, in the order of their dates.
func Read(dir string) ([]Message, error) {
	var messages []Message
	for _, sub := range []string{"cur", "new"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			return nil, fmt.Errorf("read maildir: %w", err)
		}
		for _, entry := range entries {
			path := filepath.Join(dir, sub, entry.Name())
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				// Renamed meanwhile, as the server does to set a flag.
				return Read(dir)
			} else if err != nil {
				return nil, fmt.Errorf("read maildir: %w", err)
			}
			raw, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return Read(dir)
			} else if err != nil {
				return nil, fmt.Errorf("read maildir: %w", err)
			}
			_, flags, _ := strings.Cut(entry.Name(), ":2,")
			messages = append(messages, Message{
				Raw: raw, Seen: strings.Contains(flags, "S"), Deleted: strings.Contains(flags, "T"),
				Received: info.ModTime(), Path: path,
			})
		}
	}
	slices.SortStableFunc(messages, func(a, b Message) int { return a.Received.Compare(b.Received) })
	return messages, nil
}
