//go:build unix

package courier

import (
	"fmt"
	"io"
	"net"
	"os/user"
	"strconv"
	"strings"
	"sync"

	"postroom/internal/maildir"
)

// gamin is in place of a server that tells of changes of files, and never does.
// Without one each sign-in would try for a second to start it, and leave a process
// behind.
type gamin struct {
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// startGamin listens where a process of the owner looks for the server of the
// client's id.
func startGamin(owner maildir.Owner, id string) (*gamin, error) {
	name := strconv.Itoa(owner.UID)
	if found, err := user.LookupId(name); err == nil {
		name = found.Username
	}
	// An abstract address, as long as any can be.
	const length = 108
	path := fmt.Sprintf("@/tmp/fam-%s-%s", name, id)
	listener, err := net.Listen("unix", path+strings.Repeat("\x00", length-len(path)))
	if err != nil {
		return nil, err
	}
	g := &gamin{listener: listener, conns: make(map[net.Conn]bool)}
	g.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			g.mu.Lock()
			g.conns[conn] = true
			g.mu.Unlock()
			g.running.Go(func() {
				_, _ = io.Copy(io.Discard, conn) // until the process ends
				g.mu.Lock()
				defer g.mu.Unlock()
				delete(g.conns, conn)
				conn.Close()
			})
		}
	})
	return g, nil
}

// close is called when no process is left.
func (g *gamin) close() error {
	err := g.listener.Close()
	g.mu.Lock()
	for conn := range g.conns {
		conn.Close()
	}
	g.mu.Unlock()
	g.running.Wait()
	return err
}
