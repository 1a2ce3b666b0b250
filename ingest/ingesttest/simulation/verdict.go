package simulation

import (
	"fmt"
	"slices"
	"strings"
)

// Rule is one of the things that must be true in every world.
type Rule string

const (
	Lost       Rule = "lost"       // a message is neither filed nor in quarantine
	Twice      Rule = "twice"      // a message is more than one document
	Altered    Rule = "altered"    // a document, or a copy in quarantine, has no message with its bytes
	Early      Rule = "early"      // a message was disposed of before its document was safe
	Wrong      Rule = "wrong"      // a disposition that nobody asked for
	Undone     Rule = "undone"     // recorded as disposed of, which it was not
	GivenUp    Rule = "given up"   // recorded as gone, which it was not
	Owed       Rule = "owed"       // something is owed still, after the quiet time
	Groundless Rule = "groundless" // in quarantine for no reason that the world gave
	Divided    Rule = "divided"    // ledger and repository do not agree
	Hot        Rule = "hot"        // too many operations within an hour
	Quit       Rule = "quit"       // the engine returned by itself
	Leftover   Rule = "leftover"   // something of a process outlives it
)

// Verdict is what came of a world.
type Verdict struct {
	Seed       uint64
	Violations []string      // "rule: what", in the order found, at most 20
	Rules      map[Rule]bool // those broken
	Trace      string        // the last steps that concern the first violation

	// What happened, to see that the world was not idle.
	Messages, Documents, Duplicates, Quarantined int
	Operations, Busiest, Processes               int // Busiest: most operations on a mailbox within an hour
}

// OK reports that no rule was broken.
func (v *Verdict) OK() bool { return len(v.Rules) == 0 }

// String says what is wrong, what led to it, and how to see it again.
func (v *Verdict) String() string {
	if v.OK() {
		return fmt.Sprintf("seed %d: all well: %d messages, %d documents, %d duplicates, %d quarantined, %d operations (at most %d an hour) of %d processes",
			v.Seed, v.Messages, v.Documents, v.Duplicates, v.Quarantined, v.Operations, v.Busiest, v.Processes)
	}
	return fmt.Sprintf("seed %d:\n  %s\nthe last steps about the first of them:\n%sreplay: go test ./ingest -run 'TestSimulation$' -seed %d",
		v.Seed, strings.Join(v.Violations, "\n  "), v.Trace, v.Seed)
}

// violated records that a rule is broken. About are the words by which the
// steps that concern it are found; none: those that came last. mu is held.
func (w *world) violated(r Rule, about []string, format string, args ...any) {
	v := &w.verdict
	what := string(r) + ": " + fmt.Sprintf(format, args...)
	if v.Rules == nil {
		v.Rules = make(map[Rule]bool)
		v.Trace = w.trace.about(about)
	}
	v.Rules[r] = true
	if len(v.Violations) < 20 && !slices.Contains(v.Violations, what) {
		v.Violations = append(v.Violations, what)
	}
}
