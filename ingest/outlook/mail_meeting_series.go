package outlook

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"postroom/ingest/message/tnef/codepage"
	"postroom/ingest/outlook/ical"
)

// structure reads a structure of a property; past its end everything is zero.
type structure struct {
	b     []byte
	short bool // it ended before
}

func (s *structure) take(n int) []byte {
	if n > len(s.b) {
		s.short = true
		s.b = nil
		return make([]byte, min(n, 1<<16))
	}
	b := s.b[:n]
	s.b = s.b[n:]
	return b
}

func (s *structure) u16() uint16 { return binary.LittleEndian.Uint16(s.take(2)) }
func (s *structure) u32() uint32 { return binary.LittleEndian.Uint32(s.take(4)) }

// minute reads minutes since 1601.
func (s *structure) minute() time.Time { return ofMinutes(s.u32()) }

// ofMinutes is the reverse of minutesOf.
func ofMinutes(n uint32) time.Time {
	return time.Unix(time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC).Unix()+60*int64(n), 0).UTC()
}

// systemTime reads a SYSTEMTIME, false if it is none that recurs each year.
func (s *structure) systemTime() (systemTime, bool) {
	year, month, weekday, n := s.u16(), s.u16(), s.u16(), s.u16()
	hour, minute, second := s.u16(), s.u16(), s.u16()
	s.u16() // milliseconds
	clock := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
	switch {
	case month == 0:
		return systemTime{}, true
	case month > 12 || weekday > 6 || clock >= 24*time.Hour || n == 0 || n > 31:
		return systemTime{}, false
	case year != 0: // a date
		d := time.Date(int(year), time.Month(month), int(n), 0, 0, 0, 0, time.UTC)
		return systemTime{d.Month(), d.Weekday(), weekOf(d), clock}, true
	}
	return systemTime{time.Month(month), time.Weekday(weekday), int(min(n, 5)), clock}, true
}

// valid reports whether clocks may be set so.
func (r zoneRule) valid() bool {
	const most = 24 * 60
	for _, bias := range []int32{r.bias, r.bias + r.standard, r.bias + r.daylight} {
		if bias < -most || bias > most {
			return false
		}
	}
	return (r.standardDate.month == 0) == (r.daylightDate.month == 0)
}

// readZoneRule reads PidLidTimeZoneStruct (MS-OXOCAL 2.2.1.39).
func readZoneRule(b []byte) (r zoneRule, ok bool) {
	s := &structure{b: b}
	r.bias, r.standard, r.daylight = int32(s.u32()), int32(s.u32()), int32(s.u32())
	s.u16()
	standard, good := s.systemTime()
	s.u16()
	daylight, fine := s.systemTime()
	r.standardDate, r.daylightDate = standard, daylight
	return r, good && fine && !s.short && r.valid()
}

// readDefinition reads a PidLidAppointmentTimeZoneDefinition… (MS-OXOCAL 2.2.1.41),
// nil if it is none: its name, and the rule that was in effect.
func readDefinition(b []byte) *zone {
	s := &structure{b: b}
	s.u32() // version, size of the header
	s.u16()
	name := oneLine(decodeUTF16(s.take(2 * int(s.u16()))))
	if len(name) > maxZoneName {
		name = ""
	}
	var z *zone
	for range s.u16() {
		s.u32() // version, size
		flags := s.u16()
		s.take(16)
		r := zoneRule{bias: int32(s.u32()), standard: int32(s.u32()), daylight: int32(s.u32())}
		standard, good := s.systemTime()
		daylight, fine := s.systemTime()
		r.standardDate, r.daylightDate = standard, daylight
		if s.short {
			break
		}
		if good && fine && r.valid() && (z == nil || flags&ruleEffective != 0) {
			z = &zone{name: either(name, "local"), rule: r}
			z.tzid = z.name
		}
	}
	return z
}

// component returns the zone as a VTIMEZONE (RFC 5545 3.6.5).
func (z *zone) component() *ical.Component {
	c := &ical.Component{Name: "VTIMEZONE"}
	c.AddText("TZID", z.tzid)
	r := z.rule
	observance := func(name string, from, to int32, date systemTime) {
		o := &ical.Component{Name: name}
		start := time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC)
		if date.month != 0 {
			start = date.in(1601)
		}
		o.AddTime("DTSTART", ical.Time{Wall: start})
		o.Add("TZOFFSETFROM", offsetOf(-from))
		o.Add("TZOFFSETTO", offsetOf(-to))
		if date.month != 0 {
			n := date.n
			if n == 5 {
				n = -1
			}
			o.Add("RRULE", fmt.Sprintf("FREQ=YEARLY;BYDAY=%d%s;BYMONTH=%d", n, dayNames[date.weekday], date.month))
		}
		c.Components = append(c.Components, o)
	}
	standard, daylight := r.bias+r.standard, r.bias+r.daylight
	if !r.saves() {
		daylight = standard
	}
	observance("STANDARD", daylight, standard, r.standardDate)
	if r.saves() {
		observance("DAYLIGHT", standard, daylight, r.daylightDate)
	}
	return c
}

// offsetOf returns minutes as UTC-OFFSET (RFC 5545 3.3.14).
func offsetOf(minutes int32) string {
	sign := "+"
	if minutes < 0 {
		sign, minutes = "-", -minutes
	}
	return fmt.Sprintf("%s%02d%02d", sign, minutes/60, minutes%60)
}

var dayNames = [...]string{"SU", "MO", "TU", "WE", "TH", "FR", "SA"}

// byMonthEnd is a PatternType that only reading knows: the last day of a month.
const byMonthEnd = 4

// Values of EndType.
const (
	endsByDate  = 0x2021
	endsByCount = 0x2022
)

// readRecurrence reads PidLidAppointmentRecur (MS-OXOCAL 2.2.1.44.5), and when on
// their day the instances begin. The error says why a calendar has nothing for it.
func readRecurrence(b []byte) (s *recurrence, begin time.Duration, err error) {
	in := &structure{b: b}
	damaged := errors.New("its pattern is damaged")
	const version = 0x3004
	if reader, writer := in.u16(), in.u16(); reader != version || writer != version {
		return nil, 0, damaged
	}
	s = &recurrence{frequency: in.u16(), pattern: in.u16()}
	if calendar := in.u16(); calendar > 1 {
		return nil, 0, fmt.Errorf("it is in the calendar %d, which is not that of the West", calendar)
	}
	in.u32() // FirstDateTime
	s.period = int(in.u32())
	if in.u32() != 0 {
		return nil, 0, errors.New("it goes by when the one before was done")
	}
	switch s.pattern {
	case byDay:
	case byWeek:
		s.days = int(in.u32() & 0x7F)
	case byMonth, byMonthEnd:
		s.day = int(in.u32())
	case byMonthNth:
		s.days, s.nth = int(in.u32()&0x7F), int(in.u32())
	default:
		return nil, 0, fmt.Errorf("its pattern is of type %d", s.pattern)
	}
	if s.pattern == byMonthEnd {
		s.pattern, s.day = byMonth, 31
	}
	end := in.u32()
	s.count = int(in.u32())
	s.firstDay = time.Weekday(in.u32() % 7)
	for range in.count() {
		s.deleted = append(s.deleted, in.minute())
	}
	for range in.count() {
		in.u32() // modified instances: exceptions say more
	}
	s.start, s.end = in.minute(), in.minute()
	switch end {
	case endsByCount:
		s.counted = true
	case endsByDate:
		s.count = 0
	default:
		s.count, s.end = 0, time.Time{}
	}
	in.take(8) // versions
	begin = time.Duration(in.u32()) * time.Minute
	in.u32() // when they end
	for range in.u16() {
		x := exception{start: in.minute(), end: in.minute(), original: in.minute(), flags: in.u16()}
		for bit := range uint16(9) {
			switch flag := uint16(1) << bit; {
			case x.flags&flag == 0:
			case flag == overrideSubject || flag == overrideLocation:
				in.u16()
				text := codepage.DecodeLoose(codepage.Windows1252, in.take(int(in.u16())))
				if flag == overrideSubject {
					x.subject = text
				} else {
					x.location = text
				}
			default:
				in.u32()
			}
		}
		if in.short {
			break
		}
		s.exceptions = append(s.exceptions, x)
	}
	if in.short || s.start.Year() >= endOfTime || begin >= 24*time.Hour {
		return nil, 0, damaged
	}
	return s, begin, nil
}

// count reads how many values of four bytes follow.
func (s *structure) count() int {
	n := s.u32()
	if int64(n)*4 > int64(len(s.b)) {
		s.short = true
		return 0
	}
	return int(n)
}

// rule returns the series as a RRULE (MS-OXCICAL 2.1.3.2.2) that ends with a value of
// UNTIL, if it is not counted. The error says why there is none.
func (s *recurrence) rule(until string) (string, error) {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	var days []string
	for d, name := range dayNames {
		if s.days&(1<<d) != 0 {
			days = append(days, name)
		}
	}
	interval := s.period
	yearly := s.frequency == yearly && s.period%12 == 0
	monthly := func() {
		if yearly {
			interval /= 12
			add("FREQ=YEARLY")
		} else {
			add("FREQ=MONTHLY")
		}
	}
	switch {
	case s.period <= 0:
		return "", errors.New("it has no period")
	case s.pattern == byDay && s.period%minutesOfDay == 0:
		interval /= minutesOfDay
		add("FREQ=DAILY")
	case s.pattern == byWeek && len(days) > 0:
		add("FREQ=WEEKLY")
		add("BYDAY=%s", strings.Join(days, ","))
	case s.pattern == byMonth && s.day >= 1 && s.day <= 31:
		monthly()
		switch {
		case s.day == 31:
			add("BYMONTHDAY=-1")
		case s.day > 28: // of a month that is too short the last
			var list []string
			for d := 28; d <= s.day; d++ {
				list = append(list, fmt.Sprint(d))
			}
			add("BYMONTHDAY=%s", strings.Join(list, ","))
			add("BYSETPOS=-1")
		default:
			add("BYMONTHDAY=%d", s.day)
		}
	case s.pattern == byMonthNth && len(days) > 0 && s.nth >= 1 && s.nth <= 5:
		monthly()
		n := s.nth
		if n == 5 {
			n = -1
		}
		if len(days) == 1 {
			add("BYDAY=%d%s", n, days[0])
		} else {
			add("BYDAY=%s", strings.Join(days, ","))
			add("BYSETPOS=%d", n)
		}
	default:
		return "", errors.New("its pattern says nothing that is a date")
	}
	if yearly && s.pattern != byDay && s.pattern != byWeek {
		add("BYMONTH=%d", s.start.Month())
	}
	add("INTERVAL=%d", interval)
	add("WKST=%s", dayNames[s.firstDay])
	switch {
	case s.counted && s.count > 0:
		add("COUNT=%d", s.count)
	case until != "":
		add("UNTIL=%s", until)
	}
	return strings.Join(parts, ";"), nil
}
