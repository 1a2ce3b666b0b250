package graphtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic("graphtest: " + err.Error()) // bodies are made of what can be encoded
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client is gone then
}

// jsonType is the type of Graph's bodies.
const jsonType = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"

// write writes the answer, with the faults that concern how it is written.
func (s *Server) write(w http.ResponseWriter, r *http.Request, q *Request, a *response, f *Fault) {
	if a == nil {
		s.hang(r, f)
		panic(http.ErrAbortHandler)
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	stream := a.stream
	if stream == nil && a.body != nil {
		text, err := json.Marshal(a.body)
		if err != nil {
			panic("graphtest: " + err.Error()) // bodies are made of what can be encoded
		}
		a.contentType = jsonType
		stream = func(w io.Writer) error {
			_, err := w.Write(text)
			return err
		}
	}
	s.mu.Lock()
	q.Status = a.status
	s.mu.Unlock()
	if a.contentType != "" {
		w.Header().Set("Content-Type", a.contentType)
	}
	if f != nil && f.spoilsBody() {
		s.writeSpoilt(w, r, a.status, stream, f)
		return
	}
	w.WriteHeader(a.status)
	if stream != nil {
		_ = stream(w) // the client is gone then
	}
}

// hang waits until the client or the server ends, if the fault is to do so.
func (s *Server) hang(r *http.Request, f *Fault) {
	if f != nil && (f.Kind == FaultHang || f.Kind == FaultStall) {
		select {
		case <-r.Context().Done():
		case <-s.stop.Done():
		}
	}
}

// spoiler passes on so many bytes and then refuses more.
type spoiler struct {
	w    io.Writer
	left int
}

func (l *spoiler) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	if _, err := l.w.Write(b[:n]); err != nil {
		return 0, err
	}
	if l.left -= n; n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// counter counts bytes.
type counter int

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// writeSpoilt writes a body that does not arrive whole.
func (s *Server) writeSpoilt(w http.ResponseWriter, r *http.Request, status int, stream func(io.Writer) error, f *Fault) {
	if stream == nil {
		s.hang(r, f)
		panic(http.ErrAbortHandler)
	}
	var size counter
	if err := stream(&size); err != nil {
		panic(http.ErrAbortHandler)
	}
	if f.Kind == FaultCut && f.Announced {
		w.Header().Set("Content-Length", fmt.Sprint(int(size)))
	}
	w.WriteHeader(status)
	left := int(size) / 2
	if f.After > 0 {
		left = min(f.After, max(0, int(size)-1))
	}
	_ = stream(&spoiler{w: w, left: left}) // ends early, as it is to
	if flusher, ok := w.(http.Flusher); ok {
		flusher.Flush()
	}
	if f.Kind == FaultTruncate {
		return
	}
	s.hang(r, f)
	panic(http.ErrAbortHandler)
}
