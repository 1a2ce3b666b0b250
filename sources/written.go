package sources

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// InConfiguration returns the value of a key folders that selects the folder,
// of which the server's path is given as the driver tells it, and no other.
func InConfiguration(path string) (string, error) {
	parsed, err := ParsePath(path)
	if err != nil {
		return "", err
	}
	if _, err := ParsePattern(parsed.Pattern()); err != nil {
		return "", err
	}
	// What would be a reference.
	return strings.ReplaceAll(parsed.Pattern(), "${", "$${"), nil
}

// plainYAML matches text that is a YAML string as it stands, in a list of either
// style, and notText what would be another value all the same.
var (
	plainYAML = regexp.MustCompile(`^\pL[\pL\pN /&()._%+$-]*[\pL\pN)/_%+$-]$|^\pL$`)
	notText   = regexp.MustCompile(`^(?i:true|false|yes|no|on|off|y|n|null)$`)
)

// YAML returns the text as a YAML string.
func YAML(s string) string {
	if plainYAML.MatchString(s) && !notText.MatchString(s) {
		return s
	}
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	return `"` + b.String() + `"`
}
