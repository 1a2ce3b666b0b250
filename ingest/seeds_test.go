//go:build !race

package ingest_test

// How many worlds are played, and how often some of them are played again.
const (
	defaultSeeds = 1000
	replays      = 20
)
