package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/sources"
)

// maxHeader is how much of a message's header Headers yields.
const maxHeader = 256 << 10

// Headers implements [sources.Lister]. A header of more than 256 KiB is cut.
func (s *Source) Headers(ctx context.Context, folder sources.Folder, yield func(sources.Ref, []byte) error) error {
	ctx, done, err := s.pool.bind(ctx)
	if err != nil {
		return s.explain("read headers", err)
	}
	defer done()
	start := time.Now()
	held, err := s.beginFolder(ctx, folder.Path, false, start)
	if err != nil {
		return err
	}
	defer held.release()
	all, err := held.search(ctx, folder.Path, &goimap.SearchCriteria{})
	if err != nil {
		return err
	}
	for len(all) > 0 {
		var page goimap.UIDSet
		page, all = split(all, 500)
		for _, chunk := range chunks(page, 500) {
			if err := held.headers(ctx, folder.Path, chunk, yield); err != nil {
				return bare(err)
			}
		}
	}
	return nil
}

func (c *conn) headers(ctx context.Context, path string, set goimap.UIDSet, yield func(sources.Ref, []byte) error) error {
	items := &goimap.FetchOptions{
		UID: true, RFC822Size: true, InternalDate: true, Flags: true,
		BodySection: []*goimap.FetchItemBodySection{{Peek: true, Specifier: goimap.PartSpecifierHeader}},
	}
	validity := c.selected.validity
	return c.follow(ctx, fmt.Sprintf("read headers of folder %q", path), func(client *imapclient.Client) error {
		cmd := client.Fetch(set, items)
		for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
			ref := sources.Ref{Size: -1}
			var (
				header []byte
				found  bool
			)
			for item := msg.Next(); item != nil; item = msg.Next() {
				switch item := item.(type) {
				case imapclient.FetchItemDataUID:
					ref.Key = key{validity, item.UID}.String()
				case imapclient.FetchItemDataRFC822Size:
					ref.Size = item.Size
				case imapclient.FetchItemDataInternalDate:
					ref.Received = item.Time
				case imapclient.FetchItemDataFlags:
					ref.Seen = slices.Contains(item.Flags, goimap.FlagSeen)
				case imapclient.FetchItemDataBodySection:
					if found = item.Literal != nil; !found {
						continue
					}
					c.stream.bottom.Allow(min(item.Literal.Size(), c.source.cfg.MaxAnswer))
					var err error
					if header, err = io.ReadAll(io.LimitReader(item.Literal, maxHeader)); err != nil {
						c.fail()
						return errors.Join(err, cmd.Close())
					}
				}
			}
			if ref.Key == "" || !found {
				continue
			}
			if err := yield(ref, header); err != nil {
				c.unusable = true
				c.abort()
				// The command ends with an error of the cut connection.
				_ = cmd.Close()
				return &callerError{err}
			}
		}
		return cmd.Close()
	})
}
