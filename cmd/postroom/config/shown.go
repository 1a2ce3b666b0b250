package config

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a message shows of a configuration is decided here and nowhere else. A
// value is never shown, whatever its key and whatever is wrong with it: a secret
// may stand in any place by mistake, and the position says where it is. Shown are
// names alone, and of those only what has the shape of one: keys, credentials,
// variables of the environment, and files.

var (
	keyShape        = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]{0,39}$`)
	credentialShape = regexp.MustCompile(`^[\pL\pN][\pL\pN ._-]{0,62}$`)
	variableShape   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.()-]{0,99}$`)
	fileShape       = regexp.MustCompile(`^([A-Za-z]:)?[\pL\pM\pN ._~()+/\\-]{1,200}$`)
)

// shownKey is the key of the mapping in quotes, after a space. One that is not
// known is left out where the mapping has a key for a secret, since a secret
// that holds a comma or a colon looks like a key.
func shownKey(key string, o *object) string {
	if o != nil && o.byName[key] == nil && o.secrets || !keyShape.MatchString(key) {
		return ""
	}
	return ` "` + key + `"`
}

// shownVariable is the name of a variable of the environment, after a space.
func shownVariable(name string) string { return bare(name, variableShape) }

// shownFile is the path of a file as it is written, after a space.
func shownFile(path string) string { return bare(path, fileShape) }

func bare(name string, shape *regexp.Regexp) string {
	if !shape.MatchString(name) {
		return ""
	}
	return " " + name
}

// shownCredentials is the name of credentials as an argument of a command.
func shownCredentials(name string) string {
	switch {
	case !isShownName(name):
		return "NAME"
	case strings.Contains(name, " "):
		return `"` + name + `"`
	}
	return name
}

// isShownName reports whether the name of credentials may be shown.
func isShownName(name string) bool { return credentialShape.MatchString(name) }

// withoutValues returns the message of a driver, or another in its place if it
// quotes one of the values, whole.
func withoutValues(message, key string, values []string) string {
	for _, value := range values {
		if quotes(message, value) {
			if key == "" {
				return "refused; check the values of this entry"
			}
			return key + ": the value does not fit; see what the key takes"
		}
	}
	return message
}

// quotes reports whether the message holds the value, plain or as %q prints it,
// and not as a part of a word.
func quotes(message, value string) bool {
	const least = 4 // a shorter one is in any message by chance
	if len(value) < least {
		return false
	}
	escaped := strconv.Quote(value)
	for _, text := range []string{value, escaped[1 : len(escaped)-1]} {
		for rest := message; ; {
			before, after, found := strings.Cut(rest, text)
			if !found {
				break
			}
			last, _ := utf8.DecodeLastRuneInString(before)
			next, _ := utf8.DecodeRuneInString(after)
			if !isWord(last) && !isWord(next) {
				return true
			}
			rest = after
		}
	}
	return false
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }
