package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"postroom/store"
)

// testRefuses puts documents that are at fault themselves.
func testRefuses(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	for name, spoil := range spoiled() {
		d := NewDocument("refused: " + name)
		spoil(d)
		if _, err := r.Put(context.Background(), d); !errors.Is(err, store.ErrRefused) {
			t.Errorf("Put with %s: %v, want ErrRefused", name, err)
		}
		expect(t, h, r)
	}
	for name, content := range map[string]func(f *store.File){
		"one byte more than announced":     func(f *store.File) { f.Size-- },
		"one byte less than announced":     func(f *store.File) { f.Size++ },
		"content, announced empty":         func(f *store.File) { f.Size = 0 },
		"another SHA-256 than announced":   func(f *store.File) { f.SHA256[31] ^= 1 },
		"no content, announced with bytes": func(f *store.File) { f.Open = opens(strings.NewReader("")) },
		"content without an end":           func(f *store.File) { f.Open = opens(endless{}) },
	} {
		for _, at := range []int{0, 1} {
			d := manyDocuments("differs: "+name, 1)[0]
			content(&d.Files[at])
			_, err := r.Put(context.Background(), d)
			if !errors.Is(err, store.ErrContent) || !errors.Is(err, store.ErrRefused) {
				t.Errorf("Put of file %d with %s: %v, want ErrContent and ErrRefused", at, name, err)
			}
			if _, err := r.Find(context.Background(), d.Key()); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Find after a refused Put: %v, want ErrNotFound", err)
			}
			expect(t, h, r)
		}
	}
}

// spoiled returns by name what makes a document one that no repository takes.
func spoiled() map[string]func(d *store.Document) {
	cases := map[string]func(d *store.Document){
		"no files":             func(d *store.Document) { d.Files = nil },
		"a negative size":      func(d *store.Document) { d.Files[0].Size = -1 },
		"an unknown role":      func(d *store.Document) { d.Files[0].Role = "cover" },
		"a file without Open":  func(d *store.Document) { d.Files[0].Open = nil },
		"names equal":          func(d *store.Document) { addFiles(d, "a.txt", "a.txt") },
		"names equal but case": func(d *store.Document) { addFiles(d, "a.txt", "A.TXT") },
		"names equal when folded": func(d *store.Document) {
			addFiles(d, "straße.txt", "STRASSE.TXT")
		},
	}
	for _, name := range []string{
		"", ".", "..", "../message.eml", "a/b", `a\b`, "/etc/passwd", `C:\a`, "C:a", "a\x00b", "a\nb", "CON", "nul.txt",
		"COM1.log", "lpt¹", "trailing.", "trailing ", " leading", ".hidden", "a?b", "a\u202eb", "a\xffb", "e\u0301",
		strings.Repeat("a", 101), strings.Repeat("語", 67), store.DocumentFile, "Document.JSON",
	} {
		cases["the file name "+name] = func(d *store.Document) { d.Files[0].Name = name }
	}
	for name, spoil := range spoiledKeys() {
		cases[name] = func(d *store.Document) {
			k := d.Key()
			spoil(&k)
			d.ID, d.Origin.Source, d.Origin.Received = k.ID, k.Source, k.Received
		}
	}
	return cases
}

// spoiledKeys returns by name what makes a key one that no document has.
func spoiledKeys() map[string]func(k *store.Key) {
	cases := map[string]func(k *store.Key){
		"no id":                  func(k *store.Key) { k.ID = "" },
		"a short id":             func(k *store.Key) { k.ID = k.ID[:63] },
		"a long id":              func(k *store.Key) { k.ID += "0" },
		"an id in capitals":      func(k *store.Key) { k.ID = strings.Repeat("AB", 32) },
		"an id with a line end":  func(k *store.Key) { k.ID = k.ID[:63] + "\n" },
		"an id that climbs":      func(k *store.Key) { k.ID = "../" + k.ID[3:] },
		"no date received":       func(k *store.Key) { k.Received = time.Time{} },
		"a date in year 10000":   func(k *store.Key) { k.Received = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a date before year one": func(k *store.Key) { k.Received = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) },
	}
	for _, name := range []string{
		"", ".", "..", "../other", "a/b", `a\b`, ".incoming", "-a", "_a", "a b", "a.b", "ä", "a\n", "NUL", "com1",
		strings.Repeat("a", 64),
	} {
		cases["the source name "+name] = func(k *store.Key) { k.Source = name }
	}
	return cases
}

func testRefusesKeys(t *testing.T, open func(t *testing.T) Harness) {
	_, r := start(t, open)
	for name, spoil := range spoiledKeys() {
		k := NewDocument(name).Key()
		spoil(&k)
		if _, err := r.Find(context.Background(), k); !errors.Is(err, store.ErrRefused) {
			t.Errorf("Find with %s: %v, want ErrRefused", name, err)
		}
	}
}

// testFails puts documents whose files cannot be read now, but can later.
func testFails(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	failure := errors.New("spool cannot be read")
	var documents []*store.Document
	for name, fail := range map[string]func(f *store.File) func() (io.ReadCloser, error){
		"opening": func(*store.File) func() (io.ReadCloser, error) {
			return func() (io.ReadCloser, error) { return nil, failure }
		},
		"reading from the start": func(*store.File) func() (io.ReadCloser, error) { return opens(broken{failure}) },
		"reading in the middle": func(f *store.File) func() (io.ReadCloser, error) {
			return opens(io.MultiReader(bytes.NewReader(make([]byte, f.Size/2)), broken{failure}))
		},
		"reading at the end": func(f *store.File) func() (io.ReadCloser, error) {
			return opens(io.MultiReader(contentOf(t, f), broken{failure}))
		},
		"closing": func(f *store.File) func() (io.ReadCloser, error) {
			content := contentOf(t, f)
			return func() (io.ReadCloser, error) { return unclosable{content, failure}, nil }
		},
	} {
		for _, at := range []int{0, 1} {
			d := manyDocuments("fails: "+name, 2)[at]
			f := &d.Files[at]
			healthy := f.Open
			f.Open = fail(f)
			_, err := r.Put(context.Background(), d)
			if !errors.Is(err, failure) || errors.Is(err, store.ErrRefused) {
				t.Errorf("Put when %s fails: %v, want the failure and not ErrRefused", name, err)
			}
			if _, err := r.Find(context.Background(), d.Key()); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Find when %s failed: %v, want ErrNotFound", name, err)
			}
			expect(t, h, r, documents...)

			f.Open = healthy
			put(t, r, d)
			documents = append(documents, d)
			expect(t, h, r, documents...)
		}
	}
}

// testContextEnds ends the context before a Put and while a file is read.
func testContextEnds(t *testing.T, open func(t *testing.T) Harness) {
	h, r := start(t, open)
	d := NewDocument("context ends")
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Put(ended, d); !errors.Is(err, context.Canceled) {
		t.Errorf("Put with an ended context: %v, want context.Canceled", err)
	}
	if _, err := r.Find(ended, d.Key()); !errors.Is(err, context.Canceled) {
		t.Errorf("Find with an ended context: %v, want context.Canceled", err)
	}
	expect(t, h, r)

	// Far more than is read ahead comes after the end of the context.
	const size, bound = 64 << 20, 8 << 20
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	long := NewDocument("context ends while a file is read")
	after := &counted{Reader: io.LimitReader(endless{}, size)}
	long.Files[0].Size = size
	long.Files[0].Open = opens(io.MultiReader(calls(cancel), after))
	if _, err := r.Put(ctx, long); !errors.Is(err, context.Canceled) {
		t.Errorf("Put whose context ends while a file is read: %v, want context.Canceled", err)
	}
	if after.n > bound {
		t.Errorf("Put read %d bytes after its context had ended, want at most %d", after.n, bound)
	}
	expect(t, h, r)

	put(t, r, d)
	expect(t, h, r, d)
}

func addFiles(d *store.Document, names ...string) {
	for _, name := range names {
		d.Files = append(d.Files, NewFile(name, store.RoleAttachment, []byte(name)))
	}
}

func opens(r io.Reader) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(r), nil }
}

func contentOf(t *testing.T, f *store.File) io.Reader {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// broken fails with its error.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// endless never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// unclosable fails when it is closed.
type unclosable struct {
	io.Reader
	err error
}

func (u unclosable) Close() error { return u.err }

// calls is empty and calls itself when it is read.
type calls func()

func (c calls) Read([]byte) (int, error) {
	c()
	return 0, io.EOF
}

// counted counts the bytes that are read.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}
