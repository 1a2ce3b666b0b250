package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/sources"
)

// Folders implements [sources.Source].
func (s *Source) Folders(ctx context.Context) ([]sources.Folder, error) {
	ctx, done, err := s.pool.bind(ctx)
	if err != nil {
		return nil, s.explain("list folders", err)
	}
	defer done()
	var (
		folders []sources.Folder
		failed  error
	)
	held, err := s.begin(ctx, wish{}, func(c *conn) error {
		if folders, failed = s.resolve(ctx, c); errors.As(failed, new(*lostError)) {
			return failed
		}
		return nil
	})
	if err != nil {
		return folders, err
	}
	held.release()
	return folders, failed
}

// resolve is Folders on a connection.
func (s *Source) resolve(ctx context.Context, c *conn) ([]sources.Folder, error) {
	literal, wild := s.literals()
	var (
		all    []sources.FolderInfo
		failed error
	)
	if !wild {
		found, err := c.lookup(ctx, literal)
		if err != nil {
			return nil, err
		}
		if all = found; len(found) < len(literal) && c.usable() {
			// Only for the names of folders like the missing ones.
			if every, err := c.list(ctx, false, "*"); err == nil {
				all = every
			}
		}
	} else {
		all, failed = c.list(ctx, false, "*")
		if failed != nil && len(all) == 0 {
			return nil, failed
		}
		all = slices.DeleteFunc(all, func(info sources.FolderInfo) bool { return info.Path == "" })
	}
	folders, refused := s.selection.Choose(all)
	errs := make([]error, 0, len(refused)+1)
	for _, err := range refused {
		var classed *sources.Error
		if errors.As(err, &classed) {
			err = &sources.Error{Class: classed.Class, Remedy: classed.Remedy, Err: fmt.Errorf("%s: %w", s.host.Addr(), classed.Err)}
		}
		errs = append(errs, err)
	}
	return folders, errors.Join(append(errs, failed)...)
}

// literals returns the paths of the patterns that name one folder, and whether
// there are others.
func (s *Source) literals() (paths []string, wild bool) {
	for _, pattern := range s.selection.Include {
		path, ok := pattern.Literal()
		if !ok {
			wild = true
		} else if !slices.Contains(paths, path.String()) {
			paths = append(paths, path.String())
		}
	}
	return paths, wild
}

// Tree implements [sources.Lister].
func (s *Source) Tree(ctx context.Context) ([]sources.FolderInfo, error) {
	ctx, done, err := s.pool.bind(ctx)
	if err != nil {
		return nil, s.explain("list folders", err)
	}
	defer done()
	held, err := s.beginAny(ctx)
	if err != nil {
		return nil, err
	}
	defer held.release()
	infos, err := held.list(ctx, true, "*")
	if err != nil {
		return infos, err
	}
	slices.SortStableFunc(infos, byPath)
	for i := range infos {
		if infos[i].Messages < 0 && infos[i].Selectable && len(infos) <= 100 {
			if infos[i].Messages, err = held.count(ctx, infos[i].Path); err != nil {
				return infos, err
			}
		}
	}
	return infos, nil
}

// byPath orders folders as a tree: parents before children, the inbox first.
func byPath(a, b sources.FolderInfo) int {
	p, errP := sources.ParsePath(a.Path)
	q, errQ := sources.ParsePath(b.Path)
	if errP != nil || errQ != nil {
		return 0
	}
	if inboxP, inboxQ := p[0] == sources.Inbox, q[0] == sources.Inbox; inboxP != inboxQ {
		if inboxP {
			return -1
		}
		return 1
	}
	return slices.Compare(p, q)
}

// count returns the number of messages in a folder, -1 if the server refuses.
func (c *conn) count(ctx context.Context, path string) (int, error) {
	name, err := c.mailbox(ctx, path)
	if err != nil {
		return -1, err
	}
	var data *goimap.StatusData
	err = c.run(ctx, fmt.Sprintf("count folder %q", path), func(client *imapclient.Client) error {
		var err error
		data, err = client.Status(name, &goimap.StatusOptions{NumMessages: true}).Wait()
		return err
	})
	var status *goimap.Error
	if errors.As(err, &status) || err == nil && data.NumMessages == nil {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	return int(*data.NumMessages), nil
}
