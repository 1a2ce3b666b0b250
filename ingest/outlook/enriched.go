package outlook

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"golang.org/x/net/html"
)

// enriched returns text/enriched, in UTF-8, as HTML (RFC 1896, appendix B; MS-OXCMAIL
// 2.2.3.3.2, rule 3); richtext says that it is its predecessor (RFC 1341 7.1.3).
func enriched(r io.Reader, richtext bool) *enrichedReader {
	e := &enrichedReader{r: bufio.NewReader(r), richtext: richtext}
	e.out.WriteString("<html><head><meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\"></head><body>\r\n")
	return e
}

type enrichedReader struct {
	r        *bufio.Reader
	richtext bool
	out      bytes.Buffer
	err      error

	open    []string // commands that are not ended yet
	param   *bytes.Buffer
	waiting string // the command that is given by the parameter to come
	lines   int    // line ends in a row
	hidden  int    // comments of richtext around
	unended bool   // the text ended in what is hidden
}

// commands are those of RFC 1896 and what becomes of them.
var commands = map[string]struct{ begin, end string }{
	"bold": {"<b>", "</b>"}, "italic": {"<i>", "</i>"}, "underline": {"<u>", "</u>"}, "fixed": {"<tt>", "</tt>"},
	"smaller": {"<small>", "</small>"}, "bigger": {"<big>", "</big>"}, "subscript": {"<sub>", "</sub>"}, "superscript": {"<sup>", "</sup>"},
	"center": {`<div align="center">`, "</div>"}, "flushleft": {`<div align="left">`, "</div>"},
	"flushright": {`<div align="right">`, "</div>"}, "flushboth": {`<div align="justify">`, "</div>"},
	"indent": {"<blockquote>", "</blockquote>"}, "indentright": {"<blockquote>", "</blockquote>"}, "outdent": {"<div>", "</div>"},
	"paraindent": {"<blockquote>", "</blockquote>"}, "excerpt": {"<blockquote>", "</blockquote>"}, "nofill": {"<pre>", "</pre>"},
	"color": {"<font>", "</font>"}, "fontfamily": {"<font>", "</font>"},
	"paragraph": {"<p>", "</p>"}, "signature": {"<div>", "</div>"},
}

// mostLines is how many line ends in a row are counted.
const mostLines = 1000

// longestCommand is that of RFC 1896.
const longestCommand = 60

func (e *enrichedReader) Read(p []byte) (int, error) {
	for e.out.Len() == 0 && e.err == nil {
		e.next()
	}
	if e.out.Len() > 0 {
		return e.out.Read(p)
	}
	return 0, e.err
}

func (e *enrichedReader) next() {
	b, err := e.r.ReadByte()
	if err != nil {
		if e.err = err; errors.Is(err, io.EOF) {
			e.unended = e.param != nil || e.hidden > 0
			e.flush()
			for len(e.open) > 0 {
				e.close()
			}
			e.out.WriteString("</body></html>\r\n")
		}
		return
	}
	switch {
	case b == '<':
		e.command()
	case e.param != nil:
		if e.param.Len() < 100 {
			e.param.WriteByte(b)
		}
	case e.hidden > 0:
	case b == '\r':
	case b == '\n':
		if e.lines++; e.lines == mostLines {
			e.flush()
		}
	default:
		e.flush()
		e.byte(b)
	}
}

func (e *enrichedReader) byte(b byte) {
	switch b {
	case '<':
		e.out.WriteString("&lt;")
	case '>':
		e.out.WriteString("&gt;")
	case '&':
		e.out.WriteString("&amp;")
	default:
		e.out.WriteByte(b)
	}
}

// flush writes the line ends: one is a space, of more each but the first ends a
// line (RFC 1896 2).
func (e *enrichedReader) flush() {
	n := e.lines
	e.lines = 0
	switch {
	case n == 0:
	case e.within("nofill"):
		e.out.WriteString(strings.Repeat("\r\n", n))
	case e.richtext || n == 1:
		e.out.WriteString("\r\n")
	default:
		e.out.WriteString(strings.Repeat("<br>\r\n", n-1))
	}
}

func (e *enrichedReader) within(name string) bool {
	for _, o := range e.open {
		if o == name {
			return true
		}
	}
	return false
}

// command reads what follows a "<".
func (e *enrichedReader) command() {
	ahead, err := e.r.Peek(longestCommand + 2)
	if err != nil && !errors.Is(err, io.EOF) {
		e.err = err
		return
	}
	end := bytes.IndexByte(ahead, '>')
	switch {
	case len(ahead) > 0 && ahead[0] == '<' && !e.richtext:
		e.discard(1)
		fallthrough
	case end < 0: // no command after all
		if e.param == nil && e.hidden == 0 {
			e.flush()
			e.byte('<')
		}
		return
	}
	name := strings.ToLower(string(ahead[:end]))
	e.discard(end + 1)
	switch {
	case name == "param":
		e.param = &bytes.Buffer{}
		return
	case name == "/param":
		e.parameter()
		return
	case e.richtext && name == "comment":
		e.hidden++
		return
	case e.richtext && name == "/comment":
		e.hidden = max(0, e.hidden-1)
		return
	}
	if e.hidden > 0 || e.param != nil {
		return
	}
	e.flush()
	if e.richtext {
		switch name {
		case "lt":
			e.byte('<')
			return
		case "nl", "np":
			e.out.WriteString("<br>\r\n")
			return
		}
	}
	if ended, ok := strings.CutPrefix(name, "/"); ok {
		if n := len(e.open); n > 0 && e.open[n-1] == ended {
			e.close()
		}
		return
	}
	if c, ok := commands[name]; ok && len(e.open) < 100 {
		e.open = append(e.open, name)
		if name == "color" || name == "fontfamily" {
			e.waiting = name
			ahead, _ := e.r.Peek(len("<param>"))
			if strings.EqualFold(string(ahead), "<param>") {
				return // the element begins with its parameter
			}
		}
		e.out.WriteString(c.begin)
	}
	e.waiting = ""
}

// parameter takes what a <param> said.
func (e *enrichedReader) parameter() {
	if e.param == nil {
		return
	}
	value := strings.TrimSpace(e.param.String())
	e.param = nil
	switch e.waiting {
	case "color":
		// Three numbers of 16 bits, of which HTML has the upper 8.
		if f := strings.Split(value, ","); len(f) == 3 && len(f[0]) == 4 && len(f[1]) == 4 && len(f[2]) == 4 {
			value = "#" + f[0][:2] + f[1][:2] + f[2][:2]
		}
		e.out.WriteString(`<font color="` + html.EscapeString(value) + `">`)
	case "fontfamily":
		e.out.WriteString(`<font face="` + html.EscapeString(value) + `">`)
	}
	e.waiting = ""
}

func (e *enrichedReader) close() {
	n := len(e.open) - 1
	e.out.WriteString(commands[e.open[n]].end)
	e.open = e.open[:n]
}

func (e *enrichedReader) discard(n int) {
	if _, err := e.r.Discard(n); err != nil {
		e.err = err
	}
}
