package imap

import (
	"fmt"
	"strconv"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
)

// key identifies a message in its folder for ever (RFC 9051 2.3.1.1).
type key struct {
	validity uint32
	uid      goimap.UID
}

func (k key) String() string {
	return strconv.FormatUint(uint64(k.validity), 10) + "/" + strconv.FormatUint(uint64(k.uid), 10)
}

func parseKey(s string) (key, error) {
	before, after, _ := strings.Cut(s, "/")
	validity, err := strconv.ParseUint(before, 10, 32)
	if err != nil {
		return key{}, fmt.Errorf("parse key %q: %w", s, err)
	}
	uid, err := strconv.ParseUint(after, 10, 32)
	if err != nil {
		return key{}, fmt.Errorf("parse key %q: %w", s, err)
	}
	if validity == 0 || uid == 0 {
		return key{}, fmt.Errorf("parse key %q: neither number may be 0", s)
	}
	return key{uint32(validity), goimap.UID(uid)}, nil
}
