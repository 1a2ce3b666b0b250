// Package control is the channel between a running daemon and the commands
// typed beside it.
//
// The daemon listens on a Unix socket in its state directory, on Windows on a
// named pipe that belongs to that directory. Whoever may use the channel may do
// what the daemon may: on Unix that is the user it runs as and root, on Windows
// that user, SYSTEM and the Administrators. What is spoken is HTTP/1.1 with
// JSON: a call is a POST to /METHOD with the argument as its body; the answer is
// the result, or with a status other than 200 the object {"error": "…"}.
//
// The daemon makes its methods known with [Handle] and serves them with
// [Serve]; a command calls them through [Dial] and [Client.Call].
package control

import (
	"errors"
	"time"
)

var (
	// ErrNoDaemon: nobody listens at the state directory.
	ErrNoDaemon = errors.New("no daemon is running")
	// ErrInUse: another daemon listens at the state directory.
	ErrInUse = errors.New("another daemon is running")
)

const (
	// maxRequest bounds the argument of a call, maxResponse its result.
	maxRequest  = 1 << 20
	maxResponse = 64 << 20

	dialTimeout    = 2 * time.Second
	requestTimeout = 10 * time.Second // for a request to arrive whole
	idleTimeout    = time.Minute
	// grace is how long calls under way may go on once the daemon stops.
	grace = 5 * time.Second
)

// failure is the answer to a call that failed.
type failure struct {
	Error string `json:"error"`
}
