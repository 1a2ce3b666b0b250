package faultnet

// literals follows the stream of an IMAP server and finds its literals.
type literals struct {
	// left is what is still to come of the literal that the stream is in.
	left int64
	// cutIn is after how many bytes of it the cut is; 0 for none.
	cutIn int64

	state  int
	number int64
}

// What was read of "{n}" CR LF.
const (
	text = iota
	digits
	closed
	returned
)

// maxLiteral is where a number is too large to be the length of a literal.
const maxLiteral = 1 << 40

// cut returns the index in data at which the first literal longer than after
// has been passed up to its byte after, or -1 if that is not in data. It is
// called with the stream piece by piece.
func (l *literals) cut(data []byte, after int64) int {
	for i := 0; i < len(data); {
		if l.left > 0 {
			n := min(l.left, int64(len(data)-i))
			if l.cutIn > 0 && n >= l.cutIn {
				return i + int(l.cutIn)
			}
			if l.cutIn > 0 {
				l.cutIn -= n
			}
			l.left -= n
			i += int(n)
			continue
		}
		complete := l.step(data[i])
		i++
		if !complete || l.number == 0 {
			continue
		}
		l.left = l.number
		if l.number <= after {
			continue
		}
		if after == 0 {
			return i
		}
		l.cutIn = after
	}
	return -1
}

// step takes in one byte outside of literals, and reports whether it completes
// the announcement of one.
func (l *literals) step(b byte) bool {
	switch {
	case b == '{':
		l.state, l.number = digits, 0
	case l.state == digits && b >= '0' && b <= '9' && l.number < maxLiteral:
		l.number = l.number*10 + int64(b-'0')
	case l.state == digits && b == '}':
		l.state = closed
	case l.state == closed && b == '\r':
		l.state = returned
	case l.state == returned && b == '\n':
		l.state = text
		return true
	default:
		l.state = text
	}
	return false
}
