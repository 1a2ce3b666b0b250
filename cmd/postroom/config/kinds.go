package config

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/mail"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"regexp/syntax"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postroom/ingest/document"
	"postroom/internal/secret"
	"postroom/sources"
)

// kind is what a scalar may be.
type kind struct {
	// allowed says so to a person.
	allowed string
	// pattern is a regular expression that every value matches, for editors;
	// may be empty.
	pattern string
	// scalars are the YAML scalars that a value may be written as.
	scalars []nodeKind
	// lines: the value may hold control characters.
	lines bool
	// file: the value is the path of a file or folder.
	file bool
	// read looks at what is at the path, and says in a verb phrase what is wrong
	// with it; nil if nothing is read beforehand.
	read func(path string) error
	// parse returns the value of a text, in the type of the field or string.
	// Its error is a verb phrase that says what is wrong with the text.
	parse func(text, dir string) (any, error)
}

// kindOf returns the kind of a field: the one named, or that of its type.
func kindOf(name string, typ reflect.Type) (kind, bool) {
	k, ok := kindNamed(cmp.Or(name, kindOfType(typ)))
	if k.scalars == nil {
		k.scalars = []nodeKind{textNode}
	}
	return k, ok
}

func kindOfType(typ reflect.Type) string {
	switch typ {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[time.Time]():
		return "date"
	case reflect.TypeFor[*regexp.Regexp]():
		return "regexp"
	case reflect.TypeFor[secret.Value]():
		return "secret"
	}
	switch typ.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "bool"
	case reflect.Int:
		return "int"
	}
	return ""
}

func kindNamed(name string) (kind, bool) {
	switch name {
	case "text":
		return kind{allowed: "a text", parse: parseText}, true
	case "credentials":
		return kind{allowed: "a name under credentials", parse: parseText}, true
	case "secret":
		return kind{allowed: "a secret, best as ${env:NAME} or ${file:PATH}", parse: parseText, lines: true}, true
	case "bool":
		return kind{allowed: "true or false", scalars: []nodeKind{boolNode}, parse: parseBool}, true
	case "int":
		return kind{allowed: "a whole number", scalars: []nodeKind{numberNode}, parse: parseInt}, true
	case "duration":
		return kind{
			allowed: "a duration such as 30s, 5m, 1h30m or 1d",
			pattern: `^([0-9]+d)?([0-9]+(\.[0-9]+)?(ms|s|m|h))+$|^[0-9]+d$`,
			parse:   parseDuration,
		}, true
	case "date":
		return kind{
			allowed: "a date such as 2024-01-31, or a time such as 2024-01-31T08:00:00Z",
			pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt].+)?$`,
			parse:   parseDate,
		}, true
	case "size":
		return kind{
			allowed: "a size such as 150MB, in B, kB, MB, GB (powers of 1000) or KiB, MiB, GiB (powers of 1024)",
			pattern: `^[0-9]+ ?([kK]?B|[MG]B|[KMG]iB)?$`,
			scalars: []nodeKind{textNode, numberNode},
			parse:   parseSize,
		}, true
	case "path":
		return kind{allowed: "a path", parse: parsePath, file: true}, true
	case "certificates":
		return kind{allowed: "a file of PEM certificates that postroom can read", parse: parsePath, file: true, read: readCertificates}, true
	case "folder":
		return kind{allowed: "a folder such as Inbox/Filed; a slash inside a name is %2F, a percent sign %25", pattern: `^[^*]+$`, parse: parseFolder}, true
	case "pattern":
		return kind{allowed: "a folder such as Inbox/Sub or a pattern such as \"Inbox/**\"; a slash inside a name is %2F, a percent sign %25", parse: parsePattern}, true
	case "hostport":
		return kind{allowed: "a host name such as mail.example.com or an IP address, with or without :PORT", pattern: hostPattern, parse: parseHost}, true
	case "listen":
		return kind{allowed: "an address and a port, such as 127.0.0.1:8460", pattern: `^[^\s/@]*:[0-9]+$`, parse: parseListen}, true
	case "url":
		return kind{allowed: "a URL such as http://proxy.example.com:3128", pattern: `^([Hh][Tt][Tt][Pp][Ss]?|[Ss][Oo][Cc][Kk][Ss]5)://`, parse: parseURL("http", "https", "socks5")}, true
	case "https":
		return kind{allowed: "a URL that begins with https://", pattern: `^[Hh][Tt][Tt][Pp][Ss]://`, parse: parseHTTPS}, true
	case "glob":
		return kind{allowed: "a pattern of text, * and ?", parse: parseText}, true
	case "mask":
		return kind{allowed: "a pattern of text, * and ?, of the whole text", parse: parseMask}, true
	case "regexp":
		return kind{allowed: "a regular expression in RE2 syntax", parse: parseRegexp}, true
	case "template":
		return kind{allowed: "a text in which {WORD} stands for what the message says, and {{ for a brace; words: " + readAllowed(document.TitleWords()), parse: parseTemplate}, true
	case "read":
		return kind{allowed: readAllowed(document.Words()), pattern: "^(" + strings.Join(document.Words(), "|") + `|header:[!-9;-~]+)$`, parse: parseRead}, true
	case "name":
		return kind{allowed: "letters, digits, - and _, at most 63, beginning with a letter or digit, and no Windows device name", pattern: namePattern, parse: parseName}, true
	case "address":
		return kind{allowed: "a mail address such as office@example.com", pattern: `^[^\s@]+@[^\s@]+$`, parse: parseAddress}, true
	case "guid":
		return kind{allowed: "an id such as 11111111-1111-1111-1111-111111111111", pattern: guidPattern, parse: parseGUID}, true
	case "ledger":
		return kind{allowed: "sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE", pattern: `^(sqlite:|postgres(ql)?://).`, parse: parseLedger}, true
	}
	return kind{}, false
}

const (
	hostPattern = `^(\[[0-9A-Fa-f:.]+(%[^\s\]]+)?\](:[0-9]{1,5})?|[0-9A-Fa-f.]*(:[0-9A-Fa-f.]*){2,}(%\S+)?|[A-Za-z0-9_][A-Za-z0-9_.-]*(:[0-9]{1,5})?)$`
	namePattern = `^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`
	guidPattern = `^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`
)

var (
	nameExpression = regexp.MustCompile(namePattern)
	guidExpression = regexp.MustCompile(guidPattern)
)

func parseText(s, _ string) (any, error) { return s, nil }

func parseBool(s, _ string) (any, error) {
	switch strings.ToLower(s) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return nil, errors.New("is neither")
}

func parseInt(s, _ string) (any, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return nil, errors.New("is no whole number, or too large")
	}
	return n, nil
}

// parseDuration is time.ParseDuration with whole days before the rest.
func parseDuration(s, _ string) (any, error) {
	const day, most = 24 * time.Hour, 36500
	var days int
	rest := s
	if head, tail, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.Atoi(head)
		if err != nil || n < 0 || n > most || s[0] == '+' {
			return nil, errors.New("is not a duration")
		}
		days, rest = n, cmp.Or(tail, "0")
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d > most*day {
		if _, err := strconv.ParseFloat(s, 64); err == nil {
			return nil, errors.New("has no unit")
		}
		return nil, errors.New("is not a duration")
	}
	return time.Duration(days)*day + d, nil
}

func parseDate(s, _ string) (any, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return nil, errors.New("is not a date")
}

func parseSize(s, _ string) (any, error) {
	digits := strings.TrimRightFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	factor, ok := unit(strings.TrimPrefix(s[len(digits):], " "))
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 1 || n > 1<<62/factor {
		return nil, errors.New("is not a size")
	}
	return n * factor, nil
}

func unit(s string) (bytes int64, ok bool) {
	switch s {
	case "", "B":
		return 1, true
	case "kB", "KB":
		return 1e3, true
	case "MB":
		return 1e6, true
	case "GB":
		return 1e9, true
	case "KiB":
		return 1 << 10, true
	case "MiB":
		return 1 << 20, true
	case "GiB":
		return 1 << 30, true
	}
	return 0, false
}

func parsePath(s, dir string) (any, error) {
	if s == "" {
		return "", nil
	}
	if err := checkPath(s, runtime.GOOS == "windows"); err != nil {
		return nil, err
	}
	return absolute(s, dir), nil
}

// maxCertificates is the size in bytes beyond which a file of certificates is
// refused; that of a system has some 300 KiB.
const maxCertificates = 16 << 20

func readCertificates(path string) error {
	pem, _, err := readFile(path, maxCertificates)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil // only what it is for fails with it, when it is opened
	case err != nil:
		return fmt.Errorf("names a file that cannot be read: %w", reason(err))
	case len(pem) > maxCertificates:
		return fmt.Errorf("names a file that is larger than %d MiB", maxCertificates>>20)
	case !x509.NewCertPool().AppendCertsFromPEM(pem):
		return errors.New("names a file that holds no PEM certificate (-----BEGIN CERTIFICATE-----)")
	}
	return nil
}

var urlScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]+://|^(?i:file|https?):`)

// checkPath refuses what the system would take for the name of something in the
// configuration's folder, although it means something else to a person. The
// error is a verb phrase.
func checkPath(s string, windows bool) error {
	slashed := func(c byte) bool { return c == '/' || c == '\\' }
	drive := len(s) >= 2 && s[1] == ':' && (s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z')
	switch {
	case s == "~" || strings.HasPrefix(s, "~/") || strings.HasPrefix(s, `~\`):
		return errors.New("begins with ~, which only a shell understands")
	case urlScheme.MatchString(s):
		return errors.New("is a URL, not a path")
	case !windows && (drive || strings.Contains(s, `\`) && !strings.Contains(s, "/")):
		return errors.New("is a Windows path; this system separates folders by / and has no drives")
	case windows && drive && (len(s) == 2 || !slashed(s[2])):
		return errors.New("has no slash after its drive")
	case windows && slashed(s[0]) && (len(s) == 1 || !slashed(s[1])):
		return errors.New("begins with a slash but has no drive")
	case windows && strings.LastIndexByte(s, ':') > 1, windows && !drive && strings.Contains(s, ":"):
		return errors.New("holds a colon, which no name on Windows can")
	}
	return nil
}

func parseFolder(s, _ string) (any, error) {
	if strings.Contains(s, "*") {
		return nil, errors.New("holds an asterisk, but it names one folder; an asterisk in a name is %2A")
	}
	if _, err := sources.ParsePath(s); err != nil {
		return nil, fmt.Errorf("is no folder path: %s", strings.TrimPrefix(err.Error(), fmt.Sprintf("parse folder path %q: ", s)))
	}
	return s, nil
}

func parsePattern(s, _ string) (any, error) {
	if _, err := sources.ParsePattern(s); err != nil {
		return nil, fmt.Errorf("is no folder pattern: %s", strings.TrimPrefix(err.Error(), fmt.Sprintf("parse folder pattern %q: ", s)))
	}
	return s, nil
}

func parseHost(s, _ string) (any, error) {
	if _, _, err := splitHost(s); err != nil {
		return nil, err
	}
	return s, nil
}

func parseListen(s, _ string) (any, error) {
	rest := s
	if strings.HasPrefix(s, ":") {
		// Every address of this machine.
		rest = "[::]" + s
	}
	_, port, err := splitHost(rest)
	if err == nil && port == "" {
		err = errors.New("has no port")
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

var (
	hostExpression = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$`)
	endsInNumber   = regexp.MustCompile(`(^|\.)[0-9]+\.?$`)
)

// splitHost returns the host of a server and its port, "" for none. The host is
// an IP address, one of IPv6 in brackets where a port follows, or a host name
// (RFC 1123 2.1, with underscores, which are in use). The error is a verb
// phrase.
func splitHost(s string) (host, port string, err error) {
	switch {
	case strings.Contains(s, "://"):
		return "", "", errors.New("is a URL")
	case strings.Contains(s, "@"):
		return "", "", errors.New("holds a user name or an address; who signs in is said under credentials")
	case strings.ContainsAny(s, `/\`):
		return "", "", errors.New("holds a path")
	case strings.ContainsAny(s, "?#=&;"):
		return "", "", errors.New("holds settings, which have keys of their own")
	case strings.ContainsFunc(s, unicode.IsSpace):
		return "", "", errors.New("holds a space")
	case strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII }):
		return "", "", errors.New("holds letters beyond ASCII; write the name as in DNS, beginning with xn--")
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return s, "", nil
	}
	host, port, hasPort := s, "", false
	if rest, ok := strings.CutPrefix(s, "["); ok {
		inner, after, closed := strings.Cut(rest, "]")
		ip, err := netip.ParseAddr(inner)
		if !closed || err != nil || ip.Is4() || after != "" && after[0] != ':' {
			return "", "", errors.New("has brackets that do not hold an IPv6 address")
		}
		host = inner
		port, hasPort = strings.CutPrefix(after, ":")
	} else {
		if strings.Count(s, ":") > 1 {
			return "", "", errors.New("is no IPv6 address")
		}
		host, port, hasPort = strings.Cut(s, ":")
		switch {
		case host == "":
			return "", "", errors.New("has no host name")
		case len(host) > 253 || !hostExpression.MatchString(host):
			return "", "", errors.New("is not a host name: letters, digits, hyphens and dots, no hyphen at either end of a part")
		case endsInNumber.MatchString(host):
			if _, err := netip.ParseAddr(host); err != nil {
				return "", "", errors.New("is no IP address")
			}
		}
	}
	if hasPort && !isPort(port) {
		return "", "", errors.New("has no port from 1 to 65535 after the colon")
	}
	return host, port, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n >= 1
}

func parseURL(schemes ...string) func(s, _ string) (any, error) {
	return func(s, _ string) (any, error) {
		if s == "" {
			return "", nil
		}
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
			return nil, errors.New("is not such a URL")
		}
		if _, _, err := splitHost(u.Host); err != nil {
			return nil, fmt.Errorf("is a URL whose host %w", err)
		}
		return s, nil
	}
}

// parseHTTPS is parseURL for a service, which takes no user name there.
func parseHTTPS(s, dir string) (any, error) {
	value, err := parseURL("https")(s, dir)
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(s); err == nil && (u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		return nil, errors.New("holds a user name, a query or a fragment")
	}
	return value, nil
}

func parseRegexp(s, _ string) (any, error) {
	re, err := regexp.Compile(s)
	if err != nil {
		var syntaxError *syntax.Error
		if errors.As(err, &syntaxError) {
			return nil, errors.New("has a syntax error: " + syntaxError.Code.String())
		}
		return nil, errors.New("has a syntax error")
	}
	return re, nil
}

// readAllowed says what the words for what can be read from a message are.
func readAllowed(words []string) string { return strings.Join(words, ", ") + ", header:NAME" }

// checkRead refuses what is neither one of the words nor header:NAME. The error
// is a verb phrase.
func checkRead(s string, words []string) error {
	switch name, isField := strings.CutPrefix(s, "header:"); {
	case isField && name == "":
		return errors.New("has no name of a header field after the colon")
	case isField && !isFieldName(name):
		return errors.New("has no name of a header field after the colon, but what holds spaces, colons or letters beyond ASCII")
	case isField, slices.Contains(words, s):
		return nil
	case strings.HasPrefix(strings.ToLower(s), "header:"):
		return errors.New("begins with header: in capital letters")
	}
	return fmt.Errorf("is not a word for what can be read from a message%s", suggest(s, words))
}

// isFieldName reports whether s is the name of a header field, RFC 5322 2.2.
func isFieldName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' })
}

func parseRead(s, _ string) (any, error) {
	if err := checkRead(s, document.Words()); err != nil {
		return nil, err
	}
	return s, nil
}

func parseTemplate(s, _ string) (any, error) {
	words, err := templateWords(s)
	if err != nil {
		return nil, err
	}
	for _, word := range words {
		if slices.Contains(document.Words(), word) && !slices.Contains(document.TitleWords(), word) {
			return nil, errors.New("has a word in braces that is for properties alone")
		}
		if err := checkRead(word, document.TitleWords()); err != nil {
			return nil, fmt.Errorf("has a text in braces that %w", err)
		}
	}
	return s, nil
}

// maxGlob is how many characters a glob has at most, which bounds the time that
// a message takes.
const maxGlob = 1000

func parseMask(s, _ string) (any, error) {
	if utf8.RuneCountInString(s) > maxGlob {
		return nil, fmt.Errorf("has more than %d characters", maxGlob)
	}
	return s, nil
}

// templateWords returns what stands in braces.
func templateWords(s string) ([]string, error) {
	var words []string
	for {
		i := strings.IndexAny(s, "{}")
		switch {
		case i < 0:
			return words, nil
		case strings.HasPrefix(s[i:], "{{") || strings.HasPrefix(s[i:], "}}"):
			s = s[i+2:]
		default:
			word, rest, closed := strings.Cut(s[i+1:], "}")
			if s[i] == '}' || !closed {
				return nil, errors.New("has a brace without its other half")
			}
			words, s = append(words, word), rest
		}
	}
}

func parseName(s, _ string) (any, error) {
	if !nameExpression.MatchString(s) {
		return nil, errors.New("is not a name")
	}
	// As in package filename; the others of Microsoft's are no names here.
	upper := strings.ToUpper(s)
	if slices.Contains([]string{"CON", "PRN", "AUX", "NUL"}, upper) ||
		len(upper) == 4 && (upper[:3] == "COM" || upper[:3] == "LPT") && upper[3] >= '0' && upper[3] <= '9' {
		return nil, errors.New("is a Windows device name")
	}
	return s, nil
}

func parseAddress(s, _ string) (any, error) {
	address, err := mail.ParseAddress(s)
	if err != nil || address.Address != s {
		return nil, errors.New("is not a mail address")
	}
	return s, nil
}

func parseGUID(s, _ string) (any, error) {
	if !guidExpression.MatchString(s) {
		return nil, errors.New("is not an id")
	}
	return s, nil
}

func parseLedger(s, dir string) (any, error) {
	if path, ok := strings.CutPrefix(s, "sqlite:"); ok {
		switch {
		case path == "":
			return nil, errors.New("has no path")
		case strings.HasPrefix(path, "//"):
			return nil, errors.New("is a URL; after sqlite: comes a path")
		}
		path, err := parsePath(path, dir)
		if err != nil {
			return nil, err
		}
		return "sqlite:" + path.(string), nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("is not a ledger")
	}
	return s, nil
}

// controlCharacter names the first control character of s, or returns "".
func controlCharacter(s string) string {
	i := strings.IndexFunc(s, unicode.IsControl)
	if i < 0 {
		return ""
	}
	switch s[i] {
	case '\t':
		return "a tab"
	case '\n':
		return "a line feed"
	case '\r':
		return "a carriage return"
	}
	return "a control character"
}
