package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroom/ingest/outlook"
	"postroom/internal/mailgen"
	"postroom/store"
)

// postroom runs a command in this process.
func postroom(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	status := run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return result{status, out.String(), errs.String()}
}

// put writes files below a folder, and returns it. A name that ends in a slash is
// that of a folder.
func put(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// below returns the content of every file below a folder, and its folders with a
// slash at their end.
func below(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if name = filepath.ToSlash(name); e.IsDir() {
			out[name+"/"] = ""
			return nil
		}
		b, err := os.ReadFile(path)
		out[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func names(files map[string]string) string {
	var out []string
	for name := range files {
		out = append(out, name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func msgOf(t *testing.T, raw string) string {
	t.Helper()
	return string(inOutlook(t, []byte(raw), outlook.Options{}))
}

// brokenMsg begins as a file in Outlook's format and is none.
var brokenMsg = string(compoundFile) + strings.Repeat("broken", 200)

// calendar is a message of which the format cannot hold all as it is.
const calendar = "From: a@example.com\r\nSubject: Order\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n" +
	"--b\r\n\r\nText\r\n--b\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n--b--\r\n"

func TestConvertFile(t *testing.T) {
	dir := put(t, map[string]string{"a.eml": order, "b.Eml": calendar, "c.txt": "", "folder/": "", "wrong.msg": order})
	at := func(name string) string { return filepath.Join(dir, name) }
	want := map[string]string{}
	for _, tt := range []struct{ in, out, made, raw string }{
		{"a.eml", "a.msg", "a.msg", order},
		{"a.eml", "folder", "folder/a.msg", order},
		{"b.Eml", "folder/", "folder/b.msg", calendar},
		{"c.txt", "folder", "folder/c.txt.msg", ""},
		{"c.txt", "whatever", "whatever", ""},
		{"wrong.msg", "folder", "folder/wrong.msg", order}, // what it holds decides
	} {
		r := postroom(t, "", "convert", at(tt.in), at(tt.out))
		if r.status != 0 || r.err != "" || !strings.Contains(r.out, "1 converted, 0 copied, 0 failed") {
			t.Errorf("%s to %s: %+v", tt.in, tt.out, r)
		}
		if said := strings.Contains(r.out, "not as in the message: "); said != (tt.raw == calendar) {
			t.Errorf("%s: %s", tt.in, r.out)
		}
		want[tt.made] = msgOf(t, tt.raw)
	}
	files := below(t, dir)
	for name, content := range want {
		if files[name] != content {
			t.Errorf("%s has %d bytes, want %d", name, len(files[name]), len(content))
		}
	}
	if len(files) != 4+1+len(want) {
		t.Errorf("there are %s", names(files))
	}
	// Nothing is replaced.
	for _, args := range [][]string{{at("b.Eml"), at("a.msg")}, {at("a.eml"), at("folder")}, {"--separate-attachments", at("a.eml"), at("folder")}, {at("a.eml"), at("a.eml")}} {
		if r := postroom(t, "", append([]string{"convert"}, args...)...); r.status != 1 || !strings.Contains(r.err, "is there already, and is left as it is") {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if r := postroom(t, "", "convert", at("missing.eml"), at("x")); r.status != 1 || !strings.Contains(r.err, "missing.eml, is not there: name a file or a folder") {
		t.Errorf("%+v", r)
	}
	if r := postroom(t, "", "convert", at("a.eml"), at("no/such/x.msg")); r.status != 1 || !strings.Contains(r.err, "no") {
		t.Errorf("%+v", r)
	}
	if now := below(t, dir); len(now) != len(files) || now["a.msg"] != files["a.msg"] || now["a.eml"] != order {
		t.Errorf("there are %s", names(now))
	}
	if r := postroom(t, "", "convert", "--to", "msg", at("a.msg"), at("copy.msg")); r.status != 0 || !strings.Contains(r.out, "0 converted, 1 copied") || below(t, dir)["copy.msg"] != msgOf(t, order) {
		t.Errorf("%+v", r)
	}
	if r := postroom(t, brokenMsg, "convert", "--to", "msg", "-", at("broken.msg")); r.status != 1 || !strings.Contains(r.err, "-: is damaged, or no message of Outlook: ") || below(t, dir)["broken.msg"] != "" {
		t.Errorf("%+v", r)
	}
	// In the format that it has, a message is copied.
	if r := postroom(t, "", "convert", "--to", "eml", at("a.eml"), at("copy.eml")); r.status != 0 || !strings.Contains(r.out, "0 converted, 1 copied") || below(t, dir)["copy.eml"] != order {
		t.Errorf("%+v", r)
	}
}

func TestConvertStandardStreams(t *testing.T) {
	dir := put(t, map[string]string{"a.eml": order})
	t.Setenv("TMPDIR", t.TempDir())
	for _, tt := range []struct{ in, raw string }{{"-", calendar}, {"-", ""}, {filepath.Join(dir, "a.eml"), order}} {
		r := postroom(t, tt.raw, "convert", tt.in, "-")
		if r.status != 0 || r.out != msgOf(t, tt.raw) || !strings.Contains(r.err, "1 converted") {
			t.Errorf("%s: status %d, %d bytes, %s", tt.in, r.status, len(r.out), r.err)
		}
	}
	out := filepath.Join(dir, "out.msg")
	if r := postroom(t, order, "convert", "-", out); r.status != 0 || below(t, dir)["out.msg"] != msgOf(t, order) {
		t.Errorf("%+v", r)
	}
	if r := postroom(t, order, "convert", "-", dir); r.status != 1 || !strings.Contains(r.err, "name a file in it") {
		t.Errorf("%+v", r)
	}
	if r := postroom(t, brokenMsg, "convert", "-", "-"); r.status != 1 || r.out != "" || !strings.Contains(r.err, "postroom: -: is damaged, or no message of Outlook: ") {
		t.Errorf("%+v", r)
	}
	for _, args := range []string{"- - --json", "- - --separate-attachments", dir + " -", "--to pdf - x", "-", "a b c"} {
		if r := postroom(t, order, append([]string{"convert"}, strings.Fields(args)...)...); r.status != 2 || r.out != "" {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if left := names(below(t, os.Getenv("TMPDIR"))); left != "" || names(below(t, dir)) != "a.eml out.msg" {
		t.Errorf("left: %s; %s", left, names(below(t, dir)))
	}
}

// conversions is what convert --json prints.
type conversions struct {
	Files  []conversion
	Totals convertTotals
}

type conversion struct {
	In, Out, Class, Error string
	Size                  *int64
	Copied                bool
	Losses                []loss
}

func convertJSON(t *testing.T, status int, args ...string) (c conversions, r result) {
	t.Helper()
	r = postroom(t, "", append([]string{"convert", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(r.out), &c); err != nil || r.status != status {
		t.Fatalf("status %d, want %d, %v:\n%s\n%s", r.status, status, err, r.out, r.err)
	}
	return c, r
}

func TestConvertTree(t *testing.T) {
	content := map[string]string{"empty.eml": "", "sub/calendar.EML": calendar, "sub/scan.pdf": "%PDF-1.7", "only/bad.msg": brokenMsg, ".eml": order, "sub/.EML": order, "none/": ""}
	want := map[string]string{"empty.msg": msgOf(t, ""), "sub/calendar.msg": msgOf(t, calendar), ".eml.msg": msgOf(t, order), "sub/.EML.msg": msgOf(t, order)}
	mail := mailgen.New(8, mailgen.Small())
	for i := range 30 {
		raw := string(mail.Next().Raw)
		name := fmt.Sprintf("Größe & Maß/%d/message %d", i%4, i)
		content[name+".eml"] = raw
		want[name+".msg"] = msgOf(t, raw)
	}
	in := put(t, content)
	out := filepath.Join(t.TempDir(), "out")
	c, r := convertJSON(t, 1, in, out)
	got := below(t, out)
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s has %d bytes, want %d", name, len(got[name]), len(content))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok && !strings.HasSuffix(name, "/") || strings.HasPrefix(name, "only") || strings.HasPrefix(name, "none") || strings.HasPrefix(name, roomPrefix) {
			t.Errorf("%s should not be there", name)
		}
	}
	if len(c.Files) != 35 || !slices.IsSortedFunc(c.Files, func(a, b conversion) int { return strings.Compare(a.In, b.In) }) {
		t.Errorf("%d files, or in no order", len(c.Files))
	}
	var bytesIn, bytesOut int64
	losses := 0
	for _, f := range c.Files {
		name, err := filepath.Rel(in, f.In)
		if err != nil {
			t.Fatal(err)
		}
		if name = filepath.ToSlash(name); name == "only/bad.msg" {
			if f.Error == "" || f.Out != "" || f.Size != nil || f.Losses != nil {
				t.Errorf("%+v", f)
			}
			continue
		}
		made := name + ".msg"
		if at := strings.TrimSuffix(strings.TrimSuffix(name, ".eml"), ".EML"); at != "" && !strings.HasSuffix(at, "/") {
			made = at + ".msg"
		}
		if f.Error != "" || f.Out != filepath.Join(out, filepath.FromSlash(made)) || f.Class != "IPM.Note" || f.Size == nil || *f.Size != int64(len(want[made])) || f.Losses == nil {
			t.Errorf("%+v", f)
		}
		bytesIn += int64(len(content[name]))
		bytesOut += int64(len(want[made]))
		if len(f.Losses) > 0 {
			losses++
		} else if name == "sub/calendar.EML" {
			t.Error("nothing is said of the invitation")
		}
	}
	if n := c.Totals; n.Files != 35 || n.Converted != 34 || n.Failed != 1 || n.Copied != 0 || n.BytesIn != bytesIn || n.BytesOut != bytesOut || n.WithLosses != losses {
		t.Errorf("%+v, want %d bytes to %d, %d with losses", n, bytesIn, bytesOut, losses)
	}
	if strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, filepath.Join("only", "bad.msg")+": ") {
		t.Errorf("on standard error: %s", r.err)
	}

	// Again: what is there stays, and is named; what is new is converted.
	if err := os.WriteFile(filepath.Join(in, "new.eml"), []byte(order), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "empty.msg"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ = convertJSON(t, 1, in, out)
	if c.Totals.Converted != 1 || c.Totals.Failed != 35 {
		t.Errorf("%+v", c.Totals)
	}
	if got := below(t, out); got["new.msg"] != msgOf(t, order) || got["empty.msg"] != "mine" {
		t.Errorf("%d and %d bytes", len(got["new.msg"]), len(got["empty.msg"]))
	}

	// Every file, and a summary for a person.
	all := filepath.Join(t.TempDir(), "all")
	text := postroom(t, "", "convert", "--all", in, all)
	contains(t, text.out, "35 converted, 0 copied, 2 failed", "of 1 message the format cannot hold")
	contains(t, text.err, filepath.Join("sub", "scan.pdf")+": is no mail but another type of file (application/pdf)")
	if _, made := below(t, all)["sub/scan.pdf.msg"]; made || text.status != 1 {
		t.Errorf("%+v", text)
	}

	// Nothing there is said; OUT is not left behind.
	for _, in := range []string{filepath.Join(in, "none"), filepath.Join(in, "only")} {
		out := filepath.Join(t.TempDir(), "out")
		r := postroom(t, "", "convert", in, out)
		if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) || r.err == "" {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if r := postroom(t, "", "convert", in, filepath.Join(in, "new.eml")); r.status != 1 || !strings.Contains(r.err, "is a file") {
		t.Errorf("%+v", r)
	}
}

// TestConvertNoMail: mail is whatever may be, however it begins; what is none is an
// error, whatever it is to become, and leaves nothing behind.
func TestConvertNoMail(t *testing.T) {
	const jpeg = "\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\r\nSubject: in a comment\r\n"
	for _, tt := range []struct{ name, content, want string }{
		{"empty", "", ""},
		{"an empty line", "\r\n", ""},
		{"no header", "\r\nText", ""},
		{"blanks", " \t", ""},
		{"a byte order mark", "\xef\xbb\xbfSubject: a\r\n\r\nText", ""},
		{"mbox", "From a@example.com Mon Jan  5 10:00:00 2026\nX: y\n\nText", ""},
		{"an indented field", "  Subject: a\r\n\r\nText", ""},
		{"a field of no mail", "Note: buy milk", ""},
		{"a line before the header", "HTTP/1.1 200 OK\r\nDate: Mon, 5 Jan 2026 10:00:00 +0100\r\n\r\nText", ""},
		{"bytes before the header", "\x00\x01\x02\r\nFrom: a@example.com\r\nSubject: a\r\n\r\nText", ""},
		{"NUL in a field", "Subject: a\x00b\r\n\r\nText", ""},
		{"begins as a picture", "BMW: a\r\nSubject: b\r\n\r\nText", ""},
		{"JPEG", jpeg, "is no mail but another type of file (image/jpeg)"},
		{"PDF", "%PDF-1.7\n1 0 obj\n", "is no mail but another type of file (application/pdf)"},
		{"ZIP with mail in it", "PK\x03\x04\x14\x00\x00\x00a.eml\r\nSubject: a\r\n\r\nText", "is no mail but another type of file (application/zip)"},
		{"text", "hidden", "no header field can be read"},
		{"JSON", `{"from": "a@example.com", "subject": "b"}`, "no header field can be read"},
		{"bytes", strings.Repeat("\x00\x01\x02\x03", 100), "no header field can be read"},
		{"UTF-16", "\xff\xfeS\x00u\x00b\x00j\x00e\x00c\x00t\x00:\x00", "no header field can be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := put(t, map[string]string{"in": tt.content})
			for i, args := range [][]string{{}, {"--to", "eml"}, {"--separate-attachments"}} {
				out := filepath.Join(in, fmt.Sprint("out", i))
				r := postroom(t, "", append(append([]string{"convert"}, args...), filepath.Join(in, "in"), out)...)
				_, err := os.Lstat(out)
				switch {
				case tt.want == "" && (r.status != 0 || err != nil):
					t.Errorf("%q: %+v", args, r)
				case tt.want != "" && (r.status != 1 || err == nil || !strings.Contains(r.err, "in: is no mail") || !strings.Contains(r.err, tt.want)):
					t.Errorf("%q: %+v", args, r)
				}
			}
		})
	}
}

// What a process that was killed has left is removed by the next one; what is in
// use, or somebody else's, is not.
func TestConvertSweeps(t *testing.T) {
	out := put(t, map[string]string{
		roomPrefix + "1/" + roomLock: "", roomPrefix + "1/2": "half a message", roomPrefix + "1/spool/message-1": "x",
		roomPrefix + "2/":     "",
		roomPrefix + "3/mine": "no room", roomPrefix + "4": "no folder", "other/" + roomLock: "",
	})
	busy, err := openRoom(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// In use in the folder, as by another process.
	if err := busy.close(); err != nil {
		t.Fatal(err)
	}
	if busy, err = openRoom(out); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(busy.path)
	if r := postroom(t, order, "convert", "-", filepath.Join(out, "a.msg")); r.status != 0 {
		t.Errorf("%+v", r)
	}
	in := out
	if r := postroom(t, "", "convert", "--all", "--to", "eml", in, filepath.Join(t.TempDir(), "tree")); strings.Contains(r.err, name) || strings.Contains(r.err, "mine") {
		t.Errorf("a room is taken for a folder of messages: %+v", r)
	}
	want := []string{name + "/", name + "/" + roomLock, roomPrefix + "3/", roomPrefix + "3/mine", roomPrefix + "4", "a.msg", "other/", "other/" + roomLock}
	slices.Sort(want)
	if got := names(below(t, out)); got != strings.Join(want, " ") {
		t.Errorf("there are\n%s, want\n%s", got, strings.Join(want, " "))
	}
	if err := busy.close(); err != nil {
		t.Error(err)
	}
	if _, there := below(t, out)[name+"/"]; there {
		t.Error("it is still there")
	}
}

// The name of a file cannot write lines of its own, or command the terminal; in
// JSON it is what it is.
func TestConvertQuotesNames(t *testing.T) {
	const odd = "a\npostroom: all is well\x1b[31m"
	in := put(t, map[string]string{odd + ".msg": brokenMsg, odd + ".eml": order, odd + ".eml.msg": msgOf(t, order), "x" + odd + "/y.msg": brokenMsg})
	out := filepath.Join(t.TempDir(), odd)
	quotedIn := strings.Trim(quoted(filepath.Join(in, odd)), `"`)
	for _, tt := range []struct {
		args  []string
		lines int
	}{
		{[]string{in, filepath.Join(t.TempDir(), "out")}, 2},
		{[]string{in, out}, 2},
		{[]string{in, out}, 4},
		{[]string{"--to", "msg", in, filepath.Join(t.TempDir(), odd)}, 2},
		{[]string{filepath.Join(in, odd+".msg"), out}, 1},
		{[]string{filepath.Join(in, odd), out}, 1},
		{[]string{in, filepath.Join(out, "no", "such")}, 1},
		{[]string{in, filepath.Join(in, odd+".eml")}, 1},
	} {
		r := postroom(t, "", append([]string{"convert"}, tt.args...)...)
		if r.status != 1 || strings.Contains(r.err, "\npostroom: all is well") || strings.Contains(r.err, "[31m"+"\n") || strings.Count(r.err, "\n") != tt.lines {
			t.Errorf("%q: status %d\n%s", tt.args, r.status, r.err)
		}
	}
	c, r := convertJSON(t, 1, in, filepath.Join(t.TempDir(), "out"))
	if !strings.Contains(r.err, quotedIn) || !slices.ContainsFunc(c.Files, func(f conversion) bool { return f.In == filepath.Join(in, odd+".msg") && f.Error != "" }) {
		t.Errorf("%+v\n%s", c.Files, r.err)
	}
}

// Trouble with a file that nobody named says what it means for OUT, and what to do.
func TestConvertCannotWrite(t *testing.T) {
	c := &converter{room: &room{path: filepath.Join("out", roomPrefix+"1")}}
	within := filepath.Join(c.room.path, "1")
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&fs.PathError{Op: "open", Path: within, Err: fs.ErrPermission}, "out/a.msg cannot be written: permission denied: let " + thisUser() + " write there, or name another OUT"},
		{fmt.Errorf("make spool: %w", &fs.PathError{Op: "mkdir", Path: within, Err: syscall.EROFS}), "out/a.msg cannot be written: read-only file system: that file system is mounted read-only; name another OUT"},
		{&os.LinkError{Op: "link", Old: within, New: "out/a.msg", Err: syscall.ENOSPC}, "out/a.msg cannot be written: no space left on device: the disk or the quota is full; make room, or name another OUT"},
		{&fs.PathError{Op: "open", Path: "in/a.eml", Err: syscall.EIO}, "open in/a.eml: input/output error"},
	} {
		if got := c.explain(tt.err, "out/a.msg").Error(); runtime.GOOS != "windows" && got != strings.Replace(tt.want, "permission denied", fs.ErrPermission.Error(), 1) {
			t.Errorf("%v: %s", tt.err, got)
		}
	}
	in := put(t, map[string]string{"a.eml": order})
	for _, tt := range []struct{ in, want string }{
		{filepath.Join(in, "a.eml"), "there is no folder"},
		{in, "cannot be made, as"},
	} {
		if r := postroom(t, "", "convert", tt.in, filepath.Join(in, "no", "such")); r.status != 1 || !strings.Contains(r.err, tt.want) || !strings.Contains(r.err, "name another OUT") {
			t.Errorf("%+v", r)
		}
	}
}

// What would come to the same place is an error before anything is written.
func TestConvertCollisions(t *testing.T) {
	for _, tt := range []struct {
		args, files string
		want        string // "": none
	}{
		{"", "a.eml a.EML", "a.EML and IN/a.eml would both be OUT/a.msg"},
		{"", "a.eml A.eml", "A.eml and IN/a.eml would both be"},
		{"", "Sub/a.eml sub/A.eml", "Sub/a.eml and IN/sub/A.eml would both be"},
		{"", "Sub/a.eml sub/b.eml", ""},
		{"", "Straße.eml STRASSE.eml", "would both be"},
		{"", "a.eml b.eml", ""},
		{"", "a.eml a.txt", ""},
		{"--all", "a.eml a", "IN/a and IN/a.eml would both be OUT/a.msg"},
		{"--all", "a a.msg/b.eml", "IN/a would be OUT/a.msg, which is the folder of what becomes of IN/a.msg/b.eml"},
		{"--to msg", "a.eml a.bad.msg", ""},
		{"--to msg", "a.eml a.msg", "would both be OUT/a.msg"},
		{"--separate-attachments", "a.eml a/b.eml", "IN/a.eml would be OUT/a, which is the folder of what becomes of IN/a/b.eml"},
		{"--separate-attachments", "a.eml a.msg", "would both be OUT/a"},
		{"--separate-attachments", "a.eml b/a.eml", ""},
	} {
		content := make(map[string]string)
		for _, name := range strings.Fields(tt.files) {
			content[name] = order
		}
		in, out := put(t, content), filepath.Join(t.TempDir(), "out")
		r := postroom(t, "", append(append([]string{"convert"}, strings.Fields(tt.args)...), in, out)...)
		_, err := os.Stat(out)
		said := strings.NewReplacer(in, "IN", out, "OUT", `\`, "/").Replace(r.err)
		if tt.want == "" && (r.status != 0 || err != nil) || tt.want != "" && (r.status != 1 || !strings.Contains(said, tt.want) || !errors.Is(err, fs.ErrNotExist)) {
			t.Errorf("%s %s: status %d, %s, %v", tt.args, tt.files, r.status, said, err)
		}
	}
}

func TestConvertLinks(t *testing.T) {
	outside := put(t, map[string]string{"secret.eml": order, "folder/x.eml": order})
	in := put(t, map[string]string{"a.eml": order, "sub/b.eml": calendar})
	for name, to := range map[string]string{
		"inside.eml": "sub/b.eml", "dangling.eml": "nowhere.eml", "folder": "sub", "loop.eml": "loop.eml",
		"outside.eml": filepath.Join(outside, "secret.eml"), "far": filepath.Join(outside, "folder"), "notmail": filepath.Join(outside, "secret.eml"),
		"up.eml": "../" + filepath.Base(outside) + "/secret.eml",
	} {
		if err := os.Symlink(to, filepath.Join(in, name)); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	c, r := convertJSON(t, 1, in, out)
	if got := names(below(t, out)); got != "a.msg inside.msg sub/ sub/b.msg" {
		t.Errorf("made: %s", got)
	}
	if below(t, out)["inside.msg"] != msgOf(t, calendar) || c.Totals.Failed != 6 {
		t.Errorf("%+v", c.Totals)
	}
	contains(t, r.err, "dangling.eml: is a symbolic link that is not followed", "outside.eml: is a sym", "up.eml: is a sym", "loop.eml: is a sym",
		"folder: is a symbolic link to a folder, which is not followed", "far: is a symbolic link that is not followed")

	// A folder that is named is followed.
	named := filepath.Join(t.TempDir(), "named")
	if err := os.Symlink(filepath.Join(in, "sub"), named); err != nil {
		t.Fatal(err)
	}
	if c, _ := convertJSON(t, 0, named, filepath.Join(t.TempDir(), "out")); c.Totals.Converted != 1 {
		t.Errorf("%+v", c.Totals)
	}
}

func TestConvertOutWithinIn(t *testing.T) {
	in := put(t, map[string]string{"a.eml": order, "sub/b.eml": order, "sub/out/was.eml": order})
	out := filepath.Join(in, "sub", "out")
	for range 2 {
		convertJSON(t, map[bool]int{true: 0, false: 1}[below(t, in)["sub/out/a.msg"] == ""], in, out)
		if got := names(below(t, in)); got != "a.eml sub/ sub/b.eml sub/out/ sub/out/a.msg sub/out/sub/ sub/out/sub/b.msg sub/out/was.eml" {
			t.Errorf("there are %s", got)
		}
	}
	for _, same := range []string{in, filepath.Join(in, "sub", "..")} {
		if r := postroom(t, "", "convert", in, same); r.status != 1 || !strings.Contains(r.err, "name another folder") {
			t.Errorf("%+v", r)
		}
	}
}

// described reads a folder that a message was converted to, and checks that it is
// as document.json says.
func described(t *testing.T, files map[string]string, folder string) *store.Document {
	t.Helper()
	d, err := store.ParseDocument([]byte(files[folder+"document.json"]))
	if err != nil {
		t.Fatalf("%s: %v", folder, err)
	}
	there := 0
	for name := range files {
		if rest, ok := strings.CutPrefix(name, folder); ok && rest != "" {
			there++
		}
	}
	if there != len(d.Files)+1 {
		t.Errorf("%s: %d files, want %d", folder, there, len(d.Files)+1)
	}
	for _, f := range d.Files {
		content, ok := files[folder+f.Name]
		if !ok || int64(len(content)) != f.Size || sum([]byte(content)) != fmt.Sprintf("%x", f.SHA256) {
			t.Errorf("%s%s is not as it is described", folder, f.Name)
		}
	}
	return d
}

func TestConvertSeparated(t *testing.T) {
	dir := put(t, map[string]string{"in/a.eml": order, "in/sub/b.EML": calendar, "in/sub/bad.msg": brokenMsg, "empty/": "", "full/x": ""})
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	const msg = "message.msg message application/vnd.ms-outlook"
	if r := postroom(t, "", "convert", "--separate-attachments", at("in/a.eml"), at("one")); r.status != 0 || r.err != "" {
		t.Errorf("%+v", r)
	}
	made := below(t, dir)
	d := described(t, made, "one/")
	if files(d) != msg+"; order.pdf attachment application/pdf" || made["one/order.pdf"] != "%PDF-1.7" || strings.Contains(made["one/message.msg"], "%PDF") {
		t.Errorf("%s", files(d))
	}
	if o := d.Origin; len(d.ID) != 64 || d.Title != "Order" || o.Source != "" || o.MessageID != "<order@example.com>" || o.Size != int64(len(order)) ||
		fmt.Sprintf("%x", o.SHA256) != sum([]byte(order)) || o.Wire != "original" || !o.Received.Equal(time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)) || !d.Filed.IsZero() {
		t.Errorf("%+v", d)
	}
	if r := postroom(t, order, "convert", "--separate-attachments", "--to", "eml", "-", at("empty")); r.status != 0 {
		t.Errorf("%+v", r)
	}
	made = below(t, dir)
	if d := described(t, made, "empty/"); files(d) != "message.eml message message/rfc822; order.pdf attachment application/pdf" || !strings.Contains(made["empty/message.eml"], "X-Postroom-Stub: 1") {
		t.Errorf("%s", files(d))
	}
	if r := postroom(t, "", "convert", "--separate-attachments", at("in/a.eml"), at("full")); r.status != 1 || !strings.Contains(r.err, "is there already") {
		t.Errorf("%+v", r)
	}
	c, r := convertJSON(t, 1, "--separate-attachments", at("in"), at("tree"))
	if c.Totals.Converted != 2 || c.Totals.Failed != 1 || c.Totals.WithLosses != 1 || !strings.Contains(r.err, "bad.msg") {
		t.Errorf("%+v %s", c.Totals, r.err)
	}
	made = below(t, at("tree"))
	if got := names(made); got != "a/ a/document.json a/message.msg a/order.pdf sub/ sub/b/ sub/b/document.json sub/b/message.msg" {
		t.Errorf("made: %s", got)
	}
	described(t, made, "a/")
	if d := described(t, made, "sub/b/"); len(d.Notes) == 0 || !strings.HasPrefix(d.Notes[0], "message.msg: ") {
		t.Errorf("%q", d.Notes)
	}
	var size int64
	for name, content := range made {
		if strings.HasPrefix(name, "a/") {
			size += int64(len(content))
		}
	}
	if *c.Files[0].Size != size || c.Files[0].Class != "IPM.Note" || c.Files[0].Out != at("tree/a") {
		t.Errorf("%+v, %d bytes", c.Files[0], size)
	}
}

func TestConvertToMail(t *testing.T) {
	const raw = "From: Orders <orders@example.com>\r\nTo: office@example.com\r\nSubject: Ten boxes\r\nDate: Mon, 5 Jan 2026 10:00:00 +0100\r\nMessage-ID: <1@example.com>\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n" +
		"--b\r\nContent-Type: application/pdf; name=order.pdf\r\nContent-Disposition: attachment; filename=order.pdf\r\n\r\n%PDF-1.7\r\n--b--\r\n"
	in := put(t, map[string]string{"a.msg": msgOf(t, raw), "sub/b.MSG": msgOf(t, order), "c.eml": calendar})
	at := func(name string) string { return filepath.Join(in, name) }
	// In a tree each becomes what it is not.
	out := filepath.Join(t.TempDir(), "out")
	c, _ := convertJSON(t, 0, in, out)
	made := below(t, out)
	if got := names(made); got != "a.eml c.msg sub/ sub/b.eml" || c.Files[0].Class != "IPM.Note" || *c.Files[0].Size != int64(len(made["a.eml"])) {
		t.Errorf("made: %s; %+v", got, c.Files)
	}
	// What it was made of comes back.
	contains(t, made["a.eml"], "Ten boxes", "orders@example.com", "office@example.com", "<1@example.com>", "order.pdf")
	separated := filepath.Join(t.TempDir(), "separated")
	convertJSON(t, 0, "--separate-attachments", at("a.msg"), separated)
	files := below(t, separated)
	d := described(t, files, "")
	if files["order.pdf"] != "%PDF-1.7" || d.Title != "Ten boxes" || d.Files[0].Name != "message.eml" || d.Origin.Wire != "reconstructed" || d.Origin.Size != int64(len(msgOf(t, raw))) {
		t.Errorf("%+v", d)
	}
	// Through standard streams, and with nothing to convert.
	r := postroom(t, msgOf(t, raw), "convert", "-", "-")
	if r.status != 0 || r.out != made["a.eml"] {
		t.Errorf("%+v", r)
	}
	same := filepath.Join(t.TempDir(), "same")
	if c, _ := convertJSON(t, 0, "--to", "msg", in, same); c.Totals.Copied != 2 || c.Totals.Converted != 1 || below(t, same)["sub/b.msg"] != msgOf(t, order) {
		t.Errorf("%+v", c.Totals)
	}
}

// TestConvertStops interrupts a conversion that would never end: what was made
// until then is whole, and nothing else is there.
func TestConvertStops(t *testing.T) {
	name := buildProgram(t)
	in := put(t, map[string]string{"a.eml": order})
	for i := range 64 { // more than there are cores
		path := filepath.Join(in, fmt.Sprintf("endless %d.eml", i))
		if err := os.WriteFile(path, []byte(calendar[:150]), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 1<<40); err != nil {
			t.Fatal(err)
		}
	}
	hangUp := os.Signal(syscall.SIGHUP)
	if signal.Ignored(hangUp) { // as of what runs below nohup, which is to go on then
		hangUp = syscall.SIGTERM
	}
	for i, args := range [][]string{{}, {"--separate-attachments"}, {"--json"}} {
		out := filepath.Join(t.TempDir(), "out")
		cmd := exec.Command(name, append(append([]string{"convert"}, args...), in, out)...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		made := "a.msg"
		if slices.Contains(args, "--separate-attachments") {
			made = "a"
		}
		for {
			if _, err := os.Stat(filepath.Join(out, made)); err == nil {
				break
			}
			select {
			case err := <-ended:
				t.Fatalf("ended: %v\n%s", err, stderr.Bytes())
			case <-time.After(time.Millisecond):
			}
		}
		if err := cmd.Process.Signal([]os.Signal{os.Interrupt, syscall.SIGTERM, hangUp}[i]); err != nil {
			t.Fatal(err)
		}
		err := <-ended
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "stopped before the end") || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%q: %v\n%s", args, err, stderr.Bytes())
		}
		files := below(t, out)
		if made == "a" {
			described(t, files, "a/")
		} else if names(files) != "a.msg" || files["a.msg"] != msgOf(t, order) {
			t.Errorf("there are %s", names(files))
		}
		if strings.HasPrefix(names(files), ".") {
			t.Errorf("there are %s", names(files))
		}
		if slices.Contains(args, "--json") {
			var c conversions
			if err := json.Unmarshal(stdout.Bytes(), &c); err != nil || c.Totals.Files != 1 || c.Totals.Failed != 0 {
				t.Errorf("%v: %s", err, stdout.Bytes())
			}
		}
	}

	// What one that was killed has left is removed by the next.
	out := filepath.Join(t.TempDir(), "out")
	killed := exec.Command(name, "convert", in, out)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(out, "a.msg")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(out, roomPrefix+"*")); killed.Wait() == nil || len(left) != 1 {
		t.Fatalf("left: %q", left)
	}
	if r := postroom(t, order, "convert", "-", filepath.Join(out, "b.msg")); r.status != 0 || names(below(t, out)) != "a.msg b.msg" {
		t.Errorf("%+v; there are %s", r, names(below(t, out)))
	}

	// Standard output that nobody reads.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	unread := exec.Command(name, "convert", filepath.Join(in, "a.eml"), "-")
	room := t.TempDir()
	unread.Stdout, unread.Env = w, append(os.Environ(), "TMPDIR="+room)
	if err := unread.Run(); unread.ProcessState.ExitCode() != 1 || names(below(t, room)) != "" {
		t.Errorf("%v; left: %s", err, names(below(t, room)))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	// Standard input that does not come.
	cmd := exec.Command(name, "convert", "-", "-")
	if _, err := cmd.StdinPipe(); err != nil { // which Wait closes
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	tmp := t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for names(below(t, tmp)) == "" {
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "stopped before the end") {
		t.Errorf("%v: %s", err, stderr.Bytes())
	}
	if left := names(below(t, tmp)); left != "" {
		t.Errorf("left: %s", left)
	}
}
