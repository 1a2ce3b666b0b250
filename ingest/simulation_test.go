package ingest_test

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"

	"postroom/ingest/ingesttest/simulation"
)

var (
	oneSeed   = flag.Int64("seed", -1, "the seed that TestSimulation plays, instead of many")
	firstSeed = flag.Uint64("first-seed", 0, "the first of the seeds that TestSimulation plays")
	seeds     = flag.Uint64("seeds", defaultSeeds, "how many seeds TestSimulation plays")
)

// play plays the world of a seed.
func play(t *testing.T, seed uint64, m simulation.Mistake) (v *simulation.Verdict) {
	t.Helper()
	dir := t.TempDir()
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("seed %d: %v", seed, r)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		var err error
		if v, err = simulation.Run(seed, m, dir); err != nil {
			t.Fatal(err)
		}
	})
	return v
}

// TestSimulation lets the engine live through worlds drawn from seeds.
func TestSimulation(t *testing.T) {
	if *oneSeed >= 0 {
		v := play(t, uint64(*oneSeed), "")
		t.Log(v)
		if !v.OK() {
			t.Fail()
		}
		return
	}
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if v := play(t, seed, ""); !v.OK() {
				t.Error(v)
			}
		})
	}
}

// TestSimulationNoticesMistakes shows that the verdict is worth something: in
// worlds that make a mistake on purpose it is not long before it is noticed.
func TestSimulationNoticesMistakes(t *testing.T) {
	const within = 20
	for _, m := range simulation.Mistakes() {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(within) {
				if v := play(t, seed, m); !v.OK() {
					t.Logf("seed %d: %s", seed, v.Violations[0])
					return
				}
			}
			t.Errorf("not noticed in %d worlds", within)
		})
	}
}

// TestSimulationReplays shows that a seed brings the same end every time, in
// sound worlds and in those that make a mistake.
func TestSimulationReplays(t *testing.T) {
	for seed, m := range map[uint64]simulation.Mistake{
		1: "", 2: "", 3: simulation.LosesDocument, 4: simulation.SaysGone, 5: simulation.OwesNothing,
	} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			for range replays {
				if v := play(t, seed, m); v.OK() != (m == "") {
					t.Fatal(v)
				}
			}
		})
	}
}
