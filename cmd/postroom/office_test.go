package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroom/internal/dovecot"
	"postroom/store"
)

func TestMain(m *testing.M) {
	program.dir, program.err = os.MkdirTemp("", "postroom")
	// For all tests, so that those may run side by side that wait, mostly.
	if err := os.Setenv("POSTROOM_TEST_PASSWORD", marker); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		if err := os.RemoveAll(program.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
		os.Exit(status)
	}))
}

// patience is how long a test waits for what must come, on a machine however busy.
const patience = 10 * time.Minute

// marker is the password, which must turn up nowhere.
const marker = "MARKER-pa55word-MARKER"

// office is a mail server and the folder of a configuration for it.
type office struct {
	t      *testing.T
	server *dovecot.Server
	dir    string
	sent   map[string]int // SHA-256 of every message delivered to a folder that is read

	mu  sync.Mutex
	out bytes.Buffer // of every command
}

func newOffice(t *testing.T, options dovecot.Options) *office {
	t.Helper()
	options.Users = map[string]string{"office": marker}
	o := &office{t: t, server: dovecot.Start(t, options), dir: t.TempDir(), sent: make(map[string]int)}
	t.Cleanup(o.noSecretAnywhere)
	return o
}

// configure writes the configuration; source are the lines of the source.
func (o *office) configure(source string) {
	o.t.Helper()
	address, typ := (*dovecot.Server).IMAPS, "type: imap"
	if rest, ok := strings.CutPrefix(source, "type: pop3"); ok {
		address, typ, source = (*dovecot.Server).POP3S, "type: pop3", rest
	}
	source = strings.ReplaceAll(strings.TrimSpace(source), "\n", "\n    ")
	text := fmt.Sprintf(`version: 1
repository: {type: filesystem, path: ./documents}
credentials:
  - name: office
    type: password
    username: office
    password: ${env:POSTROOM_TEST_PASSWORD}
sources:
  - name: office
    %s
    credentials: office
    %s
`, typ, source)
	if !strings.Contains(source, "server:") {
		text = strings.TrimRight(text, "\n") + fmt.Sprintf("\n    server: %s\n    ca_file: %s\n", address(o.server), o.server.CAFile())
	}
	if err := os.WriteFile(filepath.Join(o.dir, "config.yaml"), []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) deliver(folder string, raw []byte) {
	o.t.Helper()
	if err := o.server.Deliver("office", folder, raw, time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), false); err != nil {
		o.t.Fatal(err)
	}
}

// send delivers a message that is to be filed.
func (o *office) send(folder string, raw []byte) {
	o.t.Helper()
	o.deliver(folder, raw)
	o.sent[sum(raw)]++
}

func (o *office) folder(name string) {
	o.t.Helper()
	if err := o.server.CreateFolder("office", name); err != nil {
		o.t.Fatal(err)
	}
}

func sum(raw []byte) string {
	h := sha256.Sum256(raw)
	return hex.EncodeToString(h[:])
}

// result is what a command came to.
type result struct {
	status   int
	out, err string
}

// run runs postroom in this process.
func (o *office) run(args ...string) result {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	return o.runUntil(ctx, args...)
}

func (o *office) runUntil(ctx context.Context, args ...string) result {
	var out, errs bytes.Buffer
	status := run(ctx, append(args, "--config", filepath.Join(o.dir, "config.yaml")), strings.NewReader(""), &out, &errs)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.out.Write(out.Bytes())
	o.out.Write(errs.Bytes())
	return result{status, out.String(), errs.String()}
}

// summary is that of run --once for the one source.
type summary struct {
	Name                                   string
	Filed, Duplicates, Quarantined, Failed int
	Bytes                                  int64
	Seconds                                float64
	Error                                  string
}

func (o *office) once() summary {
	o.t.Helper()
	r := o.run("run", "--once", "--json")
	var got struct{ Sources []summary }
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Sources) != 1 {
		o.t.Fatalf("status %d, %v:\n%s\n%s", r.status, err, r.out, r.err)
	}
	s := got.Sources[0]
	if ok := s.Failed == 0 && s.Quarantined == 0 && s.Error == ""; ok != (r.status == 0) {
		o.t.Errorf("exit status %d for %+v", r.status, s)
	}
	return s
}

// filed reads every document of the repository, checks that each is whole, and
// returns them.
func (o *office) filed() []*store.Document {
	o.t.Helper()
	root := filepath.Join(o.dir, "documents")
	var docs []*store.Document
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if path == root && errors.Is(err, fs.ErrNotExist) {
			return nil // nothing was opened yet
		}
		if err != nil {
			return err
		}
		if e.IsDir() && e.Name() == ".incoming" {
			return fs.SkipDir
		}
		if e.Name() != "document.json" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		d, err := store.ParseDocument(b)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, f := range d.Files {
			raw, err := os.ReadFile(filepath.Join(filepath.Dir(path), f.Name))
			if err != nil {
				return err
			}
			if int64(len(raw)) != f.Size || sha256.Sum256(raw) != f.SHA256 {
				return fmt.Errorf("%s: %s is not what document.json says", path, f.Name)
			}
		}
		docs = append(docs, d)
		return nil
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return docs
}

// judge checks that exactly what was sent is filed, octet for octet.
func (o *office) judge() {
	o.t.Helper()
	got := make(map[string]int)
	for _, d := range o.filed() {
		got[hex.EncodeToString(d.Files[0].SHA256[:])]++
	}
	for h := range o.sent {
		if got[h] != 1 {
			o.t.Errorf("message %.12s was filed %d times", h, got[h])
		}
		delete(got, h)
	}
	for h := range got {
		o.t.Errorf("document with message %.12s, which was never sent", h)
	}
}

// contents returns the messages in a folder on the server.
func (o *office) contents(folder string) []dovecot.Message {
	o.t.Helper()
	m, err := o.server.Snapshot("office", folder)
	if err != nil {
		o.t.Fatal(err)
	}
	return m
}

// noSecretAnywhere looks for the marker in all that was printed or written.
func (o *office) noSecretAnywhere() {
	if bytes.Contains(o.out.Bytes(), []byte(marker)) {
		o.t.Error("the password was printed")
	}
	err := filepath.WalkDir(o.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(marker)) {
			o.t.Errorf("the password is in %s", path)
		}
		return err
	})
	if err != nil {
		o.t.Error(err)
	}
}

// program is postroom, in a folder of its own.
var program struct {
	once sync.Once
	dir  string
	err  error
}

// buildProgram builds postroom, once for all tests: linking it takes long. It has
// no race detector, which needs several times the memory.
func buildProgram(t *testing.T) string {
	t.Helper()
	program.once.Do(func() {
		if program.err != nil {
			return
		}
		// Some tests run it as another user.
		if program.err = os.Chmod(program.dir, 0o755); program.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-ldflags=-w", "-o", filepath.Join(program.dir, "postroom"), ".").CombinedOutput(); err != nil {
			program.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatalf("build postroom: %v", program.err)
	}
	return filepath.Join(program.dir, "postroom")
}

// contains checks that text holds every one of the wanted strings.
func contains(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in:\n%s", w, text)
		}
	}
}

func titles(docs []*store.Document) []string {
	var out []string
	for _, d := range docs {
		out = append(out, d.Title)
	}
	slices.Sort(out)
	return out
}
