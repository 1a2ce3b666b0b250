//go:build race

package ingest_test

// How many worlds are played, and how often some of them are played again: fewer,
// for they take several times as long with the race detector.
const (
	defaultSeeds = 150
	replays      = 5
)
