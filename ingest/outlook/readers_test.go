//go:build readers

package outlook_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postroom/ingest/outlook"
	"postroom/ingest/outlook/cfb"
	"postroom/internal/corpus"
)

// everyMail returns the mail of all fixtures, some that is generated, and what
// there is of others.
func everyMail(t *testing.T) (all []corpus.Mail) {
	all = slices.DeleteFunc(ownMail(t), func(m corpus.Mail) bool { return unread[m.Name] })
	for _, a := range corpus.Read(t) {
		all = append(all, a.Mail...)
	}
	return all
}

// unread is mail of which other programs cannot read the file: with an object of OLE,
// and with a property of several values of 64 bits.
var unread = map[string]bool{"outlook/2.2.3.8-tnef-message": true, "outlook/2.2.3.8-tnef": true}

// told is what a reader finds in a message.
type told struct {
	Class           string
	Subject, Sender string
	Sent            int64  // when, in seconds; 0 if it is not said
	Text, HTML      string // SHA-256 of the text in UTF-8, of the HTML as it stands; empty if there is none
	Recipients      []recipient
	Attachments     []attached
	Trouble         []string // what the reader complains of
}

type recipient struct {
	Type          int // 1 To, 2 Cc, 3 Bcc
	Address, Name string
}

type attached struct {
	Name    string
	Sum     string // SHA-256 of a file
	Message *told  // an attached message
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// told returns what was put into the message at path.
func (c *checked) told(path string) *told {
	t := &told{Class: c.values[path+"001A001F"], Subject: c.values[path+"0037001F"], Sender: c.values[path+"0C1F001F"]}
	if text, ok := c.values[path+"00390040"]; ok {
		sent, err := time.Parse(time.RFC3339, text)
		if err != nil {
			c.t.Fatal(err)
		}
		t.Sent = sent.Unix()
	}
	if text, ok := c.values[path+"1000001F"]; ok {
		t.Text = sum([]byte(text))
	}
	if html, ok := c.raw[path+"10130102"]; ok {
		t.HTML = sum(html)
	}
	for i := 0; ; i++ {
		at := fmt.Sprintf("%srecip%d/", path, i)
		kind, ok := c.values[at+"0C150003"]
		if !ok {
			break
		}
		n, err := strconv.Atoi(kind)
		if err != nil {
			c.t.Fatal(err)
		}
		t.Recipients = append(t.Recipients, recipient{n, c.values[at+"3003001F"], c.values[at+"3001001F"]})
	}
	for i := 0; ; i++ {
		at := fmt.Sprintf("%sattach%d/", path, i)
		method, ok := c.values[at+"37050003"]
		if !ok {
			break
		}
		a := attached{Name: c.values[at+"3707001F"]}
		if method == "5" {
			a.Message = c.told(at + "3701000D/")
		} else {
			a.Sum = sum(c.raw[at+"37010102"])
		}
		t.Attachments = append(t.Attachments, a)
	}
	return t
}

// different returns how what another reader finds differs from what was put in.
func (t *told) different(other *told, path string) (all []string) {
	differs := func(what string, ours, theirs any) {
		if ours != theirs {
			all = append(all, fmt.Sprintf("%s%s: %.200q, not %.200q", path, what, fmt.Sprint(theirs), fmt.Sprint(ours)))
		}
	}
	differs("class", t.Class, other.Class)
	differs("sent", t.Sent, other.Sent)
	differs("subject", t.Subject, other.Subject)
	differs("sender", t.Sender, other.Sender)
	differs("text", t.Text, other.Text)
	differs("HTML", t.HTML, other.HTML)
	differs("recipients", fmt.Sprint(t.Recipients), fmt.Sprint(other.Recipients))
	differs("attachments", len(t.Attachments), len(other.Attachments))
	for i := range min(len(t.Attachments), len(other.Attachments)) {
		a, b := t.Attachments[i], other.Attachments[i]
		differs(fmt.Sprintf("attachment %d, ", i)+"name", a.Name, b.Name)
		differs(fmt.Sprintf("attachment %d, ", i)+"content", a.Sum, b.Sum)
		differs(fmt.Sprintf("attachment %d, ", i)+"is a message", a.Message != nil, b.Message != nil)
		if a.Message != nil && b.Message != nil {
			all = append(all, a.Message.different(b.Message, fmt.Sprintf("%sattachment %d, ", path, i))...)
		}
	}
	for _, s := range other.Trouble {
		all = append(all, path+"trouble: "+s)
	}
	return all
}

// sample is a .msg file that the readers are given.
type sample struct {
	mail string // whose message it is
	name string // of the file
	told *told
	root *cfb.Entry
}

// samples converts all mail there is, and writes it into a folder.
func samples(t *testing.T, dir string) (all []*sample) {
	for i, mail := range everyMail(t) {
		b, _ := convert(t, mail.Raw, outlook.Options{Mailbox: "box@example.com"})
		f, err := cfb.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		s := &sample{mail: mail.Name, name: filepath.Join(dir, fmt.Sprintf("%05d.msg", i)), root: f.Root}
		s.told = readMsg(t, b).told("")
		if err := os.WriteFile(s.name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// patience is how long a reader may take for all files.
const patience = 10 * time.Minute

// run runs a program with lines for its standard input.
func run(t *testing.T, input string, env []string, program string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v (make test-readers installs it)", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, trouble bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &trouble
	if err := cmd.Run(); err != nil || trouble.Len() > 0 {
		t.Fatalf("%s: %v: %.4000s", program, cmp.Or(ctx.Err(), err), trouble.String())
	}
	return out.Bytes()
}

// jars are those that POI HSMF needs, in Debian's folder of them.
var jars = []string{"poi", "poi-scratchpad", "commons-codec", "commons-collections4", "commons-math3"}

// The readers that are known to have faults.
const (
	perl = "Email::Outlook::Message"
	node = "msgreader"
)

// TestReaders has .msg files read by four other programs, each of which must find
// in them what was put in. Where one does not, through a fault of its own, is in
// the table of faults.
func TestReaders(t *testing.T) {
	dir := t.TempDir()
	files := samples(t, dir)
	var input strings.Builder
	for _, f := range files {
		fmt.Fprintln(&input, f.name)
	}
	var class []string
	for _, jar := range jars {
		class = append(class, filepath.Join("/usr/share/java", jar+".jar"))
	}
	drivers := filepath.Join("testdata", "readers")
	modules, err := filepath.Abs(filepath.Join("..", "..", ".cache", "readers", "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		name    string
		env     []string
		program string
		args    []string
	}{
		{perl, nil, "perl", []string{filepath.Join(drivers, "outlook.pl")}},
		{"POI HSMF", nil, "java", []string{"-Xmx512m", "-cp", strings.Join(class, ":"), filepath.Join(drivers, "Outlook.java")}},
		{node, []string{"NODE_PATH=" + modules}, "node", []string{filepath.Join(drivers, "outlook.js")}},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			lines := bufio.NewScanner(bytes.NewReader(run(t, input.String(), r.env, r.program, r.args...)))
			lines.Buffer(nil, 16<<20)
			found := map[string][]string{}
			for _, f := range files {
				if !lines.Scan() {
					t.Fatalf("no answer for %s: %v", f.mail, lines.Err())
				}
				var other told
				if err := json.Unmarshal(lines.Bytes(), &other); err != nil {
					t.Fatalf("%s: %v", f.mail, err)
				}
				found[f.mail] = f.told.different(&other, "")
			}
			judge(t, r.name, files, found)
		})
	}
	t.Run("7-Zip", func(t *testing.T) {
		t.Parallel()
		judge(t, "7-Zip", files, sevenZip(t, dir, files))
	})
}

// sevenZip has 7-Zip test the files as archives, and compares all streams that it
// lists, and the attachments that it extracts.
func sevenZip(t *testing.T, dir string, files []*sample) map[string][]string {
	every := filepath.Join(dir, "*.msg")
	run(t, "", nil, "7z", "t", "-bd", every)
	listed := map[string]map[string]int64{} // sizes of streams, by file
	var streams map[string]int64
	var path string
	for line := range strings.Lines(string(run(t, "", nil, "7z", "l", "-slt", "-bd", "-sccUTF-8", every))) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " = ")
		switch {
		case strings.HasPrefix(line, "Listing archive: "):
			name := strings.TrimSpace(strings.TrimPrefix(line, "Listing archive: "))
			streams, path = map[string]int64{}, ""
			listed[name] = streams
		case key == "Path":
			path = value
		case key == "Size" && path != "" && value != "": // storages have none
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			streams[path] = n
		}
	}
	out := t.TempDir()
	run(t, "", nil, "7z", "x", "-y", "-bd", "-o"+filepath.Join(out, "*"), every, "-ir!__substg1.0_37010102")
	found := map[string][]string{}
	for _, f := range files {
		theirs := listed[f.name]
		differ := func(format string, args ...any) {
			found[f.mail] = append(found[f.mail], fmt.Sprintf(format, args...))
		}
		extracted := filepath.Join(out, strings.TrimSuffix(filepath.Base(f.name), ".msg"))
		var walk func(e *cfb.Entry, path string)
		walk = func(e *cfb.Entry, path string) {
			for _, sub := range e.Entries {
				in := filepath.Join(path, sub.Name)
				if sub.IsStorage() {
					walk(sub, in)
					continue
				}
				size, ok := theirs[in]
				if delete(theirs, in); !ok || size != sub.Size {
					differ("%s: %d bytes (%v), not %d", in, size, ok, sub.Size)
				}
				if sub.Name != "__substg1.0_37010102" {
					continue
				}
				b, err := os.ReadFile(filepath.Join(extracted, in))
				if err != nil {
					differ("%s: %v", in, err)
				} else if ours := contentOf(t, sub); !bytes.Equal(b, ours) {
					differ("%s: SHA-256 %s, not %s", in, sum(b), sum(ours))
				}
			}
		}
		walk(f.root, "")
		for path := range theirs {
			differ("%s is no stream", path)
		}
	}
	return found
}

func contentOf(t *testing.T, e *cfb.Entry) []byte {
	t.Helper()
	r, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fault is a fault of a reader itself: what is different, and why.
type fault struct {
	reader string
	says   *regexp.Regexp
	why    string
}

// faults are all there are.
var faults = []fault{
	{perl, regexp.MustCompile(`^trouble: Unknown FILE entry __substg1 0_....101F [0-9A-F]{8}$`), "it knows no values of a property of several (MS-OXMSG 2.1.4.2)"},
	{perl, regexp.MustCompile(`^trouble: Use of uninitialized value in string eq$`), "it compares the address type of a recipient without an address, who has none"},
	{perl, regexp.MustCompile(`^trouble: (Value for '[-A-Za-z]+' header|Header|Body|Message) with wide characters$`), "it puts texts into the mail that it makes without encoding them"},
	{node, regexp.MustCompile(`^(attachment \d+, )+sent: "0", not `), "it takes the counts in the header of an attached message (MS-OXMSG 2.4.1.2) for a property, and ends there if there are no recipients"},
}

// judge fails for what a reader finds otherwise, or complains of, and for a fault
// that it no longer has.
func judge(t *testing.T, reader string, files []*sample, found map[string][]string) {
	t.Helper()
	seen := map[int]int{}
	for _, f := range files {
		for _, d := range found[f.mail] {
			i := slices.IndexFunc(faults, func(known fault) bool { return known.reader == reader && known.says.MatchString(d) })
			if i < 0 {
				t.Errorf("%s: %s", f.mail, d)
			}
			seen[i]++
		}
	}
	for i, known := range faults {
		if known.reader == reader && seen[i] == 0 {
			t.Errorf("%s is no longer seen to have a fault (%s): %s", reader, known.says, known.why)
		}
	}
	t.Logf("%d files", len(files))
}

// TestDifferent: every figure is compared, at any depth.
func TestDifferent(t *testing.T) {
	one := func() *told {
		inner := &told{Subject: "b", Recipients: []recipient{{3, "b@example.com", "B"}}, Attachments: []attached{{Name: "c", Sum: "2"}}}
		return &told{
			Class: "IPM.Note", Subject: "a", Sender: "a@example.com", Sent: 1, Text: "1", HTML: "2",
			Recipients:  []recipient{{1, "a@example.com", "A"}},
			Attachments: []attached{{Name: "a", Sum: "1"}, {Name: "b", Message: inner}},
		}
	}
	if d := one().different(one(), ""); len(d) > 0 {
		t.Error(d)
	}
	for name, change := range map[string]func(*told){
		"class":                               func(o *told) { o.Class = "" },
		"subject":                             func(o *told) { o.Subject = "A" },
		"sender":                              func(o *told) { o.Sender = "" },
		"sent":                                func(o *told) { o.Sent = 2 },
		"text":                                func(o *told) { o.Text = "" },
		"HTML":                                func(o *told) { o.HTML = "" },
		"recipients":                          func(o *told) { o.Recipients[0].Type = 2 },
		"attachments":                         func(o *told) { o.Attachments = o.Attachments[:1] },
		"attachment 0, name":                  func(o *told) { o.Attachments[0].Name = "A" },
		"attachment 0, content":               func(o *told) { o.Attachments[0].Sum = "2" },
		"attachment 1, is a message":          func(o *told) { o.Attachments[1].Message = nil },
		"attachment 1, subject":               func(o *told) { o.Attachments[1].Message.Subject = "" },
		"attachment 1, recipients":            func(o *told) { o.Attachments[1].Message.Recipients[0].Name = "" },
		"attachment 1, attachment 0, content": func(o *told) { o.Attachments[1].Message.Attachments[0].Sum = "" },
		"trouble":                             func(o *told) { o.Trouble = []string{"x"} },
	} {
		other := one()
		change(other)
		if d := one().different(other, ""); len(d) != 1 || !strings.HasPrefix(d[0], name+": ") {
			t.Errorf("%s: %q", name, d)
		}
	}
}
