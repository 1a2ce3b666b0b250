package simulation

import (
	"hash/fnv"
	"math/rand/v2"
)

// dice draws all that happens by chance. What it draws depends on the seed, a
// name, and how often that name was drawn before, and on nothing else: in
// whatever order goroutines run, the third try to settle a message meets the
// same fate.
type dice struct {
	seed  uint64
	drawn map[string]uint64
}

func newDice(seed uint64) *dice { return &dice{seed: seed, drawn: make(map[string]uint64)} }

// draw returns the chances of the next event of that name.
func (d *dice) draw(name string) *rand.Rand {
	n := d.drawn[name]
	d.drawn[name] = n + 1
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(mix(d.seed), mix(h.Sum64()+n*0x9e3779b97f4a7c15)))
}

// mix spreads what differs in few bits over all of them (splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// pick returns one of the choices.
func pick[T any](r *rand.Rand, choices ...T) T { return choices[r.IntN(len(choices))] }
