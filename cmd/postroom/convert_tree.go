package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"postroom/internal/filename"
)

// isMessage reports whether a file has the name of a message, *.eml or *.msg.
func isMessage(name string) bool {
	ext := path.Ext(name)
	return strings.EqualFold(ext, ".eml") || strings.EqualFold(ext, ".msg")
}

// ending returns the ending of the name of a message, "" if it has another, or
// there is nothing before it.
func ending(name string) string {
	if ext := path.Ext(name); isMessage(name) && ext != path.Base(name) {
		return ext
	}
	return ""
}

// replaceEnding returns the name of what a message of that name becomes.
func replaceEnding(name string, to format) string {
	return strings.TrimSuffix(name, ending(name)) + "." + string(to)
}

// plan lists the messages in the tree of a folder, and what is to become of each.
// Nothing is written by it.
func (c *converter) plan(ctx context.Context, in, out string) (jobs []convertJob, err error) {
	target, err := os.Stat(out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !target.IsDir():
		return nil, fmt.Errorf("%s is a file: name a folder for what becomes of those in %s", out, in)
	}
	root, err := os.OpenRoot(in)
	if err != nil {
		return nil, err
	}
	c.root = root
	p := &convertPlan{converter: c, in: in, out: out, target: target}
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return p.visit(name, e, err)
	})
	if err == nil {
		err = p.collisions()
	}
	return p.jobs, err
}

type convertPlan struct {
	*converter
	in, out string
	target  fs.FileInfo // of out, nil if it is not there
	jobs    []convertJob
	names   []string // of what becomes of each, slash-separated below OUT; "" for nothing
}

// visit plans what becomes of a file.
func (p *convertPlan) visit(name string, e fs.DirEntry, err error) error {
	if err != nil {
		if name == "." {
			return err
		}
		p.add(name, "", "", fmt.Errorf("read folder: %w", err))
		if e != nil && e.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	if e.IsDir() {
		if strings.HasPrefix(e.Name(), roomPrefix) {
			return fs.SkipDir // of another conversion
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if p.target == nil || !os.SameFile(info, p.target) {
			return nil
		}
		if name == "." {
			return fmt.Errorf("%s is %s: name another folder as OUT", p.out, p.in)
		}
		return fs.SkipDir // OUT is in IN
	}
	wanted := p.all || isMessage(name)
	mode := e.Type()
	if mode&fs.ModeSymlink != 0 {
		info, err := p.root.Stat(name)
		if err != nil {
			if to, e := os.Stat(filepath.Join(p.in, filepath.FromSlash(name))); wanted || e == nil && to.IsDir() {
				p.add(name, "", "", fmt.Errorf("is a symbolic link that is not followed: %w", err))
			}
			return nil
		}
		if mode = info.Mode().Type(); mode.IsDir() {
			p.add(name, "", "", errors.New("is a symbolic link to a folder, which is not followed"))
			return nil
		}
	}
	switch {
	case !wanted:
		return nil
	case !mode.IsRegular():
		p.add(name, "", "", errors.New("is neither a file nor a folder"))
		return nil
	}
	to := p.to
	if to == "" {
		of, err := p.formatOf(name)
		if err != nil {
			p.add(name, "", "", err)
			return nil
		}
		to = of.other()
	}
	becomes := replaceEnding(name, to)
	if p.separate {
		becomes = strings.TrimSuffix(name, ending(name))
	}
	p.add(name, becomes, to, nil)
	return nil
}

func (p *convertPlan) formatOf(name string) (format, error) {
	f, err := p.root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return formatOf(f)
}

// add plans that a file becomes what is below OUT by that name, or that an error
// is told of it.
func (p *convertPlan) add(name, becomes string, to format, err error) {
	j := convertJob{in: filepath.Join(p.in, filepath.FromSlash(name)), name: name, to: to, err: err}
	if err == nil {
		j.out = filepath.Join(p.out, filepath.FromSlash(becomes))
		j.open = func(context.Context) (*convertInput, error) {
			return openInput(func() (*os.File, error) { return p.root.Open(name) })
		}
	}
	p.jobs = append(p.jobs, j)
	p.names = append(p.names, becomes)
}

// maxCollisions is how many collisions are named.
const maxCollisions = 20

// collisions returns an error if two messages would become the same file, or one
// the folder of another; also on a file system that takes names for the same that
// differ in case or composition.
func (p *convertPlan) collisions() error {
	var errs []error
	collide := func(i, j int) {
		errs = append(errs, fmt.Errorf("%s and %s would both be %s", quoted(p.jobs[i].in), quoted(p.jobs[j].in), quoted(p.jobs[i].out)))
	}
	by := make(map[string]int, len(p.jobs))
	for i, name := range p.names {
		if name == "" {
			continue
		}
		key := filename.Fold(name)
		if first, ok := by[key]; ok {
			collide(first, i)
			continue
		}
		by[key] = i
	}
	looked := make(map[string]bool)
	for j, name := range p.names {
		for dir := path.Dir(name); name != "" && dir != "." && !looked[dir]; dir = path.Dir(dir) {
			looked[dir] = true
			if i, ok := by[filename.Fold(dir)]; ok {
				errs = append(errs, fmt.Errorf("%s would be %s, which is the folder of what becomes of %s", quoted(p.jobs[i].in), quoted(p.jobs[i].out), quoted(p.jobs[j].in)))
			}
		}
	}
	if len(errs) == 0 {
		return nil
	}
	if more := len(errs) - maxCollisions; more > 0 {
		errs = append(errs[:maxCollisions], fmt.Errorf("and %d more", more))
	}
	return fmt.Errorf("nothing was converted, since names collide: convert these apart, or rename them\n%w", errors.Join(errs...))
}

// convertReport prints what became of the files.
type convertReport struct {
	out      io.Writer
	asJSON   bool
	single   bool  // one file: what it has lost is printed, too
	failure  error // of printing
	totals   convertTotals
	troubles troubles
}

type convertTotals struct {
	Files      int     `json:"files"`
	Converted  int     `json:"converted"`
	Copied     int     `json:"copied"` // they had the format already
	Failed     int     `json:"failed"`
	WithLosses int     `json:"with_losses"`
	BytesIn    int64   `json:"bytes_in"`  // of those converted and copied
	BytesOut   int64   `json:"bytes_out"` // written
	Seconds    float64 `json:"seconds"`

	begun time.Time
}

func (r *convertReport) print(format string, args ...any) {
	if r.failure == nil {
		_, r.failure = fmt.Fprintf(r.out, format, args...)
	}
}

func (r *convertReport) begin() {
	r.totals.begun = time.Now()
	if r.asJSON {
		r.print("{\n  \"files\": [")
	}
}

// add takes what became of a file.
func (r *convertReport) add(of converted) {
	t := &r.totals
	t.Files++
	switch {
	case of.Error != "":
		t.Failed++
		r.troubles.note("%s: %s", quoted(of.In), inOneLine(of.Error))
	case of.Copied:
		t.Copied++
	default:
		t.Converted++
	}
	t.BytesIn += of.read
	if of.Size != nil {
		t.BytesOut += *of.Size
	}
	if of.Losses != nil && len(*of.Losses) > 0 {
		t.WithLosses++
	}
	switch {
	case r.asJSON:
		if t.Files > 1 {
			r.print(",")
		}
		r.print("\n    %s", r.value("    ", of))
	case r.single && of.Losses != nil:
		for _, l := range *of.Losses {
			place := ""
			if l.Place != "" {
				place = l.Place + ": "
			}
			r.print("%s\n", printable("not as in the message: "+place+l.What, 500))
		}
	}
}

// value returns a value as JSON, at a depth.
func (r *convertReport) value(prefix string, v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetIndent(prefix, "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil && r.failure == nil {
		r.failure = err
	}
	return strings.TrimRight(b.String(), "\n")
}

func (r *convertReport) end() {
	t := &r.totals
	t.Seconds = time.Since(t.begun).Seconds()
	if r.asJSON {
		if t.Files > 0 {
			r.print("\n  ")
		}
		r.print("],\n  \"totals\": %s\n}\n", r.value("  ", t))
		return
	}
	r.print("%d converted, %d copied, %d failed; %d bytes to %d bytes in %.1f seconds\n", t.Converted, t.Copied, t.Failed, t.BytesIn, t.BytesOut, t.Seconds)
	if t.WithLosses > 0 && !r.single {
		r.print("of %s the format cannot hold everything as it was: --json says what\n", count(t.WithLosses, "message", "messages"))
	}
}
