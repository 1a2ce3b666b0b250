package document

import (
	"context"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"postroom/store"
)

// repeated is head, unit n times, and tail, without being in memory.
type repeated struct {
	head, unit string
	n          int64
	tail       string
}

func (r repeated) Size() int64 {
	return int64(len(r.head)) + int64(len(r.unit))*r.n + int64(len(r.tail))
}

func (r repeated) ReadAt(p []byte, off int64) (n int, err error) {
	body := int64(len(r.head)) + int64(len(r.unit))*r.n
	for n < len(p) {
		switch at := off + int64(n); {
		case at < int64(len(r.head)):
			n += copy(p[n:], r.head[at:])
		case at < body:
			n += copy(p[n:], r.unit[(at-int64(len(r.head)))%int64(len(r.unit)):])
			n = int(min(int64(n), body-off))
		case at < r.Size():
			n += copy(p[n:], r.tail[at-body:])
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

// TestLarge makes and writes the document of a message of 150 MB with an
// attachment of some 110, and counts all memory that was ever allocated for it.
func TestLarge(t *testing.T) {
	head, tail, _ := strings.Cut(multi("mixed", plain, encoded("Content-Type: application/pdf; name=scan.pdf", "%PDF"), plain), "JVBERg==")
	line := strings.Repeat("QUJD", 19) + "\r\n"
	raw := repeated{head: head, unit: strings.Repeat(line, 1000), n: 150_000_000 / int64(1000*len(line)), tail: tail}
	in := Input{Source: "a", Type: "imap", Fetched: time.Now(), Raw: raw, Size: raw.Size()}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d, err := Make(context.Background(), in, Rules{SeparateAttachments: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range d.Files {
		if err := d.Files[i].Copy(context.Background(), io.Discard); err != nil {
			t.Error(err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d KB were allocated", n>>10)
	}
	if len(d.Files) != 2 || d.Files[1].Size != raw.n*1000*57 || d.Files[0].Size > 4000 || d.Files[0].Role != store.RoleMessage {
		t.Errorf("%+v", d.Files)
	}
}

// TestContext ends the making of a document in the middle.
func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Make(ctx, rawInput([]byte(multi("mixed", plain, scan))), Rules{SeparateAttachments: true}); err == nil || ctx.Err() == nil {
		t.Error("a document, although the context has ended")
	}
}
