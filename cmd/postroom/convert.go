package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"postroom/ingest/document"
	"postroom/ingest/message"
	"postroom/ingest/outlook"
	"postroom/ingest/outlook/cfb"
	"postroom/ingest/spool"
	"postroom/internal/durable"
	"postroom/sources"
	"postroom/store"
)

// format is that of a file with a message: the ending of its name, without dot.
type format string

const (
	asEML format = "eml" // mail, RFC 5322
	asMSG format = "msg" // Outlook's
)

func (f format) other() format {
	if f == asMSG {
		return asEML
	}
	return asMSG
}

// convertOptions are the flags of the command.
type convertOptions struct {
	to       format // empty: the other one
	separate bool
	all      bool
	asJSON   bool
}

func newConvert() *cobra.Command {
	var o convertOptions
	cmd := &cobra.Command{
		Use: "convert [flags] IN OUT", Short: "Convert between .eml and Outlook's .msg, offline", Args: cobra.ExactArgs(2),
		Long: `Converts messages to the other format, or to that of --to. What a file holds decides
which format it has, not its name.

IN is a file, - for standard input, or a folder. Of a folder its tree of *.eml and *.msg
(--all: every file) is written under OUT with the same names, the ending replaced, or
appended where it was another. Two that would have the same name are an error before
anything is written, also if the names differ in case only. A message that has the
format already is copied as it is. Symbolic links out of the folder, and those to
folders, are not followed.

OUT is a file, a folder, or - for standard output. A file that is there is never
replaced: that is an error, and the others are converted. The same command after an
interruption so does the rest, and names what was there.

With --separate-attachments OUT is, per message, a folder that holds the message, its
attachments and document.json as in a repository.

What fails is named on standard error, leaves nothing behind, and ends in exit status 1.
So does what is no mail at all, such as a picture: it has no header, and is not empty.
--json reports for each file what it became and what the format could not hold.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := convert(cmd, args[0], args[1], o)
			var e *exitError
			if errors.As(err, &e) && e.err != nil {
				e.err = errors.New(quoting(e.err.Error(), args...))
			}
			return err
		},
	}
	cmd.Flags().StringVar((*string)(&o.to), "to", "", "`FORMAT` to convert to: msg or eml (default: the other one)")
	cmd.Flags().BoolVar(&o.separate, "separate-attachments", false, "per message a folder with message, attachments and document.json")
	cmd.Flags().BoolVar(&o.all, "all", false, "every file of the folder IN, not only *.eml and *.msg")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print what became of each file as JSON")
	return cmd
}

// standard stands for standard input and output.
const standard = "-"

func convert(cmd *cobra.Command, in, out string, o convertOptions) (err error) {
	if !signal.Ignored(syscall.SIGHUP) {
		// The terminal is closed: what is not finished goes with it.
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
		defer stop()
		cmd.SetContext(ctx)
	}
	switch {
	case o.to != "" && o.to != asEML && o.to != asMSG:
		return usage("--to: %q is no format; allowed: msg, eml", string(o.to))
	case in == "" || out == "":
		return usage("IN and OUT must not be empty")
	case out == standard && o.separate:
		return usage("--separate-attachments writes a folder, which standard output cannot be: name OUT")
	case out == standard && o.asJSON:
		return usage("--json goes to standard output, as does the message: name OUT")
	}
	c := &converter{convertOptions: o, stdout: asIs(cmd.OutOrStdout())}
	var jobs []convertJob
	tree := false
	if in != standard {
		info, err := os.Stat(in)
		if errors.Is(err, fs.ErrNotExist) {
			return failed(fmt.Errorf("IN, %s, is not there: name a file or a folder with messages, or - for standard input", quoted(in)))
		}
		if err != nil {
			return failed(err)
		}
		tree = info.IsDir()
	}
	switch {
	case tree && out == standard:
		return usage("%s is a folder, which standard output cannot be: name OUT", in)
	case tree:
		jobs, err = c.plan(cmd.Context(), in, out)
	default:
		out, err = c.target(in, out)
		jobs = []convertJob{{in: in, out: out, to: o.to, open: func(ctx context.Context) (*convertInput, error) {
			return c.openOne(ctx, cmd.InOrStdin(), in)
		}}}
	}
	if err != nil {
		if cmd.Context().Err() != nil {
			err = errConvertStopped
		}
		return failed(errors.Join(err, c.close()))
	}
	// Who stops reading what is printed must not end the program before it has
	// removed what it made.
	signal.Ignore(syscall.SIGPIPE)
	leave, err := c.enter(out, tree)
	if err != nil {
		return failed(errors.Join(err, c.close()))
	}
	progress := newBar(cmd.ErrOrStderr(), "converting ", "%d of %d")
	report := &convertReport{out: progress.around(cmd.OutOrStdout()), asJSON: o.asJSON, single: !tree}
	if out == standard {
		report.out = progress.around(cmd.ErrOrStderr())
	}
	report.begin()
	c.run(cmd.Context(), jobs, func(done int) { progress.show(done, len(jobs)) }, report.add)
	progress.end()
	err = errors.Join(leave(), c.close())
	report.end()
	report.troubles.print(cmd.ErrOrStderr())
	switch {
	case cmd.Context().Err() != nil && report.totals.Files < len(jobs):
		return failed(errConvertStopped)
	case err != nil || report.failure != nil:
		return failed(errors.Join(err, report.failure))
	case report.totals.Failed > 0:
		return &exitError{status: exitFailed}
	case tree && len(jobs) == 0:
		what := "no *.eml and no *.msg; --all takes every file"
		if o.all {
			what = "no files"
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "postroom: in %s there are %s\n", quoted(in), what)
	}
	return nil
}

var errConvertStopped = errors.New("stopped before the end; what was not converted has left nothing behind. " +
	"The same command does the rest, names what is there by then, and ends in exit status 1 for that; what it names is not converted again")

// convertJob is one message to be converted.
type convertJob struct {
	in, out string
	name    string // of in, within the folder IN
	to      format // empty: the other one
	open    func(ctx context.Context) (*convertInput, error)
	err     error // that is known already
}

// convertInput is a file with a message, open.
type convertInput struct {
	io.ReaderAt
	io.Closer
	size int64
	mode fs.FileMode // permissions of what is made of it
}

// format returns the format by the first bytes. Mail cannot begin as a compound
// file does.
func (in *convertInput) format() (format, error) {
	return formatOf(io.NewSectionReader(in, 0, in.size))
}

// compoundFile is how every compound file begins (MS-CFB 2.2).
var compoundFile = []byte{0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1}

func formatOf(r io.Reader) (format, error) {
	head := make([]byte, len(compoundFile))
	n, err := io.ReadFull(r, head)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return "", err
	case bytes.Equal(head[:n], compoundFile):
		return asMSG, nil
	}
	return asEML, nil
}

// converted is what became of a file. Either Error is set, or Size.
type converted struct {
	In     string  `json:"in"`
	Out    string  `json:"out,omitempty"`
	Copied bool    `json:"copied,omitempty"` // it had the format already
	Class  string  `json:"class,omitempty"`  // PidTagMessageClass, such as IPM.Note
	Size   *int64  `json:"size,omitempty"`   // of the file, or all files, that were written, in bytes
	Losses *[]loss `json:"losses,omitempty"` // [] if there are none
	Error  string  `json:"error,omitempty"`

	read    int64
	stopped bool // by the context
}

// loss is an outlook.Loss.
type loss struct {
	Place string `json:"place,omitempty"` // the attached message that it is of
	What  string `json:"what"`
}

// converter converts messages, several at once.
type converter struct {
	convertOptions
	stdout io.Writer
	root   *os.Root // IN, if that is a folder
	room   *room
	spool  *spool.Spool
	names  atomic.Int64 // in the room
}

func (c *converter) close() error {
	if c.root == nil {
		return nil
	}
	return c.root.Close()
}

// target returns what OUT means for a single file. Nothing may be there.
func (c *converter) target(in, out string) (string, error) {
	if out == standard {
		return out, nil
	}
	info, err := os.Stat(out)
	if err == nil && info.IsDir() && !c.separate {
		if in == standard {
			return "", fmt.Errorf("%s is a folder: name a file in it", quoted(out))
		}
		f, err := os.Open(in)
		if err != nil {
			return "", err
		}
		defer f.Close()
		to := c.to
		if to == "" {
			of, err := formatOf(f)
			if err != nil {
				return "", err
			}
			to = of.other()
		}
		out = filepath.Join(out, replaceEnding(filepath.Base(in), to))
	}
	return out, free(out)
}

// free returns an error if there is something at the path other than an empty
// folder.
func free(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return nil
		}
	}
	return taken(path)
}

func taken(path string) error {
	return fmt.Errorf("%s is there already, and is left as it is: move it away, or name another OUT", quoted(path))
}

// enter makes the room to work in, on the disk of OUT, and returns what removes it,
// and OUT too if that was made for nothing.
func (c *converter) enter(out string, tree bool) (leave func() error, err error) {
	made := false
	at := filepath.Dir(out)
	switch {
	case out == standard:
		at = os.TempDir()
	case tree:
		at = out
		switch err := os.Mkdir(out, 0o777); {
		case err == nil:
			made = true
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%s cannot be made, as %s is not there: make that folder, or name another OUT", quoted(out), quoted(filepath.Dir(out)))
		case !errors.Is(err, fs.ErrExist):
			return nil, cannotWrite(out, err)
		}
	}
	switch _, err := os.Stat(at); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no folder %s: make it, or name another OUT", quoted(at))
	case err != nil:
		return nil, err
	}
	if c.room, err = openRoom(at); err == nil {
		c.spool, err = spool.Open(filepath.Join(c.room.path, "spool"))
	}
	leave = func() error {
		var err error
		if c.room != nil {
			err = c.room.close()
		}
		if made {
			// It stays if there is something in it.
			os.Remove(out)
		}
		return err
	}
	if err != nil {
		return nil, errors.Join(cannotWrite(at, err), leave())
	}
	return leave, nil
}

// run converts the jobs. It tells how many are done after each, and what became
// of them in their order.
func (c *converter) run(ctx context.Context, jobs []convertJob, show func(done int), tell func(converted)) {
	type numbered struct {
		n int
		converted
	}
	results := make(chan numbered)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(jobs)) {
		workers.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(jobs) {
					return
				}
				results <- numbered{n, c.one(ctx, jobs[n])}
			}
		})
	}
	go func() {
		workers.Wait()
		close(results)
	}()
	early := make(map[int]converted)
	done, turn := 0, 0
	for r := range results {
		done++
		show(done)
		early[r.n] = r.converted
		for ; ; turn++ {
			now, ok := early[turn]
			if !ok {
				break
			}
			delete(early, turn)
			if !now.stopped {
				tell(now)
			}
		}
	}
}

// one converts one message. What fails leaves nothing behind.
func (c *converter) one(ctx context.Context, j convertJob) (r converted) {
	r = converted{In: j.in}
	fail := func(err error) {
		r = converted{In: j.in, Error: quoting(c.explain(err, j.out).Error(), j.in, j.out, j.name), stopped: ctx.Err() != nil}
	}
	defer func() {
		if p := recover(); p != nil {
			fail(fmt.Errorf("internal error: %v", p))
		}
	}()
	err := j.err
	if err == nil && j.out != standard {
		err = free(j.out)
	}
	if err != nil {
		fail(err)
		return r
	}
	in, err := j.open(ctx)
	if err != nil {
		fail(err)
		return r
	}
	defer func() {
		if err := in.Close(); err != nil && r.Error == "" {
			fail(err)
		}
	}()
	if err := c.convert(ctx, j, in, &r); err != nil {
		fail(err)
		return r
	}
	r.read = in.size
	if j.out != standard {
		r.Out = j.out
	}
	return r
}

// explain says of an error that is about a file in the room what it means for
// OUT: the file in the room is nobody's concern.
func (c *converter) explain(err error, out string) error {
	var (
		file *fs.PathError
		link *os.LinkError
		name string
	)
	switch {
	case errors.As(err, &file):
		name = file.Path
	case errors.As(err, &link):
		name = link.Old
	}
	if c.room == nil || !strings.HasPrefix(name, c.room.path) {
		return err
	}
	if out == standard {
		out = os.TempDir()
	}
	return cannotWrite(out, err)
}

func (c *converter) convert(ctx context.Context, j convertJob, in *convertInput, r *converted) error {
	of, err := in.format()
	if err != nil {
		return err
	}
	if of == asEML {
		if err := checkMail(in, in.size); err != nil {
			return err
		}
	}
	to := j.to
	if to == "" {
		to = of.other()
	}
	if c.separate {
		return c.separated(ctx, j, in, of, to, r)
	}
	f, err := os.OpenFile(c.unfinished(), os.O_RDWR|os.O_CREATE|os.O_EXCL, in.mode)
	if err != nil {
		return err
	}
	defer func() {
		// It may be neither open nor there any more; else it goes with the room.
		f.Close()
		os.Remove(f.Name())
	}()
	var report outlook.Report
	out := &counted{w: untilDone{ctx, f}}
	switch {
	case of == to:
		r.Copied = true
		if of == asMSG {
			if err = checkMsg(in, in.size); err != nil {
				break
			}
		}
		_, err = io.Copy(out, io.NewSectionReader(in, 0, in.size))
	case to == asMSG:
		var m *message.Message
		if m, err = message.Read(ctx, in, in.size, message.Limits{}); err == nil {
			report, err = outlook.Convert(ctx, f, m, outlook.Options{})
			out.n = report.Size
		}
	default:
		report, err = toMail(ctx, in, in.size, out)
	}
	if err == nil {
		err = c.publish(f, j.out)
	}
	if err != nil {
		return err
	}
	r.report(report, out.n)
	return nil
}

// checkMsg returns an error if a compound file is no message.
func checkMsg(in io.ReaderAt, size int64) error {
	_, err := outlook.Open(in, size)
	return explainMsg(err)
}

// explainMsg says of an error of reading a file in Outlook's format what it means
// for the file.
func explainMsg(err error) error {
	var format *cfb.FormatError
	switch {
	case errors.Is(err, outlook.ErrNotMessage):
		return fmt.Errorf("is no message of Outlook: it is a compound file, as a document of Word is, without one; leave it out (%w)", err)
	case errors.As(err, &format):
		return fmt.Errorf("is damaged, or no message of Outlook: save the message anew in Outlook, or leave it out (%w)", err)
	}
	return err
}

// headOfMail is how much of a file is looked at to tell whether it is mail.
const headOfMail = 64 << 10

// beginsAsField is a line with a header field as mail has them; what the standard
// allows for a name is much more, and also how JSON or a style sheet may begin.
var beginsAsField = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*[ \t]*:`)

// checkMail returns an error if a file is no mail. In doubt it is: mail is what is
// empty, begins with the empty line after a header without fields, with a header
// field or as an mbox file does, or has a field that is usual in mail, whatever
// stands before it. What begins as another known type of file does is none.
func checkMail(in io.ReaderAt, size int64) error {
	head := make([]byte, min(size, headOfMail))
	if _, err := in.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	text := bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	first := bytes.TrimLeft(text, " \t")
	if len(first) == 0 || first[0] == '\r' || first[0] == '\n' || beginsAsField.Match(first) || bytes.HasPrefix(text, []byte("From ")) {
		return nil
	}
	const remedy = "if it is a message in another format, save it as .eml or .msg"
	if kind, _, _ := strings.Cut(http.DetectContentType(text), ";"); !strings.HasPrefix(kind, "text/") && kind != "application/octet-stream" {
		return fmt.Errorf("is no mail but another type of file (%s): %s", kind, remedy)
	}
	header, err := message.ReadHeader(bytes.NewReader(head))
	if err != nil {
		return err
	}
	for _, f := range header.Fields {
		if usual[strings.ToLower(f.Name)] {
			return nil
		}
	}
	return fmt.Errorf("is no mail: no header field can be read in it; %s", remedy)
}

// usual are the header fields of which mail has at least one.
var usual = map[string]bool{
	"from": true, "to": true, "cc": true, "bcc": true, "sender": true, "reply-to": true, "subject": true, "date": true,
	"received": true, "return-path": true, "delivered-to": true, "message-id": true, "mime-version": true, "content-type": true,
}

// toMail writes the message that a file in Outlook's format holds as mail.
func toMail(ctx context.Context, in io.ReaderAt, size int64, w io.Writer) (outlook.Report, error) {
	f, err := outlook.Open(in, size)
	if err != nil {
		return outlook.Report{}, explainMsg(err)
	}
	report, err := f.WriteMail(ctx, w)
	return report, explainMsg(err)
}

func (r *converted) report(of outlook.Report, size int64) {
	losses := make([]loss, len(of.Losses))
	for i, l := range of.Losses {
		losses[i] = loss{l.Place, l.What}
	}
	r.Class, r.Size, r.Losses = of.Class, &size, &losses
}

// separated makes a folder of a message.
func (c *converter) separated(ctx context.Context, j convertJob, in *convertInput, of, to format, r *converted) (err error) {
	scratch := c.spool.Scratch()
	defer func() { err = errors.Join(err, scratch.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(untilDone{ctx, hash}, io.NewSectionReader(in, 0, in.size)); err != nil {
		return err
	}
	received := [32]byte(hash.Sum(nil))
	mail := document.Input{Wire: sources.Original, Raw: in, Size: in.size, SHA256: received}
	var losses []outlook.Loss
	if of == asMSG {
		var report outlook.Report
		blob, err := scratch.Write(func(w io.WriterAt) (int64, error) {
			out := &counted{w: io.NewOffsetWriter(w, 0)}
			var err error
			report, err = toMail(ctx, in, in.size, out)
			return out.n, err
		})
		if err != nil {
			return err
		}
		losses = report.Losses
		mail.Notes = lossNotes(losses)
		mail.Wire, mail.Raw, mail.Size, mail.SHA256, mail.Held = sources.Reconstructed, blob, blob.Size(), blob.SHA256(), blob.Held()
	}
	if mail.Message, err = message.Read(ctx, mail.Raw, mail.Size, message.Limits{}); err != nil {
		return err
	}
	if mail.Identity, err = document.Identify(ctx, mail.Message); err != nil {
		return err
	}
	d, err := document.Make(ctx, mail, document.Rules{Title: "{subject}", SeparateAttachments: true, Outlook: to == asMSG})
	if err != nil {
		return err
	}
	report, err := d.Render(ctx, scratch)
	if err != nil {
		return err
	}
	report.Losses = append(losses, report.Losses...)
	d.Origin.Size, d.Origin.SHA256 = in.size, received
	size, err := c.file(ctx, d.Document, in.mode, j.out)
	if err != nil {
		return err
	}
	r.report(report, size)
	return nil
}

// maxLossNotes is how many notes a document has on what mail could not hold.
const maxLossNotes = 20

func lossNotes(losses []outlook.Loss) []string {
	var notes []string
	for i, l := range losses {
		if i == maxLossNotes {
			return append(notes, fmt.Sprintf("%d more of the kind", len(losses)-i))
		}
		notes = append(notes, l.String())
	}
	return notes
}

// file writes a document into a folder, which appears whole.
func (c *converter) file(ctx context.Context, d *store.Document, mode fs.FileMode, to string) (size int64, err error) {
	dir := c.unfinished()
	// Who may read a file may look into the folder.
	if err := os.Mkdir(dir, 0o700|mode&0o044|mode&0o044>>2); err != nil {
		return 0, err
	}
	defer func() {
		if e := os.RemoveAll(dir); err == nil {
			err = e
		}
	}()
	write := func(name string, content func(io.Writer) error) error {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		out := &counted{w: f}
		err = errors.Join(content(out), f.Close())
		size += out.n
		return err
	}
	for i := range d.Files {
		if err := write(d.Files[i].Name, func(w io.Writer) error { return d.Files[i].Copy(ctx, w) }); err != nil {
			return 0, err
		}
	}
	description, err := store.MarshalDocument(d)
	if err != nil {
		return 0, err
	}
	err = write(store.DocumentFile, func(w io.Writer) error {
		_, err := w.Write(description)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return 0, cannotWrite(filepath.Dir(to), err)
	}
	if err := free(to); err != nil {
		return 0, err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, taken(to) // an empty folder no longer
	}
	return size, durable.Patiently(func() error { return os.Rename(dir, to) })
}

// unfinished returns a new name in the room.
func (c *converter) unfinished() string {
	return filepath.Join(c.room.path, fmt.Sprint(c.names.Add(1)))
}

// publish gives the finished file its name, which nothing else may have. It may
// be there under the other name, too, afterwards.
func (c *converter) publish(f *os.File, to string) error {
	if to == standard {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(c.stdout, f)
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return cannotWrite(filepath.Dir(to), err)
	}
	err := os.Link(f.Name(), to)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return taken(to)
	}
	// Not every file system has links.
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return taken(to)
	}
	return durable.Patiently(func() error { return os.Rename(f.Name(), to) })
}

// openOne opens what is no folder. What can be read only once is read first.
func (c *converter) openOne(ctx context.Context, stdin io.Reader, name string) (*convertInput, error) {
	once := func() (io.ReadCloser, error) { return io.NopCloser(stdin), nil }
	if name != standard {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			return openInput(func() (*os.File, error) { return os.Open(name) })
		}
		once = func() (io.ReadCloser, error) { return os.Open(name) }
	}
	// A pipe may not come to its end, or not even open.
	r, w := io.Pipe()
	defer r.Close()
	go func() {
		in, err := once()
		if err == nil {
			_, err = io.Copy(w, in)
			err = errors.Join(err, in.Close())
		}
		w.CloseWithError(err)
	}()
	defer context.AfterFunc(ctx, func() { r.CloseWithError(ctx.Err()) })()
	blob, err := c.spool.Take(r, -1, 1<<62)
	if err != nil {
		return nil, err
	}
	return &convertInput{ReaderAt: blob, Closer: blob, size: blob.Size(), mode: 0o600}, nil
}

func openInput(open func() (*os.File, error)) (*convertInput, error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", quoted(f.Name()))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &convertInput{ReaderAt: f, Closer: f, size: info.Size(), mode: 0o600 | info.Mode().Perm()&0o066}, nil
}

// counted counts what is written.
type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// untilDone writes until its context ends.
type untilDone struct {
	ctx context.Context
	w   io.Writer
}

func (s untilDone) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}
