package pop3

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// recorder is a connection that takes commands.
type recorder struct {
	net.Conn
	commands []string
	writes   int
}

func (r *recorder) Write(p []byte) (int, error) {
	r.writes++
	r.commands = append(r.commands, strings.Split(strings.TrimSuffix(string(p), "\r\n"), "\r\n")...)
	return len(p), nil
}

// TestPipeline: each command is sent once, in order and in time; what is under way is
// bounded, and enough.
func TestPipeline(t *testing.T) {
	const n = 1000
	for name, tt := range map[string]struct {
		alone bool
		size  func(i int) int64
		// Of the steps under way at a turn.
		most, least int
		writes      int
	}{
		"short answers":  {most: maxUnderWay, least: maxUnderWay / 2, writes: n/(maxUnderWay/2) + 1},
		"alone":          {alone: true, most: 1, least: 1, writes: n},
		"small messages": {size: func(int) int64 { return 10_000 }, most: maxUnderWay, least: maxUnderWay / 2, writes: n/(maxUnderWay/2) + 1},
		"unknown sizes":  {size: func(int) int64 { return -1 }, most: maxUnderWay, least: maxUnderWay / 2, writes: n/(maxUnderWay/2) + 1},
		"of a megabyte":  {size: func(int) int64 { return 1 << 20 }, most: 8, least: 4, writes: n/4 + 1},
		"large messages": {size: func(int) int64 { return 1 << 30 }, most: 1, least: 1, writes: n},
		"lies":           {size: func(i int) int64 { return 1<<63 - 1 - int64(i%2) }, most: 1, least: 1, writes: n},
		"no octets":      {size: func(int) int64 { return 0 }, most: maxUnderWay, least: maxUnderWay / 2, writes: n/(maxUnderWay/2) + 1},
	} {
		t.Run(name, func(t *testing.T) {
			server := &recorder{}
			p := &pipeline{c: &client{conn: server}, n: n, alone: tt.alone, command: func(i int) string { return fmt.Sprint(i) }, size: tt.size}
			most, least := 0, n
			for i := range n {
				if err := p.turn(i); err != nil {
					t.Fatal(err)
				}
				under := len(server.commands) - i
				most = max(most, under)
				if len(server.commands) < n {
					least = min(least, under)
				}
				if p.follows(i) != (under > 1) {
					t.Fatalf("at %d of %d sent: an answer follows: %v", i, len(server.commands), p.follows(i))
				}
			}
			for i, command := range server.commands {
				if command != fmt.Sprint(i) {
					t.Fatalf("command %d is %q", i, command)
				}
			}
			if len(server.commands) != n || most > tt.most || least < tt.least || server.writes > tt.writes {
				t.Errorf("%d commands in %d pieces, from %d to %d under way", len(server.commands), server.writes, least, most)
			}
		})
	}
}
