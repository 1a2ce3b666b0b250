package filesystem_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"postroom/store"
	"postroom/store/filesystem"
	"postroom/store/storetest"
)

// Environment of a child process: what it does, and to which repository.
const (
	childTask = "POSTROOM_TEST_CHILD"
	childPath = "POSTROOM_TEST_PATH"
	limited   = "limited" // runs the tests chosen on the command line
)

func TestMain(m *testing.M) {
	var task func(*filesystem.Repository) error
	switch os.Getenv(childTask) {
	case "", limited:
		os.Exit(m.Run())
	case "stall":
		task = putAndStall
	case "put":
		task = putAndTell
	case "replace":
		task = replaceOverAndOver
	case "replace and die":
		dieReplacing()
	}
	r, err := filesystem.Open(os.Getenv(childPath))
	if err == nil {
		err = task(r)
	}
	fmt.Fprintln(os.Stderr, err) // only a kill is meant to end a child
	os.Exit(1)
}

// putAndStall puts a document whose content stops in the middle, and says when
// it has come that far.
func putAndStall(r *filesystem.Repository) error {
	d := storetest.NewDocument("stalled")
	f := &d.Files[0]
	healthy := f.Open
	f.Open = func() (io.ReadCloser, error) {
		content, err := healthy()
		if err != nil {
			return nil, err
		}
		return io.NopCloser(io.MultiReader(io.LimitReader(content, f.Size/2), stalled{})), nil
	}
	_, err := r.Put(context.Background(), d)
	return err
}

// stalled says so when it is read and then waits for the process to be killed.
type stalled struct{}

func (stalled) Read([]byte) (int, error) {
	fmt.Println("stalled")
	_, err := io.Copy(io.Discard, os.Stdin) // ends with the parent
	return 0, err
}

const killDocuments = 400

func killDocument(i int) *store.Document {
	d := storetest.NewDocument(fmt.Sprintf("kill %d", i))
	d.Files = append(d.Files, storetest.NewFile("scan.pdf", store.RoleAttachment, make([]byte, i*53)))
	d.Origin.Received = d.Origin.Received.AddDate(0, 0, i%5)
	return d
}

// putAndTell puts all documents, those first that are not there yet, and tells
// the number of each when it is done.
func putAndTell(r *filesystem.Repository) error {
	next := make(chan int)
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range next {
				if _, err := r.Put(context.Background(), killDocument(i)); err != nil {
					select {
					case failed <- err:
					default:
					}
					return
				}
				fmt.Println(i)
			}
		})
	}
	for round := 0; ; round++ {
		for i := range killDocuments {
			_, err := r.Find(context.Background(), killDocument(i).Key())
			if err == nil == (round == 0) {
				continue
			}
			select {
			case next <- i:
			case err := <-failed:
				return err
			}
		}
	}
}

// process is this test's binary at work on a task.
type process struct {
	t       *testing.T
	command *exec.Cmd
	input   io.Closer // held open, so that the process does not end by itself
	output  *bufio.Scanner
}

func start(t *testing.T, task string, f folder) *process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program)
	c.Env = append(os.Environ(), childTask+"="+task, childPath+"="+string(f))
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return &process{t, c, in, bufio.NewScanner(out)}
}

// line returns the next line that the process prints, or false at the end.
func (p *process) line() (string, bool) {
	ok := p.output.Scan()
	return p.output.Text(), ok
}

// kill kills the process, waits for its end and returns the lines it had
// printed that were not read yet.
func (p *process) kill() (rest []string) {
	p.t.Helper()
	if err := p.command.Process.Kill(); err != nil {
		p.t.Errorf("kill: %v", err)
	}
	for line, ok := p.line(); ok; line, ok = p.line() {
		rest = append(rest, line)
	}
	var exit *exec.ExitError
	if err := p.command.Wait(); !errors.As(err, &exit) || exit.Exited() {
		p.t.Errorf("process ended with %v before it was killed", err)
	}
	return rest
}

// Crash kills a process that has written half a file.
func (f folder) Crash(t *testing.T) {
	t.Helper()
	p := start(t, "stall", f)
	if line, _ := p.line(); line != "stalled" {
		t.Errorf("process said %q, want that it has written half a file", line)
	}
	p.kill()
	if f.Leftovers(t) == 0 {
		t.Fatal("the crash left nothing behind")
	}
}

// Processes that put documents are killed at random moments.
func TestKilled(t *testing.T) {
	f := folder(t.TempDir())
	acknowledged := make(map[string]bool)
	for range 10 {
		p := start(t, "put", f)
		for range rand.IntN(120) {
			line, ok := p.line()
			if !ok {
				break
			}
			acknowledged[line] = true
		}
		for _, line := range p.kill() {
			acknowledged[line] = true
		}
		f.survived(t, acknowledged)
	}

	r := f.Open(t)
	defer closeRepository(t, r)
	if n := f.Leftovers(t); n != 0 {
		t.Errorf("%d things are left in .incoming after Open", n)
	}
	for i := range killDocuments {
		f.put(t, r, killDocument(i))
	}
	if n := len(f.survived(t, acknowledged)); n != killDocuments {
		t.Errorf("repository holds %d documents, want %d", n, killDocuments)
	}
}

// survived checks that what is visible is whole, single, and not less than what
// was acknowledged.
func (f folder) survived(t *testing.T, acknowledged map[string]bool) map[string]bool {
	t.Helper()
	titles := make(map[string]bool)
	for location, stored := range f.List(t) {
		d, err := stored.Document()
		if err != nil {
			t.Errorf("%s is visible but not whole: %v", location, err)
			continue
		}
		if titles[d.Title] {
			t.Errorf("document %q is there twice", d.Title)
		}
		titles[d.Title] = true
	}
	for i := range acknowledged {
		if !titles["kill "+i] {
			t.Errorf("document %q was acknowledged but is not there", i)
		}
	}
	return titles
}

func TestOpenTwice(t *testing.T) {
	f := folder(t.TempDir())
	r := f.Open(t)
	location := f.put(t, r, storetest.NewDocument("held"))
	if _, err := filesystem.Open(string(f)); !errors.Is(err, filesystem.ErrInUse) || !strings.Contains(err.Error(), string(f)) {
		t.Errorf("Open of an open repository: %v, want ErrInUse and the path", err)
	}
	closeRepository(t, r)

	p := start(t, "stall", f)
	p.line()
	if _, err := filesystem.Open(string(f)); !errors.Is(err, filesystem.ErrInUse) {
		t.Errorf("Open of a repository that another process has open: %v, want ErrInUse", err)
	}
	p.kill()
	r = f.Open(t)
	defer closeRepository(t, r)
	if _, ok := f.List(t)[location]; !ok {
		t.Error("the document is gone")
	}
}
