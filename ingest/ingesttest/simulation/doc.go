// Package simulation lets the engine live through days of trouble in a world
// that is drawn from one seed, and judges what has become of every message.
//
// A world has a few mailboxes, a repository and a ledger. Mail arrives, is moved
// and removed by people; folders are renumbered, hidden and deleted; servers,
// repository and ledger fail before an effect, after it, or for a day; the
// process dies at any step, is stopped, and starts again with another
// configuration; people retry and discard what is in quarantine. After that
// comes a quiet time without faults, at the end of which everything must be
// filed. [Run] plays one world and returns the [Verdict].
//
// It runs in a bubble of testing/synctest, so that the engine's own timers,
// back-offs and goroutines work, on time that costs nothing. The fate of an
// operation is drawn from the seed, its name and how often it was done (see
// dice), so that a seed brings the same faults however goroutines interleave.
// The engine's own jitter is not drawn from the seed.
package simulation
