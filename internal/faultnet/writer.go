package faultnet

import (
	"net"
	"time"
)

// writer is the far end of a direction.
type writer struct {
	conn   *conn
	to     *net.TCPConn
	line   Line
	passed int64
	finder literals
	// dead is that nothing more is passed.
	dead bool
}

// pass writes a segment, as far as the line lets it.
func (w *writer) pass(s segment) {
	if w.dead {
		return
	}
	if !w.conn.wait(s.due) {
		w.dead = true
		return
	}
	data := (*s.buffer)[:s.n]
	cut := w.cut(data)
	if cut >= 0 {
		data = data[:cut]
	}
	if !w.write(data) {
		w.dead = true
		w.conn.end(false)
		return
	}
	w.passed += int64(len(data))
	if cut < 0 {
		return
	}
	w.dead = true
	if w.line.Fault != Stall {
		w.conn.end(w.line.Fault == RST)
	}
}

// cut returns how much of data passes before the fault, or -1 if all does.
func (w *writer) cut(data []byte) int {
	switch {
	case w.line.Fault == None:
		return -1
	case w.line.InLiteral:
		return w.finder.cut(data, w.line.After)
	case w.passed+int64(len(data)) >= w.line.After:
		return int(w.line.After - w.passed)
	}
	return -1
}

// write writes at the line's rate, and reports whether all was written.
func (w *writer) write(data []byte) bool {
	if w.line.Rate <= 0 {
		_, err := w.to.Write(data)
		return err == nil
	}
	piece := max(w.line.Rate/50, 1)
	for len(data) > 0 {
		n := min(piece, len(data))
		begin := time.Now()
		if _, err := w.to.Write(data[:n]); err != nil {
			return false
		}
		data = data[n:]
		took := time.Duration(float64(n) / float64(w.line.Rate) * float64(time.Second))
		if !w.conn.wait(begin.Add(took)) {
			return false
		}
	}
	return true
}
