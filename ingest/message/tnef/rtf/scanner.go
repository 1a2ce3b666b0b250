package rtf

import "bytes"

// The tokens of RTF (RTF 1.9.1, "RTF syntax").
type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenOpen             // {
	tokenClose            // }
	tokenText             // text as it stands, line ends among it
	tokenByte             // \'hh
	tokenWord             // a control word, or a control symbol of one character
	tokenBinary           // \bin with its bytes
)

type token struct {
	kind tokenKind
	word string
	n    int  // parameter, bounded to 32 bits
	has  bool // there was one
	b    byte
	text []byte
}

type scanner struct {
	in []byte
	at int
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// maxWord is the length of the longest control word, by far.
const maxWord = 64

func (s *scanner) next() token {
	if s.at >= len(s.in) {
		return token{}
	}
	switch s.in[s.at] {
	case '{':
		s.at++
		return token{kind: tokenOpen}
	case '}':
		s.at++
		return token{kind: tokenClose}
	case '\\':
		return s.control()
	}
	rest := s.in[s.at:]
	n := bytes.IndexAny(rest, `{}\`)
	if n < 0 {
		n = len(rest)
	}
	s.at += n
	return token{kind: tokenText, text: rest[:n]}
}

func (s *scanner) control() token {
	s.at++
	if s.at >= len(s.in) {
		return token{}
	}
	c := s.in[s.at]
	if !letter(c) {
		s.at++
		if c != '\'' {
			return token{kind: tokenWord, word: string(rune(c))}
		}
		if s.at+1 < len(s.in) {
			if h, l := unhex(s.in[s.at]), unhex(s.in[s.at+1]); h >= 0 && l >= 0 {
				s.at += 2
				return token{kind: tokenByte, b: byte(h<<4 | l)}
			}
		}
		return token{kind: tokenWord, word: "'"} // no escape after all
	}
	start := s.at
	for s.at < len(s.in) && letter(s.in[s.at]) && s.at-start < maxWord {
		s.at++
	}
	t := token{kind: tokenWord, word: string(s.in[start:s.at])}
	negative := s.at+1 < len(s.in) && s.in[s.at] == '-' && digit(s.in[s.at+1])
	if negative {
		s.at++
	}
	for s.at < len(s.in) && digit(s.in[s.at]) {
		t.has = true
		if t.n < 1<<31/10-1 {
			t.n = t.n*10 + int(s.in[s.at]-'0')
		}
		s.at++
	}
	if negative {
		t.n = -t.n
	}
	if s.at < len(s.in) && s.in[s.at] == ' ' {
		s.at++ // the space that ends a word is of the word
	}
	if t.word == "bin" {
		s.at += max(0, min(t.n, len(s.in)-s.at))
		t.kind = tokenBinary
	}
	return t
}

func unhex(c byte) int {
	switch {
	case digit(c):
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
