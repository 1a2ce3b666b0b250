package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// next lists, per state, the states an entry may move to. Staying is always
// allowed while the entry is not final.
var next = map[State][]State{
	Begun:       {Prepared, Filed, Quarantined, Vanished},
	Prepared:    {Begun, Filed, Quarantined, Vanished},
	Filed:       {Settled},
	Quarantined: {Parked, Begun, Discarded},
	Parked:      {Begun, Discarded},
}

// Allowed reports whether an entry may move from one state to another.
func Allowed(from, to State) bool {
	return from == to && !from.Final() || slices.Contains(next[from], to)
}

func quarantineID(source, folder, key string) string {
	h := sha256.New()
	for _, s := range []string{source, folder, key} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}
