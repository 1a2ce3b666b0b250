package filesystem_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"postroom/store"
	"postroom/store/filesystem"
	"postroom/store/storetest"
)

const benchDocuments = 5000

// mails returns documents of 4 to 300 KB, some 600 MB in all.
func mails() []*store.Document {
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, 300_000)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	documents := make([]*store.Document, benchDocuments)
	for i := range documents {
		d := storetest.NewDocument(fmt.Sprintf("mail %d", i))
		size := min(4_096+int(random.Float64()*random.Float64()*296_000)+random.IntN(90_000), len(content))
		d.Files[0] = storetest.NewFile("message.eml", store.RoleMessage, content[:size])
		documents[i] = d
	}
	return documents
}

// BenchmarkPut files 5,000 mails of one day.
func BenchmarkPut(b *testing.B) {
	documents := mails()
	for _, callers := range []int{1, 16, 32, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			for b.Loop() {
				r, err := filesystem.Open(b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				next := make(chan *store.Document)
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for d := range next {
							if _, err := r.Put(context.Background(), d); err != nil {
								b.Error(err)
							}
						}
					})
				}
				for _, d := range documents {
					next <- d
				}
				close(next)
				wg.Wait()
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
			report(b, documents)
		})
	}
}

// BenchmarkCopy is what BenchmarkPut is compared with: the same files written
// one after the other, each synced.
func BenchmarkCopy(b *testing.B) {
	documents := mails()
	for b.Loop() {
		dir := b.TempDir()
		for _, d := range documents {
			folder := filepath.Join(dir, d.Title)
			if err := os.Mkdir(folder, 0o750); err != nil {
				b.Fatal(err)
			}
			description, err := store.MarshalDocument(d)
			if err != nil {
				b.Fatal(err)
			}
			write(b, filepath.Join(folder, "document.json"), func(f *os.File) error {
				_, err := f.Write(description)
				return err
			})
			write(b, filepath.Join(folder, "message.eml"), func(f *os.File) error {
				return d.Files[0].Copy(context.Background(), f)
			})
		}
	}
	report(b, documents)
}

func write(b *testing.B, name string, content func(*os.File) error) {
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := content(f); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
}

func report(b *testing.B, documents []*store.Document) {
	size := 0.0
	for _, d := range documents {
		size += float64(d.Files[0].Size)
	}
	seconds := b.Elapsed().Seconds() / float64(b.N)
	b.ReportMetric(float64(len(documents))/seconds, "documents/s")
	b.ReportMetric(size/1e6/seconds, "MB/s")
}
