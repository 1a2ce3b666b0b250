package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxFile is the size in bytes beyond which a file is refused.
const maxFile = 4 << 20

// readFile returns what the file holds, up to one byte more than limit, and its
// permissions. It refuses what is not a regular file, which might never end.
func readFile(path string, limit int64) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	return data, info.Mode().Perm(), err
}

// maxDamage is how many characters of a file are reported at most: with more it
// is no text.
const maxDamage = 20

// decodeText returns the text of a file in UTF-8, without a byte order mark and
// with LF line ends, and reports what in it is none. Such characters are
// replaced by [refused], one each; ok is false if there is nothing to go on with.
func decodeText(file string, data []byte, r *report) (text string, damaged, ok bool) {
	first := Position{file, 1, 1}
	if len(data) > maxFile {
		r.add(first, "file is larger than %d MiB; split it with include", maxFile>>20)
		return "", false, false
	}
	if encoding := foreignEncoding(data); encoding != "" {
		r.add(first, "file is %s; save it as UTF-8", encoding)
		return "", false, false
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	// The lexer counts the end of a comment twice when it is CR LF.
	text = strings.ReplaceAll(string(data), "\r\n", "\n")
	var b strings.Builder
	line, start, damage := 1, 0, 0
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRuneInString(text[i:])
		wrong := ""
		switch {
		case c == '\n':
			line, start = line+1, i+1
		case c == utf8.RuneError && size == 1:
			wrong = fmt.Sprintf("byte 0x%02X is not UTF-8; save the file as UTF-8", text[i])
		case c == '\r':
			r.add(Position{file, line, utf8.RuneCountInString(text[start:i]) + 1}, "carriage return without line feed; end lines with LF or CR LF")
			return "", false, false
		case c == '\ufeff':
			wrong = "a second byte order mark; remove it"
		case unicode.IsControl(c) && c != '\t':
			wrong = fmt.Sprintf("control character %U; remove it", c)
		}
		if wrong != "" {
			r.add(Position{file, line, utf8.RuneCountInString(text[start:i]) + 1}, "%s", wrong)
			if damage++; damage == maxDamage {
				return "", false, false
			}
			c = refused
		}
		b.WriteRune(c)
		i += size
	}
	return b.String(), damage > 0, true
}

// foreignEncoding names the encoding of data if it is one of those that
// editors write besides UTF-8, or returns the empty string.
func foreignEncoding(data []byte) string {
	for _, mark := range []struct{ bytes, name string }{
		{"\xff\xfe\x00\x00", "UTF-32"},
		{"\x00\x00\xfe\xff", "UTF-32"},
		{"\xff\xfe", "UTF-16 (little endian)"},
		{"\xfe\xff", "UTF-16 (big endian)"},
	} {
		if bytes.HasPrefix(data, []byte(mark.bytes)) {
			return mark.name
		}
	}
	switch i := bytes.IndexByte(data, 0); {
	case i < 0 || len(data) < 2:
		return ""
	case i == 0 && data[1] != 0:
		return "UTF-16 (big endian, without byte order mark)"
	case i == 1:
		return "UTF-16 (little endian, without byte order mark)"
	}
	return ""
}
