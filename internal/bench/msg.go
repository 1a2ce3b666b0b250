package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"mime/quotedprintable"
	"os"
	"path/filepath"
	"strings"

	"postroom/ingest/message"
	"postroom/ingest/outlook"
	"postroom/ingest/outlook/cfb"
	"postroom/internal/mailgen"
)

// Sizes of the mail that is converted, in bytes: its HTML, and the picture in it.
const (
	pageSize    = 50_000
	pictureSize = 20_000
)

// converter makes files of the mail in a folder.
type converter struct {
	name    string
	command func(from, to string) ([]string, error)
	env     []string
	check   func(mail *letters, to string) error
	samples []sample
}

// letters is a folder with mail, a file each.
type letters struct {
	dir   string
	title string
	files int
	bytes int64
	// check checks the file that was made of the i-th mail.
	check func(i int, f *cfb.File) error
}

// msg measures only the conversion to .msg.
func msg(ctx context.Context, s settings, dir string) error {
	load, err := loadAverage()
	if err != nil {
		return err
	}
	text, err := conversions(ctx, s, dir)
	if err == nil {
		_, err = fmt.Printf("Load average before: %s.\n\n%s", load, text)
	}
	return err
}

// conversions measures the conversion of mail to .msg, in dir.
func conversions(ctx context.Context, s settings, dir string) (string, error) {
	pages, err := writePages(filepath.Join(dir, "pages"), min(s.messages, 2000))
	if err != nil {
		return "", err
	}
	all := []*letters{pages}
	if s.large > 0 {
		large, err := writeLarge(filepath.Join(dir, "large"), s.large)
		if err != nil {
			return "", err
		}
		all = append(all, large)
	}
	var out strings.Builder
	for _, mail := range all {
		converters, err := compete(ctx, s, dir, mail)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "### To .msg: %s\n\n", mail.title)
		out.WriteString("| program | messages | wall s | CPU s | peak RSS MB | messages/s | messages a CPU s | MB/s | MB a CPU s |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
		for _, c := range converters {
			m := median(c.samples)
			wall, cpu, megabytes := m.wall.Seconds(), m.cpu.Seconds(), float64(mail.bytes)/1e6
			fmt.Fprintf(&out, "| %s | %d | %.2f | %.2f | %.1f | %.1f | %.1f | %.1f | %.1f |\n", c.name, mail.files, wall, cpu, float64(m.peak)/1e6,
				float64(mail.files)/wall, float64(mail.files)/cpu, megabytes/wall, megabytes/cpu)
		}
		out.WriteString("\n")
	}
	return out.String(), nil
}

// compete lets the programs take turns with the mail.
func compete(ctx context.Context, s settings, dir string, mail *letters) ([]*converter, error) {
	peer, err := filepath.Abs(filepath.Join(".cache", "peers", "node_modules"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(peer); err != nil {
		return nil, fmt.Errorf("%w: run make bench, which installs it", err)
	}
	converters := []*converter{
		{name: "yardstick: `cp`", check: countFiles, command: func(from, to string) ([]string, error) {
			return []string{"cp", "-r", "--reflink=never", from, to}, nil
		}},
		{name: "**postroom**, one core", env: []string{"GOMAXPROCS=1"}, check: (*letters).checkMsg, command: func(from, to string) ([]string, error) {
			self, err := os.Executable()
			return []string{self, "convert", from, to}, err
		}},
		{name: "postal-mime and @tutao/oxmsg", env: []string{"NODE_PATH=" + peer}, check: countFiles, command: func(from, to string) ([]string, error) {
			script, err := filepath.Abs(filepath.Join("internal", "bench", "testdata", "peers", "oxmsg.js"))
			return []string{"node", script, from, to}, err
		}},
	}
	for round := range s.rounds {
		for i, c := range converters {
			progress("round %d of %d: %s, %s", round+1, s.rounds, c.name, mail.title)
			run := filepath.Join(dir, fmt.Sprintf("msg-%s-%d-%d", filepath.Base(mail.dir), round, i))
			if err := os.Mkdir(run, 0o755); err != nil {
				return nil, err
			}
			to := filepath.Join(run, got)
			command, err := c.command(mail.dir, to)
			if err != nil {
				return nil, err
			}
			cost, err := execute(ctx, run, patience, command, c.env...)
			if err == nil {
				err = c.check(mail, to)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			c.samples = append(c.samples, cost)
		}
	}
	return converters, nil
}

// convertFolder is given a folder of mail and one that it makes, for a .msg of each.
func convertFolder(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("convert: %d arguments", len(args))
	}
	entries, err := os.ReadDir(args[0])
	if err != nil {
		return err
	}
	if err := os.Mkdir(args[1], 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		to := filepath.Join(args[1], msgName(e.Name()))
		if err := convertFile(filepath.Join(args[0], e.Name()), to); err != nil {
			return fmt.Errorf("%s: %w", e.Name(), err)
		}
	}
	return nil
}

func msgName(mail string) string { return strings.TrimSuffix(mail, ".eml") + ".msg" }

// convertFile makes a .msg file, which appears whole.
func convertFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	m, err := message.Read(context.Background(), in, info.Size(), message.Limits{})
	if err != nil {
		return err
	}
	out, err := os.Create(to + ".part")
	if err != nil {
		return err
	}
	_, err = outlook.Convert(context.Background(), out, m, outlook.Options{})
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// page returns HTML of a newsletter, and a picture in it.
func page(i int) (html, picture []byte) {
	random := rand.New(rand.NewPCG(uint64(i), 1))
	words := strings.Fields("Lieferung order für the März invoice größer total & Straße shipment please offen delivery geprüft amount bis week Übersicht contract from nächste")
	var b bytes.Buffer
	b.WriteString("<html><head><meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\"><style>td {font-family: Arial; color: #333}</style></head>\r\n<body><img src=\"cid:logo\" width=\"120\">\r\n<table width=\"600\">\r\n")
	for b.Len() < pageSize-40 {
		fmt.Fprintf(&b, "<tr><td style=\"padding: 4px; border-bottom: 1px solid #ddd\"><a href=\"https://www.example.com/item?id=%d&amp;from=letter\">", random.Uint32())
		for range 12 {
			b.WriteString(words[random.IntN(len(words))])
			b.WriteByte(' ')
		}
		b.WriteString("</a></td></tr>\r\n")
	}
	html = bytes.TrimRight(bytes.ToValidUTF8(b.Bytes()[:pageSize-40], nil), "\r\n ")
	html = append(html, "</a></td></tr></table></body></html>\r\n"...)
	picture = make([]byte, pictureSize)
	for i := range picture {
		picture[i] = byte(random.Uint32())
	}
	copy(picture, "\x89PNG\r\n\x1a\n")
	return html, picture
}

// writePages writes mail with HTML and a picture.
func writePages(dir string, n int) (*letters, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	mail := &letters{dir: dir, files: n, check: checkPage}
	for i := range n {
		html, picture := page(i)
		var b bytes.Buffer
		fmt.Fprintf(&b, "Received: from mx.example.com by mail.example.org; Mon, 5 Jan 2026 08:%02[1]d:%02[2]d +0000\r\n"+
			"From: =?utf-8?q?B=C3=BCro?= <office@example.com>\r\nTo: Accounts <accounts@example.org>, box@example.org\r\nSubject: RE: Letter %[3]d\r\n"+
			"Date: Mon, 5 Jan 2026 08:%02[1]d:%02[2]d +0000\r\nMessage-ID: <%[3]d@example.com>\r\nMIME-Version: 1.0\r\nX-Mailer: letters\r\n"+
			"Content-Type: multipart/related; boundary=\"=_b\"\r\n\r\n--=_b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
			i/60%60, i%60, i)
		w := quotedprintable.NewWriter(&b)
		if _, err := w.Write(html); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		b.WriteString("\r\n--=_b\r\nContent-Type: image/png; name=\"logo.png\"\r\nContent-ID: <logo>\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		for text := base64.StdEncoding.EncodeToString(picture); text != ""; {
			n := min(76, len(text))
			b.WriteString(text[:n] + "\r\n")
			text = text[n:]
		}
		b.WriteString("--=_b--\r\n")
		mail.bytes += int64(b.Len())
		if err := os.WriteFile(filepath.Join(dir, mailName(i)), b.Bytes(), 0o600); err != nil {
			return nil, err
		}
	}
	mail.title = fmt.Sprintf("%d messages of %d kB, with %d kB of HTML and a picture of %d kB", n, mail.bytes/int64(n)/1000, pageSize/1000, pictureSize/1000)
	return mail, nil
}

func mailName(i int) string { return fmt.Sprintf("%04d.eml", i) }

// writeLarge writes one message with attachments.
func writeLarge(dir string, size int64) (_ *letters, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(dir, mailName(0)))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return &letters{
		dir: dir, files: 1, bytes: size, title: fmt.Sprintf("one message of %d MB", size/1_000_000),
		check: func(_ int, f *cfb.File) error {
			if n := streamSize(f.Root); n < size*7/10 {
				return fmt.Errorf("%d bytes of %d", n, size)
			}
			return nil
		},
	}, mailgen.New(1).WriteLarge(f, size)
}

func streamSize(e *cfb.Entry) (n int64) {
	for _, sub := range e.Entries {
		n += streamSize(sub)
	}
	return n + e.Size
}

// countFiles checks how many files there are in a folder.
func countFiles(mail *letters, to string) error {
	files := 0
	err := filepath.WalkDir(to, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files++
		}
		return err
	})
	if err == nil && files != mail.files {
		err = fmt.Errorf("%d files of %d messages", files, mail.files)
	}
	return err
}

// checkMsg checks that each file is a compound file that holds what the mail does.
func (l *letters) checkMsg(to string) error {
	if err := countFiles(l, to); err != nil {
		return err
	}
	for i := range l.files {
		name := filepath.Join(to, msgName(mailName(i)))
		if err := l.checkFile(i, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (l *letters) checkFile(i int, name string) (err error) {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	f, err := cfb.Open(in, info.Size())
	if err != nil {
		return err
	}
	if len(f.Faults) > 0 {
		return errors.New(f.Faults[0])
	}
	return l.check(i, f)
}

func checkPage(i int, f *cfb.File) error {
	html, picture := page(i)
	for _, want := range []struct {
		path    []string
		content []byte
	}{
		{[]string{"__substg1.0_10130102"}, html},
		{[]string{"__attach_version1.0_#00000000", "__substg1.0_37010102"}, picture},
	} {
		e := f.Root
		for _, name := range want.path {
			if e = e.Entry(name); e == nil {
				return fmt.Errorf("there is no %s", name)
			}
		}
		r, err := e.Open()
		if err != nil {
			return err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if !bytes.Equal(content, want.content) {
			return fmt.Errorf("%s is not what was in the mail", e.Name)
		}
	}
	return nil
}
