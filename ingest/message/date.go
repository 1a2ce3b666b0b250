package message

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

var months = map[string]time.Month{
	"jan": time.January, "feb": time.February, "mar": time.March, "apr": time.April, "may": time.May, "jun": time.June,
	"jul": time.July, "aug": time.August, "sep": time.September, "oct": time.October, "nov": time.November, "dec": time.December,
}

// zones are those of RFC 5322 4.3 and some that writers use besides, in minutes.
var zones = map[string]int{
	"ut": 0, "gmt": 0, "utc": 0, "z": 0, "est": -300, "edt": -240, "cst": -360, "cdt": -300, "mst": -420, "mdt": -360,
	"pst": -480, "pdt": -420, "cet": 60, "cest": 120, "met": 60, "mest": 120, "mez": 60, "mesz": 120, "wet": 0,
	"west": 60, "eet": 120, "eest": 180, "bst": 60, "msk": 180, "jst": 540, "kst": 540, "hst": -600, "akst": -540,
	"akdt": -480, "aest": 600, "aedt": 660, "nzst": 720, "nzdt": 780,
}

// ParseDate reads a date and time (RFC 5322 3.3, 4.3) as writers have it: with
// comments, names of zones, years of two digits, a missing or wrong day of the
// week, in the order of asctime or of RFC 3339. Without a zone it is taken as
// UTC, in which the result is. False if there is no date in the text.
func ParseDate(s string) (time.Time, bool) {
	if len(s) > 1000 {
		return time.Time{}, false
	}
	if strings.Contains(s, "=?") {
		s = Decode(s)
	}
	words := make([]string, 0, 16)
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '(':
			i = skipComment(s, i)
			continue
		case strings.IndexByte(" \t,;\"<>", c) >= 0:
			i++
			continue
		}
		end := i
		for end < len(s) && strings.IndexByte(" \t,;\"(<>", s[end]) < 0 {
			end++
		}
		words = append(words, strings.ToLower(s[i:end]))
		i = end
	}
	d := date{day: -1, year: -1, hour: -1}
	for _, w := range words {
		d.word(w)
	}
	if d.month == 0 || d.day < 1 || d.day > 31 || d.year < 0 {
		return time.Time{}, false
	}
	if d.hour < 0 {
		d.hour = 0
	}
	if d.pm && d.hour < 12 {
		d.hour += 12
	} else if d.am && d.hour == 12 {
		d.hour = 0
	}
	if d.hour > 24 || d.minute > 59 || d.second > 60 || d.year > 9999 || d.zone < -24*60 || d.zone > 24*60 {
		return time.Time{}, false
	}
	t := time.Date(d.year, d.month, d.day, d.hour, d.minute, min(d.second, 59), 0, time.UTC)
	if t.Day() != d.day && d.hour < 24 {
		return time.Time{}, false // 31 February
	}
	t = t.Add(-time.Duration(d.zone) * time.Minute)
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, false
	}
	return t, true
}

type date struct {
	day, year, hour, minute, second int
	month                           time.Month
	zone                            int
	zoned, am, pm                   bool
}

func (d *date) word(w string) {
	if c := w[0]; '0' <= c && c <= '9' {
		d.figures(w)
		return
	}
	if m := months[w[:min(len(w), 3)]]; m != 0 && letters(strings.TrimRight(w, ".")) {
		if d.month == 0 {
			d.month = m
		}
		return
	}
	switch w {
	case "am", "a.m.":
		d.am = true
		return
	case "pm", "p.m.":
		d.pm = true
		return
	}
	if minutes, ok := zones[w]; ok {
		if d.hour >= 0 && !d.zoned {
			d.zone, d.zoned = minutes, true
		}
		return
	}
	// GMT+0100
	for _, prefix := range []string{"gmt", "utc", "ut"} {
		if rest, ok := strings.CutPrefix(w, prefix); ok && rest != "" {
			w, d.zoned = rest, false
			break
		}
	}
	if (w[0] == '+' || w[0] == '-') && len(w) > 1 {
		if d.hour >= 0 && !d.zoned {
			d.offset(w)
		}
		return
	}
	d.figures(w)
}

// figures takes a word that is of numbers, if of anything.
func (d *date) figures(w string) {
	if d.hour < 0 && strings.ContainsAny(w, ":") {
		if day, clock, ok := strings.Cut(w, "t"); ok && strings.Count(day, "-") == 2 { // RFC 3339
			d.word(day)
			w = clock
		}
		d.clock(w)
		return
	}
	if parts := strings.FieldsFunc(w, func(r rune) bool { return r == '-' || r == '/' }); len(parts) == 3 {
		y, m, day := parts[0], parts[1], parts[2]
		if months[m[:min(len(m), 3)]] != 0 { // 1-Jan-2026
			y, day = day, y
		}
		if len(y) == 4 || months[m[:min(len(m), 3)]] != 0 {
			if n, err := strconv.Atoi(m); err != nil {
				d.word(m)
			} else if n >= 1 && n <= 12 && d.month == 0 {
				d.month = time.Month(n)
			}
			d.number(day, 1)
			d.number(y, 3)
			return
		}
	}
	if d.hour < 0 && strings.Count(w, ".") == 2 && d.year >= 0 { // 10.30.00
		d.clock(strings.ReplaceAll(w, ".", ":"))
		return
	}
	d.number(strings.TrimRight(w, "."), 0)
}

// number takes a number as the day (1), the year (3), or what is missing (0).
func (d *date) number(w string, as int) {
	if !digits(w) || len(w) > 4 {
		return
	}
	if len(w) == 3 && w[0] == '0' && d.day < 0 {
		w = w[1:]
	}
	n, _ := strconv.Atoi(w)
	switch {
	case as != 3 && d.day < 0 && len(w) <= 2:
		d.day = n
	case as == 1 || d.year >= 0:
	case as == 0 && len(w) < 2:
	default:
		// RFC 5322 4.3
		switch {
		case len(w) == 2 && n < 50:
			n += 2000
		case len(w) <= 3:
			n += 1900
		}
		d.year = n
	}
}

func (d *date) clock(w string) {
	// A zone may follow without a space.
	if i := strings.LastIndexAny(w, "+-"); i > 0 {
		defer d.offset(w[i:])
		w = w[:i]
	} else if s, ok := strings.CutSuffix(w, "z"); ok {
		w, d.zoned = s, true
	}
	if s, ok := strings.CutSuffix(w, "am"); ok {
		w, d.am = s, true
	} else if s, ok := strings.CutSuffix(w, "pm"); ok {
		w, d.pm = s, true
	}
	parts := strings.Split(w, ":")
	if len(parts) < 2 || len(parts) > 4 {
		return
	}
	var n [3]int
	for i, p := range parts[:min(len(parts), 3)] {
		p, _, _ = strings.Cut(p, ".")
		v, err := strconv.Atoi(p)
		if err != nil || v < 0 || len(p) > 2 {
			return
		}
		n[i] = v
	}
	d.hour, d.minute, d.second = n[0], n[1], n[2]
}

// offset takes +hhmm, also with a colon or without minutes.
func (d *date) offset(w string) {
	sign := 1
	if w[0] == '-' {
		sign = -1
	}
	w = strings.ReplaceAll(w[1:], ":", "")
	if !digits(w) || len(w) > 4 {
		return
	}
	n, _ := strconv.Atoi(w)
	if len(w) <= 2 {
		n *= 100
	}
	d.zone, d.zoned = sign*(n/100*60+n%100), true
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func letters(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 'a' || s[i] > 'z' {
			return false
		}
	}
	return s != ""
}

// lastWeekday returns the index of the last day of the week before a comma, -1 if
// there is none: where the date of a Received field without its semicolon is.
func lastWeekday(b []byte) int {
	last := -1
	for _, day := range []string{"Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat,", "Sun,"} {
		last = max(last, bytes.LastIndex(b, []byte(day)))
	}
	return last
}
