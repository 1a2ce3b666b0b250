package faultnet

import (
	"math/rand/v2"
	"time"
)

// A Fault is what befalls a connection at a point of one direction.
type Fault int

const (
	// None lets the direction be.
	None Fault = iota
	// FIN ends the connection in good order, on both sides.
	FIN
	// RST resets the connection, on both sides.
	RST
	// Stall passes nothing more of this direction, and keeps the connection
	// open. What is sent from then on is taken and lost.
	Stall
)

// Line is what one direction of a connection is like. The zero Line passes
// everything on at once.
type Line struct {
	// Latency is how much later each byte arrives. It keeps the order and costs
	// no throughput.
	Latency time.Duration
	// Rate is the most bytes a second; 0 for no limit.
	Rate int
	// Fault happens once After bytes have passed.
	Fault Fault
	After int64
	// InLiteral lets After count from the beginning of the first IMAP literal,
	// "{n}" at the end of a line, that is longer than After. It finds none on an
	// encrypted connection.
	InLiteral bool
}

// Conduct is how a connection goes. The zero Conduct is a sound one.
type Conduct struct {
	// Refuse resets the connection as soon as it is made.
	Refuse bool
	// Up is the direction to the server, Down the one from it.
	Up, Down Line
}

// A Plan returns how the n-th connection goes, n from 1. It may be called
// concurrently.
type Plan func(n int) Conduct

// First gives the first n connections the conduct; the others are sound.
func First(n int, c Conduct) Plan {
	return func(i int) Conduct {
		if i <= n {
			return c
		}
		return Conduct{}
	}
}

// Always gives every connection the conduct.
func Always(c Conduct) Plan { return func(int) Conduct { return c } }

// Random returns a plan that draws a fault for most connections. Plans of the
// same seed are the same.
func Random(seed uint64) Plan {
	return func(n int) Conduct {
		r := rand.New(rand.NewPCG(seed, uint64(n)))
		var c Conduct
		line := &c.Down
		if r.IntN(5) == 0 {
			line = &c.Up
		}
		// From inside the greeting to some messages later.
		line.After = int64(1) << r.IntN(22)
		line.After += r.Int64N(line.After)
		switch r.IntN(8) {
		case 0:
			c.Refuse = true
		case 1:
			line.Fault = FIN
		case 2:
			line.Fault = RST
		case 3:
			line.Fault = Stall
		case 4:
			c.Down = Line{Fault: []Fault{FIN, RST, Stall}[r.IntN(3)], After: r.Int64N(2000), InLiteral: true}
		case 5:
			c.Down = Line{Rate: 20_000 << r.IntN(6)}
		case 6:
			delay := time.Duration(r.IntN(50)) * time.Millisecond
			c.Up.Latency, c.Down.Latency = delay, delay
		}
		return c
	}
}
