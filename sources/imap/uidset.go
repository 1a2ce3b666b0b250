package imap

import (
	"fmt"
	"strconv"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
)

// The sets here are sorted ranges without overlap that hold neither 0 nor "*",
// as the IMAP client builds them.

// count returns the number of UIDs in the set.
func count(set goimap.UIDSet) uint64 {
	var n uint64
	for _, r := range set {
		n += uint64(r.Stop) - uint64(r.Start) + 1
	}
	return n
}

// minus returns the UIDs of a that are not in b.
func minus(a, b goimap.UIDSet) goimap.UIDSet {
	var diff goimap.UIDSet
	j := 0
	for _, r := range a {
		start := uint64(r.Start)
		for j < len(b) && b[j].Stop < r.Start {
			j++
		}
		for k := j; k < len(b) && b[k].Start <= r.Stop; k++ {
			if uint64(b[k].Start) > start {
				diff = append(diff, goimap.UIDRange{Start: goimap.UID(start), Stop: b[k].Start - 1})
			}
			start = max(start, uint64(b[k].Stop)+1)
		}
		if start <= uint64(r.Stop) {
			diff = append(diff, goimap.UIDRange{Start: goimap.UID(start), Stop: r.Stop})
		}
	}
	return diff
}

// split returns the first n UIDs of the set, and the others.
func split(set goimap.UIDSet, n int) (head, tail goimap.UIDSet) {
	left := uint64(n)
	for i, r := range set {
		size := uint64(r.Stop) - uint64(r.Start) + 1
		if size <= left {
			head = append(head, r)
			left -= size
			continue
		}
		if left > 0 {
			middle := goimap.UID(uint64(r.Start) + left)
			head = append(head, goimap.UIDRange{Start: r.Start, Stop: middle - 1})
			tail = append(tail, goimap.UIDRange{Start: middle, Stop: r.Stop})
		} else {
			tail = append(tail, r)
		}
		return head, append(tail, set[i+1:]...)
	}
	return head, nil
}

// each calls f for each UID of the set, in ascending order.
func each(set goimap.UIDSet, f func(goimap.UID)) {
	for _, r := range set {
		for uid := uint64(r.Start); uid <= uint64(r.Stop); uid++ {
			f(goimap.UID(uid))
		}
	}
}

// parseSet reads a set as String writes it, without "*".
func parseSet(s string) (goimap.UIDSet, error) {
	var set goimap.UIDSet
	if s == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, ":")
		if !isRange {
			to = from
		}
		start, err := strconv.ParseUint(from, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("parse UID set: %w", err)
		}
		stop, err := strconv.ParseUint(to, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("parse UID set: %w", err)
		}
		if start == 0 || stop < start {
			return nil, fmt.Errorf("parse UID set: %q is no range", part)
		}
		set.AddRange(goimap.UID(start), goimap.UID(stop))
	}
	return set, nil
}

// chunks cuts the set into pieces of at most n UIDs whose text is at most 4,000
// bytes long, so that no command line is too long for a server (RFC 7162 4).
func chunks(set goimap.UIDSet, n int) []goimap.UIDSet {
	// The longest range takes 22 bytes with its comma.
	const ranges = 4000 / 22
	var all []goimap.UIDSet
	for len(set) > 0 {
		var head goimap.UIDSet
		head, set = split(set, n)
		for len(head) > ranges {
			all = append(all, head[:ranges])
			head = head[ranges:]
		}
		all = append(all, head)
	}
	return all
}
