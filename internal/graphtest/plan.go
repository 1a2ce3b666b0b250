package graphtest

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/http"
	"slices"
	"strings"
)

// Plan says which requests meet with a fault. Which they are follows from the
// seed and from the requests alone: the n-th request of a kind for the same thing
// meets with the same fault in every run, in whatever order requests arrive.
type Plan struct {
	Seed uint64
	// Rate is the share of requests with a fault, from 0 to 1.
	Rate float64
	// Kinds are those played: those of [AllFaults].
	Kinds []FaultKind
	// InRow is how often at most one request fails in a row: twice.
	InRow int
	// Fault has the details of the faults.
	Fault Fault
}

// faultState is what the server knows of faults to play.
type faultState struct {
	plan     Plan
	injected []injection
	seen     map[string]*seen
}

// seen counts requests for the same thing.
type seen struct{ total, inRow int }

type injection struct {
	fault Fault
	match func(Request) bool
	times int
}

// SetPlan plays faults from now on. The zero Plan ends that.
func (s *Server) SetPlan(p Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Kinds == nil {
		p.Kinds = AllFaults()
	}
	if p.InRow == 0 {
		p.InRow = 2
	}
	s.faults.plan, s.faults.seen = p, make(map[string]*seen)
}

// Inject plays a fault on the next requests of a kind, so many times; -1 for
// all. It comes before any plan, and whether the fault suits the kind or not.
func (s *Server) Inject(kind string, times int, f Fault) {
	s.InjectFor(func(r Request) bool { return r.Kind == kind }, times, f)
}

// InjectFor is Inject for the requests that match. It must not call the server.
func (s *Server) InjectFor(match func(Request) bool, times int, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.injected = append(s.faults.injected, injection{fault: f, match: match, times: times})
}

// Heal ends all faults.
func (s *Server) Heal() {
	s.SetPlan(Plan{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.injected = nil
}

// plan returns the fault to play on a request. The caller holds the mutex.
func (s *Server) plan(q *Request, key string) *Fault {
	for n := range s.faults.injected {
		in := &s.faults.injected[n]
		if in.times == 0 || in.fault.Kind.stateless(q) || !in.match(*q) {
			continue
		}
		if in.times > 0 {
			in.times--
		}
		f := in.fault
		return &f
	}
	p := s.faults.plan
	if p.Rate <= 0 {
		return nil
	}
	path, _, _ := strings.Cut(q.URL, "?")
	thing := key + " " + q.Method + " " + path
	count := s.faults.seen[thing]
	if count == nil {
		count = new(seen)
		s.faults.seen[thing] = count
	}
	count.total++
	f := p.draw(q.Kind, thing, count.total)
	if f == nil || f.Kind.stateless(q) || count.inRow >= p.InRow {
		count.inRow = 0
		return nil
	}
	count.inRow++
	return f
}

// stateless reports whether the fault is that a state is lost, and the request
// has none.
func (k FaultKind) stateless(q *Request) bool {
	return k == FaultGone && !strings.Contains(q.URL, "token=")
}

// draw returns the fault of the n-th request for a thing.
func (p Plan) draw(kind, thing string, n int) *Fault {
	b := binary.BigEndian.AppendUint64(nil, p.Seed)
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint64(b, uint64(n)), thing...))
	if float64(binary.BigEndian.Uint64(sum[:8])) >= p.Rate*math.MaxUint64 {
		return nil
	}
	kinds := slices.DeleteFunc(slices.Clone(p.Kinds), func(k FaultKind) bool { return !k.suits(kind) })
	if len(kinds) == 0 {
		return nil
	}
	f := p.Fault
	f.Kind = kinds[binary.BigEndian.Uint64(sum[8:16])%uint64(len(kinds))]
	return &f
}

// playEntra plays a fault on a request for a token, and reports whether that has
// been answered. It is called with the mutex held.
func (s *Server) playEntra(w http.ResponseWriter, r *http.Request, q *Request, f *Fault) bool {
	q.Fault = f.Kind
	var a *response
	switch f.Kind {
	case FaultThrottle, FaultThrottleBare, FaultThrottleDate:
		q.Status = http.StatusTooManyRequests
		refused := SignInThrottled
		if f.RetryAfter > 0 {
			refused.RetryAfter = f.RetryAfter
		}
		if f.Kind == FaultThrottleBare {
			refused.RetryAfter = 0
		}
		refused.answer(w, s, guid("request", q.Number), r.Header.Get("client-request-id"))
		return true
	case FaultUnavailable, FaultBusy, FaultInternal:
		q.Status = http.StatusServiceUnavailable
		SignInUnavailable.answer(w, s, guid("request", q.Number), r.Header.Get("client-request-id"))
		return true
	case FaultBadGateway:
		a = page(http.StatusBadGateway, "text/html", gatewayPage)
	case FaultGatewayTime:
		a = page(http.StatusGatewayTimeout, "text/plain", "")
	case FaultReset, FaultHang, FaultCut:
	default:
		return false
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	s.write(w, r, q, a, f)
	return true
}
