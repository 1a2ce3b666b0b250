package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"postroom/internal/graph"
	"postroom/sources"
)

// maxHeader is how much of a message's header Headers yields.
const maxHeader = 256 << 10

// Headers implements [sources.Lister], with one request for each page. Graph has
// the header lines of received messages; of others they are made of what it
// knows. A header of more than 256 KiB is cut.
func (s *Source) Headers(ctx context.Context, folder sources.Folder, yield func(sources.Ref, []byte) error) error {
	return s.headers(ctx, folder, graph.Query{
		OrderBy: []string{"receivedDateTime asc"}, Size: 100,
		Fields: []string{"internetMessageHeaders", "internetMessageId", "subject", "from"},
	}, yield)
}

// Summaries is Headers with From, Subject and Message-ID alone, in no order, and
// with a fifth of the requests. A message is yielded twice if others arrive
// meanwhile.
func (s *Source) Summaries(ctx context.Context, folder sources.Folder, yield func(sources.Ref, []byte) error) error {
	return s.headers(ctx, folder, graph.Query{Size: 500, Fields: []string{"internetMessageId", "subject", "from"}}, yield)
}

func (s *Source) headers(ctx context.Context, folder sources.Folder, q graph.Query, yield func(sources.Ref, []byte) error) error {
	doing := fmt.Sprintf("read headers of folder %q", folder.Path)
	ctx, done, err := s.bind(ctx, doing)
	if err != nil {
		return err
	}
	defer done()
	seen := make(map[string]bool)
	for link := ""; ; {
		page, err := s.box.Messages(ctx, folder.ID, link, q)
		if err != nil {
			return s.noFolder(folder, doing, err)
		}
		items := make(map[string]*graph.Item, len(page.Items))
		for _, item := range page.Items {
			items[item.ID] = item
		}
		for _, ref := range s.refs(page.Items, nil) {
			if err := yield(ref, header(items[ref.Key])); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		if seen[page.Next] {
			return s.failure(sources.Temporary, doing, errors.New("the pages of the listing go round in a circle"))
		}
		seen[page.Next], link = true, page.Next
	}
}

// header returns the header of a message, with the blank line.
func header(item *graph.Item) []byte {
	var b bytes.Buffer
	has := make(map[string]bool)
	for _, h := range item.Headers {
		writeField(&b, has, h.Name, h.Value)
	}
	if item.From != nil {
		writeAddresses(&b, has, "From", item.From)
	}
	if item.Subject != "" {
		writeField(&b, has, "Subject", item.Subject)
	}
	if item.MessageID != "" && !has["message-id"] {
		writeField(&b, has, "Message-ID", item.MessageID)
	}
	b.WriteString("\r\n")
	return b.Bytes()[:min(b.Len(), maxHeader)]
}
