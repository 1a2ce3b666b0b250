package message

import (
	"sort"
	"strconv"
	"strings"
)

// parameterized is a field value with parameters (RFC 2045 5.1, RFC 2183 2).
type parameterized struct {
	value  string            // before the parameters, lower case, without comments and white space
	params map[string]string // names in lower case, values decoded
	plain  map[string]string // values that were in one piece, as they stand without their quotes
	odd    bool              // the grammar was not kept
}

// knownParameter are the parameters that a value without quotes is searched for,
// as the semicolon before them is often missing.
var knownParameter = map[string]bool{
	"boundary": true, "charset": true, "name": true, "filename": true, "format": true, "delsp": true, "type": true,
	"size": true, "report-type": true, "protocol": true, "micalg": true, "smime-type": true, "method": true,
	"start": true, "creation-date": true, "modification-date": true, "read-date": true, "x-unix-mode": true,
}

type segment struct {
	index   int
	encoded bool
	value   string
}

// parseParameterized reads a value such as that of Content-Type, whatever is
// wrong with it. Hint is the charset that raw 8-bit text is likely to be in.
func parseParameterized(s, hint string) parameterized {
	out := parameterized{params: map[string]string{}, plain: map[string]string{}}
	s = strings.TrimSpace(s)
	i := 0
	out.value, i = parameterHead(s)
	segments := map[string][]segment{}
	for i < len(s) {
		switch c := s[i]; {
		case c == ';' || c == ' ' || c == '\t' || c == ',':
			i++
			continue
		case c == '(':
			i = skipComment(s, i)
			continue
		}
		end := i
		for end < len(s) && s[end] != '=' && s[end] != ';' {
			end++
		}
		name := strings.ToLower(strings.TrimSpace(s[i:end]))
		if end == len(s) || s[end] == ';' {
			out.odd = true // text/plain; charset
			i = end
			continue
		}
		var value string
		var odd bool
		value, i, odd = parameterValue(s, end+1, !strings.Contains(name, "name"))
		out.odd = out.odd || odd
		base, index, encoded := parameterName(name)
		if base == "" || strings.ContainsAny(base, " \t\"") {
			out.odd = true
			if f := strings.Fields(base); len(f) > 0 && knownParameter[f[len(f)-1]] {
				base = f[len(f)-1]
			} else {
				continue
			}
		}
		if len(segments[base]) >= 1000 {
			out.odd = true
			continue
		}
		segments[base] = append(segments[base], segment{index, encoded, value})
	}
	for name, list := range segments {
		plain, value, odd := joinSegments(list, hint)
		out.odd = out.odd || odd
		out.params[name] = value
		out.plain[name] = plain
	}
	return out
}

// parameterHead returns what is before the parameters, and where they begin.
func parameterHead(s string) (string, int) {
	var b strings.Builder
	i := 0
	for i < len(s) {
		switch c := s[i]; {
		case c == ';' || c == ',':
			return strings.ToLower(b.String()), i
		case c == '(':
			i = skipComment(s, i)
			continue
		case c == ' ' || c == '\t':
			// The semicolon is missing if a parameter follows.
			rest := strings.TrimLeft(s[i:], " \t")
			if knownAssignment(rest) {
				return strings.ToLower(b.String()), i
			}
			i = len(s) - len(rest)
			continue
		case c == '"' || c == '\'':
		case c == '=':
			// No value at all: name=x.
			return "", 0
		case c > ' ' && c < 0x7f && b.Len() < 200:
			b.WriteByte(c)
		}
		i++
	}
	return strings.ToLower(b.String()), i
}

// knownAssignment reports whether s begins with a known parameter and "=".
func knownAssignment(s string) bool {
	name, _, ok := strings.Cut(s[:min(len(s), 40)], "=")
	base, _, _ := parameterName(strings.ToLower(strings.TrimRight(name, " \t")))
	return ok && knownParameter[base]
}

// parameterName splits name*0* into its name, the index (-1 if there is none)
// and whether the value is encoded (RFC 2231 3, 4).
func parameterName(name string) (base string, index int, encoded bool) {
	name, encoded = strings.CutSuffix(strings.TrimSpace(name), "*")
	base, number, ok := strings.Cut(name, "*")
	index = -1
	if ok {
		if n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 16); err == nil {
			index = int(n)
		}
	}
	return strings.TrimSpace(base), index, encoded
}

// parameterValue reads the value that begins at s[i]. A file name that is not in
// quotes may have parentheses, which elsewhere are a comment.
func parameterValue(s string, i int, comments bool) (value string, next int, odd bool) {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	if i < len(s) && s[i] == '"' {
		var b strings.Builder
		for j := i + 1; j < len(s); j++ {
			switch c := s[j]; {
			case c == '\\' && j+1 < len(s) && (s[j+1] == '"' || s[j+1] == '\\'):
				// name="C:\" is not meant to go on.
				if s[j+1] == '"' && strings.IndexByte(s[j+2:], '"') < 0 {
					b.WriteByte(c)
					continue
				}
				j++
				b.WriteByte(s[j])
			case c == '"':
				return b.String(), j + 1, false
			default:
				b.WriteByte(c)
			}
		}
		// The closing quote is missing.
		rest := s[i+1:]
		if k := strings.IndexByte(rest, ';'); k >= 0 && knownAssignment(strings.TrimLeft(rest[k+1:], " \t")) {
			return strings.TrimSpace(rest[:k]), i + 1 + k, true
		}
		return strings.TrimSpace(b.String()), len(s), true
	}
	end := i
	for end < len(s) && s[end] != ';' {
		if c := s[end]; c == ' ' || c == '\t' {
			rest := strings.TrimLeft(s[end:], " \t")
			comment := comments && strings.HasPrefix(rest, "(")
			if comment || knownAssignment(rest) {
				odd = !comment
				break
			}
			// Skip the white space at once, so that a run of it is read once.
			end = len(s) - len(rest)
			continue
		}
		end++
	}
	value = strings.TrimSpace(s[i:end])
	value = strings.Trim(value, "\"")
	return value, end, odd || strings.ContainsAny(value, " \t\"")
}

// joinSegments puts the pieces of a parameter together (RFC 2231 3): one in
// pieces or encoded goes before one that is plain.
func joinSegments(list []segment, hint string) (plain, value string, odd bool) {
	var single, extended *segment
	var pieces []segment
	for i := range list {
		s := &list[i]
		switch {
		case s.index >= 0:
			pieces = append(pieces, *s)
		case s.encoded && extended == nil:
			extended = s
		case !s.encoded && single == nil:
			single = s
		default:
			odd = true // twice
		}
	}
	if single != nil {
		plain = single.value
	}
	switch {
	case extended != nil:
		return plain, decodeExtended(extended.value, hint), odd
	case len(pieces) > 0:
		sort.SliceStable(pieces, func(i, j int) bool { return pieces[i].index < pieces[j].index })
		var b strings.Builder
		charset, encoded := "", false
		for i, p := range pieces {
			if i > 0 && p.index == pieces[i-1].index {
				odd = true
				continue
			}
			odd = odd || i == 0 && p.index != 0 || i > 0 && p.index != pieces[i-1].index+1
			v := p.value
			if p.encoded {
				if !encoded {
					if c, rest, ok := cutCharset(v); ok {
						charset, v = c, rest
					}
					encoded = true
				}
				v = unescapePercent(v)
			}
			b.WriteString(v)
		}
		joined := b.String()
		if plain == "" {
			plain = joined
		}
		if encoded {
			return plain, toText(joined, charset, hint), odd
		}
		return plain, decodeText(joined, hint), odd
	case single != nil:
		return plain, decodeText(single.value, hint), odd
	}
	return "", "", odd
}

// decodeExtended reads charset'language'text (RFC 2231 4).
func decodeExtended(v, hint string) string {
	charset, rest, ok := cutCharset(v)
	if !ok {
		return decodeText(unescapePercent(v), hint)
	}
	text := toText(unescapePercent(rest), charset, hint)
	if strings.HasPrefix(text, "=?") {
		return decodeText(text, hint)
	}
	return text
}

func cutCharset(v string) (charset, rest string, ok bool) {
	charset, rest, ok = strings.Cut(v, "'")
	if !ok || len(charset) > 40 {
		return "", v, false
	}
	_, rest, ok = strings.Cut(rest, "'")
	if !ok {
		return "", v, false
	}
	return charset, rest, true
}

// unescapePercent decodes %xx; what is none stays.
func unescapePercent(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, ok := unhex(s[i+1], s[i+2]); ok {
				b = append(b, c)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// unhex returns the byte that two hexadecimal digits of either case stand for.
func unhex(a, b byte) (byte, bool) {
	x, y := hexDigit(a), hexDigit(b)
	return x<<4 | y, x < 16 && y < 16
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// skipComment returns the index after the comment (RFC 5322 3.2.2) that begins
// at s[i], or after its parenthesis if it has no end.
func skipComment(s string, i int) int {
	depth := 0
	for j := i; j < len(s) && j < i+256; j++ {
		switch s[j] {
		case '\\':
			j++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return j + 1
			}
		}
	}
	return i + 1
}
