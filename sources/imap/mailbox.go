package imap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/sources"
)

// maxFolders bounds the list of a mailbox's folders.
const maxFolders = 200_000

// pathOf returns the path of the folder that the server calls name. A
// delimiter of 0 means that the server has no hierarchy.
func pathOf(name string, delimiter rune) sources.Path {
	var path sources.Path
	if delimiter == 0 {
		path = sources.Path{name}
	} else {
		path = strings.Split(strings.TrimSuffix(name, string(delimiter)), string(delimiter))
	}
	if strings.EqualFold(path[0], sources.Inbox) {
		path[0] = sources.Inbox
	}
	return path
}

// nameOf returns the server's name for the folder at path, an error if no
// folder of the server can have it.
func nameOf(path sources.Path, delimiter rune) (string, error) {
	if delimiter == 0 && len(path) > 1 {
		return "", fmt.Errorf("folder %q cannot exist: the server has no folders within folders", path)
	}
	for _, segment := range path {
		if delimiter != 0 && strings.ContainsRune(segment, delimiter) {
			return "", fmt.Errorf("folder %q cannot exist: %q separates folders on this server", path, delimiter)
		}
	}
	if path[0] == sources.Inbox {
		path = append(sources.Path{"INBOX"}, path[1:]...)
	}
	return strings.Join(path, string(delimiter)), nil
}

// separator returns the character that separates levels, 0 if there are none.
// It asks once (RFC 9051 6.3.9: LIST "" "").
func (c *conn) separator(ctx context.Context) (rune, error) {
	if c.source.delimiter.known.Load() {
		return c.source.delimiter.char.Load(), nil
	}
	var data []*goimap.ListData
	err := c.run(ctx, "ask for the folder separator", func(client *imapclient.Client) error {
		var err error
		data, err = client.List("", "", nil).Collect()
		return err
	})
	if err != nil {
		return 0, err
	}
	var delimiter rune
	if len(data) > 0 {
		delimiter = data[0].Delim
	}
	c.source.delimiter.char.Store(delimiter)
	c.source.delimiter.known.Store(true)
	return delimiter, nil
}

// separatorCache holds the answer to separator.
type separatorCache struct {
	known atomic.Bool
	char  atomic.Int32
}

// mailbox returns the server's name for the folder at path.
func (c *conn) mailbox(ctx context.Context, path string) (string, error) {
	c.source.mu.Lock()
	name, ok := c.source.names[path]
	c.source.mu.Unlock()
	if ok {
		return name, nil
	}
	parsed, err := sources.ParsePath(path)
	if err != nil {
		return "", c.source.error(sources.Permanent, "open folder", err)
	}
	if len(parsed) == 1 && parsed[0] == sources.Inbox {
		return "INBOX", nil
	}
	delimiter, err := c.separator(ctx)
	if err != nil {
		return "", err
	}
	if name, err = nameOf(parsed, delimiter); err != nil {
		return "", c.source.error(sources.NotFound, "open folder", err)
	}
	return name, nil
}

// lookup returns what the server tells of the folders at the paths, and leaves
// out those that do not exist. It asks for each by name: a LIST of everything
// fails as a whole on servers that hold one name that breaks the rules.
func (c *conn) lookup(ctx context.Context, paths []string) ([]sources.FolderInfo, error) {
	var names []string
	for _, path := range paths {
		name, err := c.mailbox(ctx, path)
		if sources.ClassOf(err) == sources.NotFound {
			continue
		} else if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	var infos []sources.FolderInfo
	for group := range slices.Chunk(names, listsAtOnce) {
		more, err := c.list(ctx, false, group...)
		if infos = append(infos, more...); err != nil {
			return infos, err
		}
	}
	var found []sources.FolderInfo
	for _, path := range paths {
		for _, info := range infos {
			// A name that holds a wildcard of LIST matches others too.
			if info.Path == path {
				found = append(found, info)
				break
			}
		}
	}
	return found, nil
}

// listsAtOnce bounds the LIST commands that are sent in one go.
const listsAtOnce = 32

// list returns the folders that match LIST patterns, with the number of their
// messages if counts is true and the server tells it cheaply. When the server's
// answer breaks off, it returns what came before, and the error. It takes one
// round trip however many patterns there are.
func (c *conn) list(ctx context.Context, counts bool, patterns ...string) ([]sources.FolderInfo, error) {
	var options *goimap.ListOptions
	if c.caps.Has(goimap.CapListExtended) {
		options = &goimap.ListOptions{ReturnSpecialUse: c.caps.Has(goimap.CapSpecialUse)}
		if counts && c.caps.Has(goimap.CapListStatus) {
			options.ReturnStatus = &goimap.StatusOptions{NumMessages: true}
		}
	}
	var infos []sources.FolderInfo
	err := c.run(ctx, "list folders", func(client *imapclient.Client) error {
		var commands []*imapclient.ListCommand
		c.together(func() {
			for _, pattern := range patterns {
				commands = append(commands, client.List("", pattern, options))
			}
		}, patterns...)
		var first error
		for _, cmd := range commands {
			for data := cmd.Next(); data != nil; data = cmd.Next() {
				if len(infos) == maxFolders {
					c.abort()
					return errors.Join(fmt.Errorf("more than %d folders", maxFolders), cmd.Close())
				}
				infos = append(infos, c.describe(data))
			}
			first = cmp.Or(first, cmd.Close())
		}
		return first
	})
	var protocol *protocolError
	if errors.As(err, &protocol) {
		return infos, c.source.error(sources.Permanent, "list folders", protocol).
			WithRemedy("a folder has a name that breaks the rules of IMAP; name the folders to read one by one, without * and **")
	}
	return infos, err
}

// describe takes in one line of a LIST.
func (c *conn) describe(data *goimap.ListData) sources.FolderInfo {
	path := pathOf(data.Mailbox, data.Delim).String()
	c.source.mu.Lock()
	c.source.names[path] = data.Mailbox
	c.source.mu.Unlock()
	info := sources.FolderInfo{
		Folder:     sources.Folder{ID: path, Path: path},
		Messages:   -1,
		Selectable: true,
	}
	if path == sources.Inbox {
		info.Use = "inbox"
	}
	for _, attr := range data.Attrs {
		switch attr {
		case goimap.MailboxAttrNoSelect, goimap.MailboxAttrNonExistent:
			info.Selectable = false
		case goimap.MailboxAttrAll, goimap.MailboxAttrArchive, goimap.MailboxAttrDrafts, goimap.MailboxAttrFlagged,
			goimap.MailboxAttrJunk, goimap.MailboxAttrSent, goimap.MailboxAttrTrash, goimap.MailboxAttrImportant:
			info.Use = strings.ToLower(strings.TrimPrefix(string(attr), `\`))
		}
	}
	if data.Status != nil && data.Status.NumMessages != nil {
		info.Messages = int(*data.Status.NumMessages)
	}
	return info
}
