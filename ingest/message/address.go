package message

import (
	"strings"
)

// Address is a mailbox of an address field (RFC 5322 3.4).
type Address struct {
	Name    string // the display name, decoded; empty if none
	Address string // local-part@domain as it stands; empty if there is none in the text, which is then Name
	Group   string // the display name of the group it is in, decoded; empty if none
	Raw     string // the text it was read from, as it stands
}

// String returns the address as Name <address>.
func (a Address) String() string {
	switch {
	case a.Name == "":
		return a.Address
	case a.Address == "":
		return a.Name
	}
	return a.Name + " <" + a.Address + ">"
}

// ParseAddresses reads an address list, whatever is wrong with it: what is
// between commas becomes an address each, without one if it has none. A group is
// its members.
func ParseAddresses(raw string) []Address { return parseAddresses(raw, "") }

func parseAddresses(s, hint string) []Address {
	var out []Address
	group := ""
	inGroup := false
	var carry []string // what is before a comma and may belong to the name after it
	add := func(piece string) {
		if a, ok := parseMailbox(piece, hint); ok {
			a.Group = group
			out = append(out, a)
		}
	}
	flush := func() {
		for _, c := range carry {
			add(c)
		}
		carry = carry[:0]
	}
	sc := addressScanner{s: s}
	for !sc.done() {
		piece, sep, shape := sc.piece()
		text := strings.TrimSpace(piece)
		switch {
		case sep == ':':
			flush()
			group, inGroup = phrase(piece, hint), true
		case text == "":
		case sep == ',' && !shape.at && !shape.angle && !shape.quoted && len(carry) < 20:
			// "Doe, John <john@example.com>" without its quotes, or else a text of
			// its own: that shows at the next.
			carry = append(carry, piece)
			continue
		case len(carry) > 0 && shape.angle && text[0] != '<' && text[0] != '"':
			piece = strings.Join(carry, ",") + "," + piece
			carry = carry[:0]
			add(piece)
		default:
			flush()
			if words := strings.Fields(text); !shape.angle && !shape.quoted && len(words) > 1 && allAddresses(words) {
				for _, w := range words {
					add(w) // the commas between them are missing
				}
			} else {
				add(piece)
			}
		}
		if sep == ';' && inGroup {
			flush()
			group, inGroup = "", false
		}
	}
	flush()
	return out
}

func allAddresses(words []string) bool {
	for _, w := range words {
		if at := strings.IndexByte(w, '@'); at <= 0 || at == len(w)-1 || strings.ContainsAny(w, "()\\") {
			return false
		}
	}
	return true
}

// addressScanner cuts an address list at its separators. Quotes, comments and
// brackets that have no end stand for themselves.
type addressScanner struct {
	s       string
	i       int
	noParen bool // no comment from here on has an end
}

type shape struct{ at, angle, quoted bool }

func (a *addressScanner) done() bool { return a.i >= len(a.s) }

// piece returns the text up to the next separator (comma, semicolon, or the
// colon of a group; 0 at the end) and what was in it.
func (a *addressScanner) piece() (piece string, sep byte, sh shape) {
	start := a.i
	after := 0 // the index after the first address in brackets
	for a.i < len(a.s) {
		switch c := a.s[a.i]; c {
		case '\\':
			a.i++
		case '"':
			if end := a.quote(a.i); end > 0 {
				sh.quoted = true
				a.i = end
				continue
			}
		case '(':
			if end := a.comment(a.i); end > 0 {
				a.i = end
				continue
			}
		case '<':
			sh.angle = true
			if k := strings.IndexAny(a.s[a.i+1:], "<>"); k >= 0 && a.s[a.i+1+k] == '>' {
				address := strings.Contains(a.s[a.i:a.i+1+k], "@")
				if address && after > 0 {
					// A second one: the comma between them is missing.
					piece, a.i = a.s[start:after], after
					return piece, ',', sh
				}
				a.i += k + 2
				if address {
					after = a.i
				}
				continue
			}
		case '@':
			sh.at = true
		case '=':
			// An encoded word may hold what separates elsewhere.
			if strings.HasPrefix(a.s[a.i:], "=?") {
				if end := a.word(a.i); end > 0 {
					a.i = end
					continue
				}
			}
		case ',', ';':
			piece = a.s[start:a.i]
			a.i++
			return piece, c, sh
		case ':':
			if !sh.at && !sh.angle && !strings.EqualFold(strings.TrimSpace(a.s[start:a.i]), "mailto") {
				piece = a.s[start:a.i]
				a.i++
				return piece, c, sh
			}
		}
		a.i++
	}
	a.i = len(a.s)
	return a.s[start:], 0, sh
}

// quote returns the index after the quoted string that begins at i, 0 if it has
// no end.
func (a *addressScanner) quote(i int) int {
	for j := i + 1; j < len(a.s) && j < i+4096; j++ {
		switch a.s[j] {
		case '\\':
			j++
		case '"':
			return j + 1
		}
	}
	return 0
}

func (a *addressScanner) comment(i int) int {
	if a.noParen {
		return 0
	}
	depth := 0
	for j := i; j < len(a.s); j++ {
		switch a.s[j] {
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
	a.noParen = true
	return 0
}

// word returns the index after the encoded word that begins at i, 0 if there is
// none.
func (a *addressScanner) word(i int) int {
	s := a.s[i:min(len(a.s), i+1000)]
	if !wordBegins(s) {
		return 0
	}
	charset, _, _ := strings.Cut(s[2:], "?")
	from := 2 + len(charset) + 3
	if from > len(s) {
		return 0
	}
	k := strings.Index(s[from:], "?=")
	if k < 0 || strings.ContainsAny(s[from:from+k], "<>@\"") && strings.ContainsAny(s[from:from+k], " \t") {
		return 0
	}
	return i + from + k + 2
}

// parseMailbox reads one mailbox; false if the text is empty.
func parseMailbox(raw, hint string) (Address, bool) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return Address{}, false
	}
	a := Address{Raw: raw}
	name, addr, comment := splitMailbox(raw)
	a.Address = cleanAddress(addr)
	a.Name = phrase(name, hint)
	if a.Name == "" && comment != "" {
		a.Name = strings.TrimSpace(decodeText(unquotePairs(comment), hint))
	}
	if a.Address == "" {
		// The whole mailbox may be inside an encoded word.
		if strings.Contains(name, "=?") {
			if i, j := strings.LastIndexByte(a.Name, '<'), strings.LastIndexByte(a.Name, '>'); i >= 0 && j > i {
				if addr := cleanAddress(a.Name[i+1 : j]); strings.Contains(addr, "@") {
					a.Address, a.Name = addr, strings.Trim(strings.TrimSpace(a.Name[:i]), `"`)
				}
			}
		}
		if a.Address == "" && a.Name == "" {
			return a, false
		}
	}
	if a.Name == a.Address {
		a.Name = ""
	}
	return a, true
}

// splitMailbox tells the parts of a mailbox apart: what is in angle brackets, or
// else the word with an @; the rest is the name.
func splitMailbox(s string) (name, addr, comment string) {
	var rest strings.Builder // s without its comments, brackets and address
	sc := addressScanner{s: s}
	found := false
	for i := 0; i < len(s); {
		switch s[i] {
		case '\\':
			rest.WriteString(s[i:min(i+2, len(s))])
			i += 2
			continue
		case '"':
			if end := sc.quote(i); end > 0 {
				if end < len(s) && s[end] == '@' {
					break // "local part"@domain
				}
				rest.WriteString(s[i:end])
				i = end
				continue
			}
		case '(':
			if end := sc.comment(i); end > 0 {
				if comment == "" {
					comment = s[i+1 : end-1]
				}
				rest.WriteByte(' ')
				i = end
				continue
			}
		case '=':
			if strings.HasPrefix(s[i:], "=?") {
				if end := sc.word(i); end > 0 {
					rest.WriteString(s[i:end])
					i = end
					continue
				}
			}
		case '<':
			end := strings.IndexAny(s[i+1:], "<>")
			inner := s[i+1:]
			next := len(s)
			if end >= 0 {
				inner, next = s[i+1:i+1+end], i+1+end
				if s[next] == '>' {
					next++
				}
			}
			switch {
			case !found && (strings.Contains(inner, "@") || addr == ""):
				addr, found = inner, strings.Contains(inner, "@")
			case !found:
				rest.WriteString(s[i:next])
			}
			rest.WriteByte(' ')
			i = next
			continue
		}
		rest.WriteByte(s[i])
		i++
	}
	name = strings.TrimSpace(rest.String())
	if found || addr != "" && !strings.Contains(name, "@") {
		return strings.Trim(name, ">"), addr, comment
	}
	// No brackets: spaces around the @ and before dots are not between words
	// (RFC 5322 4.4).
	if strings.Contains(name, "@") && !strings.Contains(name, "\"") {
		name = strings.Join(strings.Fields(name), " ")
		for _, at := range []string{" @", "@ ", " . ", " ."} {
			name = strings.ReplaceAll(name, at, strings.TrimSpace(at))
		}
	}
	var words []string
	for _, w := range splitWords(name) {
		if addr == "" && strings.Contains(w, "@") && !strings.HasPrefix(w, "=?") {
			switch u := strings.Trim(w, "\"'<>,;"); {
			case strings.HasPrefix(w, `"`) && strings.Contains(w, `"@`): // "local part"@domain
				addr = strings.TrimRight(w, "'<>,;")
				continue
			case strings.Contains(u, "@") && !strings.ContainsAny(u, " \t"):
				addr = u
				continue
			}
		}
		words = append(words, w)
	}
	return strings.Join(words, " "), addr, comment
}

// splitWords splits at white space outside of quotes.
func splitWords(s string) []string {
	var out []string
	start, quoted := -1, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case (c == ' ' || c == '\t') && !quoted:
			if start >= 0 {
				out = append(out, s[start:i])
				start = -1
			}
			continue
		case c == '"':
			quoted = !quoted
		case c == '\\':
			if start < 0 {
				start = i
			}
			i++
		}
		if start < 0 {
			start = i
		}
	}
	if start >= 0 {
		out = append(out, s[start:])
	}
	return out
}

// cleanAddress removes what is not of the address: a route (RFC 5322 4.4),
// comments, mailto:, white space, brackets.
func cleanAddress(s string) string {
	s = strings.TrimSpace(s)
	if hasPrefixFold(s, "mailto:") {
		s = s[len("mailto:"):]
	}
	if strings.HasPrefix(s, "@") {
		if i := strings.LastIndexByte(s, ':'); i >= 0 {
			s = s[i+1:]
		}
	}
	if strings.Contains(s, "(") {
		var b strings.Builder
		for i := 0; i < len(s); {
			if s[i] == '(' {
				if end := skipComment(s, i); end > i+1 {
					i = end
					continue
				}
			}
			b.WriteByte(s[i])
			i++
		}
		s = b.String()
	}
	if !strings.Contains(s, `"`) {
		s = strings.Join(strings.Fields(s), "")
	} else if strings.HasPrefix(s, `"`) && strings.HasSuffix(s, `"`) && len(s) > 1 && strings.Count(s, `"`) == 2 {
		s = strings.Trim(s, `"`)
	}
	s = rawText(s, "")
	return strings.Trim(strings.TrimSpace(s), "<>")
}

// phrase returns a display name as text: without its quotes, encoded words
// decoded, white space collapsed.
func phrase(s, hint string) string {
	s = strings.TrimSpace(s)
	if strings.Contains(s, `"`) {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
				i++
				b.WriteByte(s[i])
			case c == '"':
			default:
				b.WriteByte(c)
			}
		}
		s = b.String()
	}
	return strings.Join(strings.Fields(decodeText(s, hint)), " ")
}

func unquotePairs(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
