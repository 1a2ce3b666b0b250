package dovecot

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
)

// encodeName encodes a folder name as Maildir++ keeps it: modified UTF-7
// (RFC 3501 5.1.3).
func encodeName(name string) string {
	coding := base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)
	var (
		out   strings.Builder
		other []rune
	)
	flush := func() {
		if len(other) == 0 {
			return
		}
		var bytes []byte
		for _, unit := range utf16.Encode(other) {
			bytes = append(bytes, byte(unit>>8), byte(unit))
		}
		out.WriteString("&" + coding.EncodeToString(bytes) + "-")
		other = nil
	}
	for _, r := range name {
		if r < 0x20 || r > 0x7e {
			other = append(other, r)
			continue
		}
		flush()
		if r == '&' {
			out.WriteString("&-")
		} else {
			out.WriteRune(r)
		}
	}
	flush()
	return out.String()
}
