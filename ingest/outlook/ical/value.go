package ical

import (
	"strconv"
	"strings"
	"time"
)

// Time is a DATE or DATE-TIME (RFC 5545 3.3.4, 3.3.5).
type Time struct {
	Wall time.Time // what the clock shows, in the location UTC
	Date bool      // a day, at midnight
	UTC  bool
	Zone string // the TZID; empty if there is none
}

// Floating reports whether the time is of no time zone.
func (t Time) Floating() bool { return !t.UTC && t.Zone == "" }

// Time returns the value as a time, false if it is none.
func (p Property) Time() (Time, bool) {
	t, ok := parseTime(p.Value)
	if ok && !t.UTC && !t.Date {
		t.Zone = strings.TrimSpace(p.Params["TZID"])
	}
	return t, ok
}

// Times returns the values of a list, such as EXDATE; ok is false if there is one
// that is no time.
func (p Property) Times() (out []Time, ok bool) {
	ok = true
	for v := range strings.SplitSeq(p.Value, ",") {
		if strings.TrimSpace(v) == "" {
			continue
		}
		t, good := Property{Params: p.Params, Value: v}.Time()
		if !good {
			ok = false
			continue
		}
		out = append(out, t)
	}
	return out, ok
}

// parseTime reads 20260102, 20260102T030405 and 20260102T030405Z, also with
// separators or without seconds.
func parseTime(s string) (t Time, ok bool) {
	s = strings.ToUpper(strings.TrimSpace(s))
	if t.UTC = strings.HasSuffix(s, "Z"); t.UTC {
		s = s[:len(s)-1]
	}
	day, clock, timed := strings.Cut(s, "T")
	day, clock = strings.ReplaceAll(day, "-", ""), strings.ReplaceAll(clock, ":", "")
	if len(clock) == 4 {
		clock += "00"
	}
	if len(day) != 8 || timed && len(clock) != 6 {
		return t, false
	}
	n := make([]int, 0, 6)
	for _, field := range []string{day[:4], day[4:6], day[6:]} {
		v, err := strconv.ParseUint(field, 10, 16)
		if err != nil {
			return t, false
		}
		n = append(n, int(v))
	}
	for i := 0; i+1 < len(clock); i += 2 {
		v, err := strconv.ParseUint(clock[i:i+2], 10, 8)
		if err != nil {
			return t, false
		}
		n = append(n, int(v))
	}
	n = append(n, 0, 0, 0)
	t.Date = !timed
	t.UTC = t.UTC && timed
	t.Wall = time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], min(n[5], 59), 0, time.UTC)
	ok = n[0] >= 1601 && n[0] <= 9999 && t.Wall.Month() == time.Month(n[1]) && t.Wall.Day() == n[2] && n[3] < 24 && n[4] < 60 && n[5] <= 60
	return t, ok
}

// maxDuration is the longest that is one.
const maxDuration = 100 * 366 * 24 * time.Hour

// Duration returns a value of type DURATION (RFC 5545 3.3.6), false if it is none.
func (p Property) Duration() (time.Duration, bool) {
	s := strings.ToUpper(strings.TrimSpace(p.Value))
	sign := time.Duration(1)
	switch {
	case strings.HasPrefix(s, "-"):
		sign, s = -1, s[1:]
	case strings.HasPrefix(s, "+"):
		s = s[1:]
	}
	s, ok := strings.CutPrefix(s, "P")
	if !ok || s == "" {
		return 0, false
	}
	units := map[byte]time.Duration{'W': 7 * 24 * time.Hour, 'D': 24 * time.Hour, 'H': time.Hour, 'M': time.Minute, 'S': time.Second}
	sum, number, any := time.Duration(0), 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			number = min(number*10+int(c-'0'), 1_000_000_000)
			any = true
		case c == 'T':
		case units[c] > 0 && any:
			if time.Duration(number) > maxDuration/units[c] {
				return 0, false
			}
			if sum += time.Duration(number) * units[c]; sum > maxDuration {
				return 0, false
			}
			number, any = 0, false
		default:
			return 0, false
		}
	}
	return sign * sum, !any
}

// Offset returns a value of type UTC-OFFSET (RFC 5545 3.3.14), false if it is none.
func (p Property) Offset() (time.Duration, bool) {
	s := strings.ReplaceAll(strings.TrimSpace(p.Value), ":", "")
	sign := time.Duration(1)
	switch {
	case strings.HasPrefix(s, "-"):
		sign, s = -1, s[1:]
	case strings.HasPrefix(s, "+"):
		s = s[1:]
	}
	if len(s) != 4 && len(s) != 6 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, false
	}
	if len(s) == 6 {
		n /= 100
	}
	if n/100 > 15 || n%100 > 59 {
		return 0, false
	}
	return sign * (time.Duration(n/100)*time.Hour + time.Duration(n%100)*time.Minute), true
}

// Int returns a value of type INTEGER, false if it is none of 32 bits.
func (p Property) Int() (int32, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(p.Value), 10, 32)
	return int32(n), err == nil
}

// Day is a day of the week in a rule: the Nth, or every one if N is 0.
type Day struct {
	N       int
	Weekday time.Weekday
}

// Rule is a recurrence rule (RFC 5545 3.3.10).
type Rule struct {
	Freq       string // in upper case
	Interval   int    // at least 1
	Count      int    // 0 if there is none
	Until      Time   // zero if there is none
	ByDay      []Day
	ByMonthDay []int
	ByMonth    []int
	BySetPos   []int
	ByHour     []int
	ByMinute   []int
	BySecond   []int
	WeekStart  time.Weekday // Monday if it is not said
	Other      []string     // the names of its other parts
}

var weekdays = map[string]time.Weekday{"SU": 0, "MO": 1, "TU": 2, "WE": 3, "TH": 4, "FR": 5, "SA": 6}

// maxList is how many values a part of a rule may have.
const maxList = 400

// Rule returns a value of type RECUR, false if it is none.
func (p Property) Rule() (Rule, bool) {
	r := Rule{Interval: 1, WeekStart: time.Monday}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(strings.ToUpper(p.Value), ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || seen[name] {
			return r, false
		}
		seen[name] = true
		switch name {
		case "FREQ":
			r.Freq = value
		case "INTERVAL":
			r.Interval, ok = number(value, 1)
		case "COUNT":
			r.Count, ok = number(value, 1)
		case "UNTIL":
			r.Until, ok = parseTime(value)
		case "WKST":
			r.WeekStart, ok = weekdays[value]
		case "BYDAY":
			r.ByDay, ok = days(value)
		case "BYMONTHDAY":
			r.ByMonthDay, ok = numbers(value, -31, 31)
		case "BYMONTH":
			r.ByMonth, ok = numbers(value, 1, 12)
		case "BYSETPOS":
			r.BySetPos, ok = numbers(value, -366, 366)
		case "BYHOUR":
			r.ByHour, ok = numbers(value, 0, 23)
		case "BYMINUTE":
			r.ByMinute, ok = numbers(value, 0, 59)
		case "BYSECOND":
			r.BySecond, ok = numbers(value, 0, 60)
		default:
			r.Other = append(r.Other, name)
		}
		if !ok {
			return r, false
		}
	}
	return r, r.Freq != "" && (r.Count == 0 || r.Until.Wall.IsZero())
}

func number(s string, least int) (int, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int(n), err == nil && int(n) >= least
}

func numbers(s string, least, most int) (out []int, ok bool) {
	for v := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(v))
		if err != nil || n < least || n > most || len(out) == maxList || n == 0 && least < 0 {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}

func days(s string) (out []Day, ok bool) {
	for v := range strings.SplitSeq(s, ",") {
		v = strings.TrimSpace(v)
		if len(v) < 2 || len(out) == maxList {
			return nil, false
		}
		d, ok := weekdays[v[len(v)-2:]]
		n := 0
		if v = v[:len(v)-2]; v != "" {
			var err error
			if n, err = strconv.Atoi(v); err != nil || n == 0 || n < -53 || n > 53 {
				return nil, false
			}
		}
		if !ok {
			return nil, false
		}
		out = append(out, Day{n, d})
	}
	return out, true
}
