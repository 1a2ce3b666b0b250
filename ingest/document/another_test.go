package document

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postroom/ingest/message"
	"postroom/internal/corpus"
	"postroom/internal/mailgen"
	"postroom/store"
)

// leaf is what a part without parts holds.
type leaf struct {
	Type           string
	Size           int
	Whole, Shorter string // SHA-256 of its content, and of that without the last line end
}

func (l leaf) String() string { return fmt.Sprintf("%s of %d bytes, %.12s", l.Type, l.Size, l.Whole) }

func newLeaf(typ string, b []byte) leaf {
	shorter := bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	return leaf{typ, len(b), sum(b), sum(shorter)}
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// isMail reports whether a type is that of a whole message.
func isMail(typ string) bool {
	return typ == "message/rfc822" || typ == "message/global" || typ == "message/news"
}

// isReport reports whether a type is one of message/… that is no message.
func isReport(typ string) bool { return strings.HasPrefix(typ, "message/") && !isMail(typ) }

// leaves returns what is in the parts of a message that have no parts, and in
// those of attached messages; but for the parts below those that stop says.
func leaves(t testing.TB, m *message.Message, stop func(*message.Part) bool) (all []leaf) {
	t.Helper()
	var walk func(p *message.Part)
	walk = func(p *message.Part) {
		switch {
		case stop(p):
		case (p.IsMultipart() || p.IsMessage()) && len(p.Parts) > 0:
			for _, c := range p.Parts {
				walk(c)
			}
		default:
			// The bytes of a file that stands in a text are those of the text.
			all = append(all, newLeaf(p.Type, readAll(t, m.Open(p))))
		}
	}
	walk(&m.Part)
	return all
}

func never(*message.Part) bool { return false }

// holdings returns the SHA-256 of what the files of a document hold: of the parts
// of the message file, of the attachments, and of the parts of attached messages.
func holdings(t testing.TB, d *store.Document) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for i, f := range d.Files {
		b := contentOf(t, f)
		if i > 0 {
			all[sum(b)] = true
		}
		if i == 0 || isMail(f.MediaType) {
			for _, l := range leaves(t, mustRead(t, b), never) {
				all[l.Whole] = true
			}
		}
	}
	return all
}

// complete checks that without the original, message file and attachments
// together hold every byte of content of a message: what is in each of its parts
// is in a part of the message file, or is an attachment.
func complete(t testing.TB, raw []byte) *store.Document {
	t.Helper()
	d := mustMake(t, rawInput(raw), Rules{SeparateAttachments: true})
	held := holdings(t, d)
	m := mustRead(t, raw)
	for _, l := range leaves(t, m, func(p *message.Part) bool {
		return p.IsMessage() && held[sum(readAll(t, m.Raw(p.Body)))] // as a whole
	}) {
		if !held[l.Whole] {
			t.Fatalf("%v is neither in the message file nor an attachment: %+v", l, d.Files)
		}
	}
	return d
}

// Why Python's email package reads mail otherwise: what is done here.
const (
	brokenHeader   = "a header line that is no field, or not folded as it should be, does not end the header"
	trailingSpace  = "white space at the end of lines of quoted-printable is removed (RFC 2045 6.7 rule 3)"
	bareCR         = "CR alone ends a line, in quoted-printable too"
	afterEnd       = "parts after the end line are parts"
	notBase64      = "declared as base64, and words"
	afterBase64    = "base64 ends where words follow it"
	usedBoundary   = "the boundary is that which is used, although it is declared otherwise or not at all"
	spelling       = "the transfer encoding is spelt as writers spell it"
	fileInText     = "files in a text (uuencode, BinHex) are files"
	encodedMessage = "a message that is encoded is read (RFC 2046 5.2.1 does not allow it)"
	lastBoundary   = "a boundary line that nothing follows is the end line"
	beforeHeader   = "a byte order mark, or an mbox line, before the header is not its end"
	twofoldEnd     = "CR CR LF is one line end"
)

// disagreement is why a mail is read otherwise, and in how many parts.
type disagreement struct {
	why   string
	parts int
}

// disagreements are the mails that it reads otherwise. What damage stands for is a
// matter of opinion; nothing is lost in any of them, see complete.
var disagreements = map[string]disagreement{
	"bounces/maildir__bsd__lhost-gmail-19.eml":                                                               {trailingSpace, 1},
	"broken-and-plain/spec__fixtures__emails__attachment_emails__attachment_message_rfc822_inline_image.eml": {trailingSpace, 1},
	"bounces/maildir__bsd__lhost-office365-08.eml":                                                           {brokenHeader, 4},
	"bounces/maildir__bsd__lhost-office365-10.eml":                                                           {brokenHeader, 4},
	"bounces/maildir__bsd__lhost-office365-12.eml":                                                           {brokenHeader, 4},
	"bounces/maildir__mac__lhost-apachejames-01.eml":                                                         {brokenHeader, 1},
	"broken-and-plain/spec__fixtures__emails__plain_emails__raw_email_incorrect_header.eml":                  {brokenHeader, 1},
	"broken-and-plain/spec__fixtures__emails__rfc2822__example13.eml":                                        {brokenHeader, 1},
	"low-quality/testdata__low-quality__bad-header-wrap.raw":                                                 {brokenHeader, 2},
	"bounces/maildir__bsd__rhost-cox-01.eml":                                                                 {afterEnd, 1},
	"bounces/maildir__dos__rhost-cox-01.eml":                                                                 {afterEnd, 1},
	"bounces/maildir__mac__lhost-amazonworkmail-01.eml":                                                      {bareCR, 3},
	"bounces/maildir__mac__lhost-exchange2007-01.eml":                                                        {bareCR, 2},
	"bounces/maildir__mac__lhost-messagelabs-01.eml":                                                         {bareCR, 1},
	"bounces/maildir__mac__rhost-aol-01.eml":                                                                 {bareCR, 1},
	"low-quality/testdata__mail__mime-bad-content-transfer-encoding.raw":                                     {notBase64, 1},
	"separate/base64 that is none":                                                                           {notBase64, 2},
	"rfc2045-5.1-content-type/boundary on a line without its space":                                          {brokenHeader, 1},
	"rfc2045-5.1-content-type/folding without its space":                                                     {brokenHeader, 1},
	"rfc2045-5.1-content-type/multipart without its subtype":                                                 {usedBoundary, 1},
	"rfc2046-5.1.1-boundaries/white space in the boundary":                                                   {usedBoundary, 1},
	"rfc2046-5.1.1-boundary-missing/empty":                                                                   {usedBoundary, 1},
	"rfc2046-5.1.1-boundary-missing/missing":                                                                 {usedBoundary, 1},
	"rfc2046-5.1.1-boundary-missing/not the one that is used":                                                {usedBoundary, 1},
	"rfc2045-6-encodings/quoted printable":                                                                   {trailingSpace, 1},
	"rfc2045-6-encodings/semicolon":                                                                          {spelling, 1},
	"rfc2045-6-encodings/unknown and then base64":                                                            {spelling, 1},
	"rfc2045-6-encodings/with a comment":                                                                     {spelling, 1},
	"rfc2045-6-encodings/x-uuencode without its first line":                                                  {spelling, 2},
	"rfc2046-5.1.2-nesting/ends after a boundary line":                                                       {lastBoundary, 1},
	"rfc2046-5.2.1-messages/base64":                                                                          {encodedMessage, 2},
	"separate/message in base64":                                                                             {encodedMessage, 2},
	"rfc5322-2.2-header/8-bit name":                                                                          {brokenHeader, 1},
	"rfc5322-2.2-header/a value on the next line":                                                            {brokenHeader, 1},
	"rfc5322-2.2-header/line without a colon":                                                                {brokenHeader, 1},
	"rfc5322-2.2-header/space before the colon":                                                              {brokenHeader, 1},
	"rfc5322-2.2-header/byte order mark":                                                                     {beforeHeader, 1},
	"rfc5322-2.2-header/quoted mbox line":                                                                    {beforeHeader, 1},
	"rfc5322-2.2-header/twofold line ends in a multipart":                                                    {twofoldEnd, 1},
	"separate/base64 with a word after it":                                                                   {afterBase64, 2},
	"separate/uuencoded in the text":                                                                         {fileInText, 1},
	"uuencode-in-text/BinHex":                                                                                {fileInText, 1},
	"uuencode-in-text/bad line":                                                                              {fileInText, 1},
	"uuencode-in-text/in a part":                                                                             {fileInText, 1},
	"uuencode-in-text/no end":                                                                                {fileInText, 1},
	"uuencode-in-text/two files":                                                                             {fileInText, 2},
	"uuencode-in-text/uuencode":                                                                              {fileInText, 1},
}

// TestAnotherReader compares the documents of all mail there is with what
// Python's email package finds in it: each attachment must be a part that it
// finds, with the same bytes, and what it finds must be in the message file or an
// attachment. Mail that it reads otherwise is named, with the reason. What is not
// compared are reports (message/delivery-status and the like), which it takes
// apart into fields.
func TestAnotherReader(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("find Python: %v (run make tools)", err)
	}
	var mail []corpus.Mail
	kinds := map[string]bool{} // of mail that is there; an archive each
	for _, a := range corpus.Read(t) {
		mail = append(mail, a.Mail...)
	}
	golden := goldenMail(t)
	for _, name := range slices.Sorted(maps.Keys(golden)) {
		if !strings.HasPrefix(name, "page/") && !strings.HasSuffix(name, " with LF") && !strings.HasSuffix(name, " with CR") {
			mail = append(mail, corpus.Mail{Name: name, Raw: golden[name]})
		}
	}
	g := mailgen.New(5, mailgen.Small())
	for i := range 300 {
		mail = append(mail, corpus.Mail{Name: fmt.Sprintf("generated/%d", i), Raw: g.Next().Raw})
	}
	var in bytes.Buffer
	for _, m := range mail {
		fmt.Fprintf(&in, "%d\n%s", len(m.Raw), m.Raw)
	}
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "leaves.py"))
	var out, trouble bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &trouble
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, trouble.String())
	}
	answers := bufio.NewReader(&out)
	why := map[string]int{}
	attachments := 0
	names := map[string]bool{}
	for _, m := range mail {
		kind, _, _ := strings.Cut(m.Name, "/")
		names[m.Name], kinds[kind] = true, true
		line, err := answers.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var other struct {
			Leaves []leaf
			Error  string
		}
		if err := json.Unmarshal(line, &other); err != nil {
			t.Fatal(err)
		}
		d := complete(t, m.Raw)
		attachments += len(d.Files) - 1
		found := compare(t, d, other.Leaves)
		if other.Error != "" {
			found = append(found, other.Error)
		}
		known, ok := disagreements[m.Name]
		switch {
		case len(found) != known.parts:
			t.Errorf("%s is read otherwise in %d parts, not in %d (%s):\n\t%s", m.Name, len(found), known.parts, known.why, strings.Join(found, "\n\t"))
		case ok:
			why[known.why]++
		}
	}
	for name := range disagreements {
		if kind, _, _ := strings.Cut(name, "/"); kinds[kind] && !names[name] {
			t.Errorf("there is no mail %s", name)
		}
	}
	if _, err := answers.ReadByte(); err != io.EOF {
		t.Errorf("more answers than mail: %v", err)
	}
	t.Logf("%d mails, %d attachments; read otherwise: %v", len(mail), attachments, why)
}

// compare returns what is different between a document and the leaves that
// another reader finds. That may leave out a last line end, or not: where the end
// line of a multipart is missing it may belong to the text or to that.
func compare(t *testing.T, d *store.Document, other []leaf) (different []string) {
	theirs := map[string]bool{"": true}
	for _, l := range other {
		theirs[l.Whole], theirs[l.Shorter] = true, true
	}
	check := func(where string, l leaf) {
		if l.Size > 0 && !isReport(l.Type) && !theirs[l.Whole] && !theirs[l.Shorter] {
			different = append(different, fmt.Sprintf("only here: %s%v", where, l))
		}
	}
	for _, f := range d.Files[1:] {
		b := contentOf(t, f)
		if !isMail(f.MediaType) {
			check(f.Name+", ", newLeaf(f.MediaType, b))
			continue
		}
		for _, l := range leaves(t, mustRead(t, b), never) {
			check("in "+f.Name+", ", l)
		}
	}
	ours := holdings(t, d)
	shorter := map[string]bool{}
	for i, f := range d.Files {
		if i == 0 || isMail(f.MediaType) {
			for _, l := range leaves(t, mustRead(t, contentOf(t, f)), never) {
				shorter[l.Shorter] = true
			}
		}
	}
	for _, l := range other {
		if l.Size > 0 && !ours[l.Whole] && !shorter[l.Whole] && !ours[l.Shorter] {
			different = append(different, fmt.Sprintf("only there: %v", l))
		}
	}
	return different
}
