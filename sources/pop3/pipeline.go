package pop3

const (
	// maxUnderWay is how many steps of a pipeline are under way at a time. Their
	// commands are less than 4 KiB: they fit into what a server's system takes for
	// it while it is busy with an answer that nobody reads yet (RFC 2449 6.6).
	maxUnderWay = 128
	// maxExpected is how many octets the answers under way may have, but that there is
	// always one: what a lost connection costs again.
	maxExpected = 8 << 20
	// unknownSize stands for the size of a message that the server does not tell.
	unknownSize = 64 << 10
)

// pipeline sends the commands of steps ahead of their turns (RFC 2449 6.6).
type pipeline struct {
	c *client
	// n is how many steps there are.
	n int
	// alone is that the server must have answered one before it gets the next.
	alone bool
	// command is the command of a step, or several in lines of their own.
	command func(i int) string
	// size is how many octets the answer has, about; -1 if unknown. It is nil where
	// answers are short.
	size func(i int) int64

	sent     int
	expected int64 // octets of the answers under way
}

// turn is called when the answer of a step is to be read, for each in order. It sends
// what may be under way then. That is done in groups, for the sake of few packets.
func (p *pipeline) turn(i int) error {
	if i > 0 {
		p.expected -= p.octets(i - 1)
	}
	if p.sent > i && (p.alone || p.sent-i > maxUnderWay/2 || p.expected > maxExpected/2) {
		return nil
	}
	var next []string
	for p.sent < p.n && (p.sent == i || !p.alone && p.sent-i < maxUnderWay && p.expected+p.octets(p.sent) <= maxExpected) {
		next = append(next, p.command(p.sent))
		p.expected += p.octets(p.sent)
		p.sent++
	}
	return p.c.send(next...)
}

// follows reports whether an answer to another step follows that of the i-th.
func (p *pipeline) follows(i int) bool { return p.sent > i+1 }

func (p *pipeline) octets(i int) int64 {
	if p.size == nil {
		return 0
	}
	if n := p.size(i); n >= 0 {
		return min(n, maxExpected)
	}
	return unknownSize
}
