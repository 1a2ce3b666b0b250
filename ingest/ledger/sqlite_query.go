package ledger

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// entriesQuery returns the query for [Reader.Entries]. Each of its parts reads
// one index, which it names, so that none reads the whole table unless q selects
// it: with a million entries settled, a few are looked at.
func entriesQuery(q Query) (query string, args []any) {
	filter, filterArgs := entriesFilter(q)
	var parts []string
	for _, p := range entriesParts(q) {
		parts = append(parts, "SELECT "+entryColumns+" FROM "+indexedEntries(p.index)+" WHERE "+p.where+filter)
		args = append(args, filterArgs...)
	}
	query = strings.Join(parts, " UNION ALL ")
	if q.Limit > 0 {
		return "SELECT * FROM (" + query + " ORDER BY 22 DESC, 23 DESC LIMIT " + strconv.Itoa(q.Limit) + ") ORDER BY 22, 23", args
	}
	return query + " ORDER BY 22, 23", args
}

// part is the index to read and what its rows have in common.
type part struct{ index, where string }

func entriesParts(q Query) []part {
	switch {
	case q.QuarantineID != "":
		return []part{{"entries_quarantine", "e.quarantine IS NOT NULL"}}
	case !q.Since.IsZero():
		return []part{{"entries_outcome", "e.outcome IS NOT NULL AND e.source IN (SELECT id FROM sources)"}}
	}
	open := part{"entries_open", "e.state < 10"}
	final := part{"entries_final", "e.state >= 10"}
	if q.Source != "" {
		final.index = "entries_final_source"
	}
	if len(q.States) == 0 {
		return []part{open, final}
	}
	var parts []part
	if slices.ContainsFunc(q.States, func(s State) bool { return !s.Final() }) {
		parts = append(parts, open)
	}
	if slices.ContainsFunc(q.States, func(s State) bool { return s.Final() && s != Parked }) {
		return append(parts, final)
	}
	if slices.Contains(q.States, Parked) {
		return append(parts, part{"entries_quarantine", "e.quarantine IS NOT NULL AND e.state >= 10"})
	}
	return parts
}

// documentsQuery returns the query for [Reader.Documents].
func documentsQuery(q DocumentQuery) (query string, args []any) {
	query = documentColumns
	if q.Forgotten {
		query = tombstoneColumns
	} else if q.Refiling {
		query = refilingColumns
	}
	query += " WHERE d.id > ?"
	args = append(args, q.After)
	if q.Source != "" {
		query += " AND s.name = ?"
		args = append(args, q.Source)
	}
	if q.IDPrefix != "" {
		query += " AND d.id >= ?"
		args = append(args, q.IDPrefix)
		if end := prefixEnd(q.IDPrefix); end != "" {
			query += " AND d.id < ?"
			args = append(args, end)
		}
	}
	query += " ORDER BY d.id"
	if q.Limit > 0 {
		query += " LIMIT " + strconv.Itoa(q.Limit)
	}
	return query, args
}

// prefixEnd returns the first text after all that begin with the prefix, the
// empty one if there is none.
func prefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return string(b[:i+1])
		}
	}
	return ""
}

// entriesFilter returns the conditions of q, to be added to those of a part.
func entriesFilter(q Query) (filter string, args []any) {
	if q.Source != "" {
		filter += " AND e.source = (SELECT id FROM sources WHERE name = ?)"
		args = append(args, q.Source)
	}
	if len(q.States) > 0 {
		codes := make([]string, len(q.States))
		for i, s := range q.States {
			codes[i] = strconv.FormatInt(stateCode(s), 10)
		}
		filter += " AND e.state IN (" + strings.Join(codes, ", ") + ")"
	}
	if !q.Since.IsZero() {
		filter += " AND e.outcome >= ?"
		args = append(args, q.Since.UnixMicro())
	}
	if q.QuarantineID != "" {
		id, err := hex.DecodeString(q.QuarantineID)
		if err != nil {
			id = []byte{} // which is none
		}
		filter += " AND e.quarantine = ?"
		args = append(args, id)
	}
	return filter, args
}
