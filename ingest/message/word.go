package message

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// decodeText decodes the encoded words of a header value (RFC 2047), where and
// however they stand, and its raw 8-bit bytes. Hint is the charset that these
// are likely to be in.
func decodeText(s, hint string) string {
	if !strings.Contains(s, "=?") {
		return rawText(s, hint)
	}
	var out strings.Builder
	plain := 0 // s[plain:i] is not yet written
	w := wordScanner{s: s}
	// Words in a row of the same charset are put together before they are
	// converted: some writers split characters.
	var run []byte
	runCharset, inRun := "", false
	flush := func() {
		if inRun {
			out.WriteString(toText(string(run), runCharset, hint))
			run, inRun = run[:0], false
		}
	}
	for i := 0; ; {
		k := strings.Index(s[i:], "=?")
		if k < 0 {
			break
		}
		i += k
		word, end, ok := w.word(i)
		if !ok {
			i += 2
			continue
		}
		between := s[plain:i]
		if !inRun || strings.TrimLeft(between, " \t\r\n") != "" {
			flush()
			out.WriteString(rawText(between, hint))
		}
		if inRun && runCharset != word.charset {
			flush()
		}
		run, runCharset, inRun = append(run, word.text...), word.charset, true
		i, plain = end, end
	}
	flush()
	out.WriteString(rawText(s[plain:], hint))
	return out.String()
}

// rawText returns text of a header that is not encoded.
func rawText(s, hint string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 0x80 || c == 0x1b {
			return toText(s, "", hint)
		}
	}
	return s
}

type encodedWord struct {
	charset string
	text    []byte // without its encoding
}

type wordScanner struct {
	s      string
	unends int // no "?=" at or after it, if > 0
}

// word reads the encoded word that begins at i. It takes what the grammar does
// not: spaces in it, question marks in Q, base64 without padding, no end.
func (w *wordScanner) word(i int) (word encodedWord, end int, ok bool) {
	s := w.s
	head := s[i+2 : min(len(s), i+2+80)]
	charset, rest, ok := strings.Cut(head, "?")
	if !ok || strings.ContainsAny(charset, " \t=\"<>") || len(rest) < 2 || rest[1] != '?' {
		return word, 0, false
	}
	charset, _, _ = strings.Cut(charset, "*") // the language: RFC 2231 5
	word.charset = strings.ToLower(charset)
	encoding := rest[0] | 0x20
	if encoding != 'q' && encoding != 'b' {
		return word, 0, false
	}
	start := i + 2 + (len(head) - len(rest)) + 2
	stop := w.end(start)
	if stop >= 0 {
		// No end of its own: another word begins before.
		if k := strings.Index(s[start:stop], "=?"); k >= 0 && wordBegins(s[start+k:]) {
			word.text = decodeQ(strings.TrimRight(s[start:start+k], " \t"))
			if encoding == 'b' {
				word.text = decodeB(s[start : start+k])
			}
			return word, start + k, true
		}
	}
	if stop >= 0 && encoding == 'q' {
		// A "?" that should have been encoded, before an encoded byte.
		for n := 0; n < 16; n++ {
			if stop+3 >= len(s) {
				break
			}
			if _, hex := unhex(s[stop+2], s[stop+3]); !hex {
				break
			}
			next := w.end(stop + 2)
			if next < 0 || strings.Contains(s[stop+2:next], "=?") || next-stop > 2000 {
				break
			}
			stop = next
		}
	}
	end = stop + 2
	if stop < 0 {
		// Cut off: what is left is the word, if it can be one.
		if strings.ContainsAny(s[start:], " \t") || start == len(s) {
			return word, 0, false
		}
		stop, end = len(s), len(s)
	}
	if encoding == 'q' {
		word.text = decodeQ(s[start:stop])
	} else {
		word.text = decodeB(s[start:stop])
		if word.text == nil && stop > start {
			return word, 0, false
		}
	}
	return word, end, true
}

// wordBegins reports whether s, which begins with "=?", begins like a word.
func wordBegins(s string) bool {
	charset, rest, ok := strings.Cut(s[2:min(len(s), 82)], "?")
	return ok && charset != "" && !strings.ContainsAny(charset, " \t=\"<>") &&
		len(rest) > 1 && rest[1] == '?' && strings.ContainsRune("qQbB", rune(rest[0]))
}

// end returns the index of the next "?=" from i, -1 if there is none.
func (w *wordScanner) end(i int) int {
	if w.unends > 0 && i >= w.unends {
		return -1
	}
	k := strings.Index(w.s[i:], "?=")
	if k < 0 {
		if w.unends == 0 || i < w.unends {
			w.unends = i
		}
		return -1
	}
	return i + k
}

// decodeQ decodes the Q encoding (RFC 2047 4.2).
func decodeQ(s string) []byte {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			b = append(b, ' ')
		case c == '=' && i+2 < len(s):
			if x, ok := unhex(s[i+1], s[i+2]); ok {
				b = append(b, x)
				i += 2
				continue
			}
			b = append(b, c)
		default:
			b = append(b, c)
		}
	}
	return b
}

// decodeB decodes the B encoding (RFC 2047 4.1); nil if there is none.
func decodeB(s string) []byte {
	b := make([]byte, 0, len(s))
	var out []byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case base64Value[c] < 64:
			b = append(b, c)
		case c == '=':
			// Padding, in the middle too: what follows is encoded anew.
			out = appendBase64(out, b)
			b = b[:0]
		}
	}
	return appendBase64(out, b)
}

func appendBase64(dst, src []byte) []byte {
	if len(src)%4 == 1 {
		src = src[:len(src)-1]
	}
	out, err := base64.RawStdEncoding.AppendDecode(dst, src)
	if err != nil {
		return dst
	}
	return out
}

// toText converts header bytes to UTF-8 by their charset; where it is missing,
// unknown or does not fit, as UTF-8, by the hint, or as guessed.
func toText(s, charset, hint string) string {
	declared := lookupCharset(charset)
	if text, ok := declared.fits(s); ok {
		return text
	}
	if utf8.ValidString(s) && !strings.Contains(s, "\x1b") {
		return s
	}
	if text, ok := lookupCharset(hint).fits(s); ok {
		return text
	}
	if text, ok := lookupCharset(guessCharset([]byte(s))).fits(s); ok {
		return text
	}
	if declared != nil && declared.decoder != nil {
		return declared.decode([]byte(s))
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// fits returns the text if the charset is known and s has no bytes that it has
// not.
func (c *charset) fits(s string) (string, bool) {
	if c == nil || c.decoder == nil || c.ascii && !isASCII(s) {
		return "", false
	}
	text := c.decode([]byte(s))
	return text, !strings.Contains(text, "\ufffd")
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
