package imap

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"postroom/sources"
)

// covered is what a cursor says: which messages of a folder have been listed.
//
// As text it is "UIDVALIDITY;SET" and, for servers where asking for the set is
// costly, ";UIDNEXT,EXISTS,TIME": the counters at the last full listing, of
// which nothing was left over, and when it was (Unix seconds).
type covered struct {
	validity uint32
	set      goimap.UIDSet
	// next and exists are 0 if a listing left something over.
	next     goimap.UID
	exists   uint32
	searched time.Time
}

func (c covered) cursor() sources.Cursor {
	text := strconv.FormatUint(uint64(c.validity), 10) + ";" + c.set.String()
	if !c.searched.IsZero() {
		text += fmt.Sprintf(";%d,%d,%d", c.next, c.exists, c.searched.Unix())
	}
	return sources.Cursor(text)
}

// parseCursor reads a cursor. One that cannot be read covers nothing.
func parseCursor(cursor sources.Cursor) covered {
	parts := strings.Split(string(cursor), ";")
	if len(parts) != 2 && len(parts) != 3 {
		return covered{}
	}
	validity, err := strconv.ParseUint(parts[0], 10, 32)
	if err != nil {
		return covered{}
	}
	set, err := parseSet(parts[1])
	if err != nil {
		return covered{}
	}
	c := covered{validity: uint32(validity), set: set}
	if len(parts) == 2 {
		return c
	}
	var numbers [3]int64
	fields := strings.Split(parts[2], ",")
	if len(fields) != len(numbers) {
		return c
	}
	for i, field := range fields {
		if numbers[i], err = strconv.ParseInt(field, 10, 64); err != nil || numbers[i] < 0 {
			return c
		}
	}
	c.next, c.exists, c.searched = goimap.UID(numbers[0]), uint32(numbers[1]), time.Unix(numbers[2], 0)
	return c
}
