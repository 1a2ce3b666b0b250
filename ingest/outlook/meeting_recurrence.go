package outlook

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"postroom/ingest/message/mapi"
	"postroom/ingest/outlook/ical"
)

// recurrence is when the instances of a series are: a rule of iCalendar in the
// terms of Outlook (MS-OXOCAL 2.2.1.44.1, MS-OXCICAL 2.1.3.2.2). All dates are
// those of the zone of the series, at midnight, in the location UTC.
type recurrence struct {
	frequency uint16 // daily, …
	pattern   uint16 // byDay, …
	period    int    // days, weeks or months
	days      int    // those of byWeek and byMonthNth: 1 << weekday
	day       int    // that of byMonth
	nth       int    // that of byMonthNth, 5 is the last
	month     time.Month
	firstDay  time.Weekday // of a week

	start, end time.Time // the first and the last instance; end is zero if there is none
	count      int       // instances; of a series without an end 0
	counted    bool      // the end is a number of instances

	deleted    []time.Time // instances that there are not, or not then; in order
	exceptions []exception // in the order of their starts
}

// Values of RecurFrequency, which are also what PidLidRecurrenceType is made of.
const (
	daily   = 0x200A
	weekly  = 0x200B
	monthly = 0x200C
	yearly  = 0x200D
)

// Values of PatternType.
const (
	byDay      = 0
	byWeek     = 1
	byMonth    = 2
	byMonthNth = 3
)

// exception is an instance that differs. Times are local.
type exception struct {
	original, start, end time.Time
	flags                uint16
	subject, location    string
	busy                 int32
	allDay               bool
}

// Flags of an exception (MS-OXOCAL 2.2.1.44.2).
const (
	overrideSubject  = 0x0001
	overrideLocation = 0x0010
	overrideBusy     = 0x0020
	overrideAllDay   = 0x0080
	overrideBody     = 0x0200
)

// Bounds of series.
const (
	maxCount     = 999     // instances that are counted (MS-OXCICAL 2.1.3.2.2: three digits)
	maxSteps     = 200_000 // periods that are looked at for the end of a series
	maxException = 999
)

// endOfTime is the year from which on a series is one without an end.
const endOfTime = 4500

const minutesOfDay = 24 * 60

// minutesOf returns minutes since 1601, in which the structures have times.
func minutesOf(t time.Time) uint32 {
	return uint32((t.Unix() - time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC).Unix()) / 60)
}

// dayOf returns midnight of a day.
func dayOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

// newRecurrence returns the series that a rule makes from a start on, in local
// time. The error says why Outlook has none for it.
func newRecurrence(r ical.Rule, start time.Time, until time.Time) (*recurrence, error) {
	s := &recurrence{start: dayOf(start), firstDay: r.WeekStart, period: r.Interval}
	if len(r.Other) > 0 {
		return nil, fmt.Errorf("its rule has %.40s", r.Other[0])
	}
	if !isOnly(r.ByHour, start.Hour()) || !isOnly(r.ByMinute, start.Minute()) || !isOnly(r.BySecond, start.Second()) {
		return nil, fmt.Errorf("it is several times a day")
	}
	if err := s.template(r, start); err != nil {
		return nil, err
	}
	most := map[uint16]int{byDay: 999, byWeek: 99, byMonth: 99 * 12, byMonthNth: 99 * 12}[s.pattern]
	if s.period > most {
		return nil, fmt.Errorf("its interval is %d", r.Interval)
	}
	return s, s.limit(r, until)
}

// isOnly reports whether a list has no other value.
func isOnly(list []int, v int) bool {
	for _, n := range list {
		if n != v {
			return false
		}
	}
	return true
}

// template finds the one of MS-OXCICAL 2.1.3.2.2 that the rule fits.
func (s *recurrence) template(r ical.Rule, start time.Time) error {
	if len(r.ByMonth) > 1 || len(r.ByMonth) > 0 && r.Freq != "YEARLY" {
		return fmt.Errorf("it is in certain months")
	}
	days, nth, numbered := 0, 0, false
	for i, d := range r.ByDay {
		if i > 0 && d.N != nth {
			return fmt.Errorf("it is on days of several weeks of a month")
		}
		nth, numbered = d.N, d.N != 0
		days |= 1 << d.Weekday
	}
	if numbered && len(r.ByDay) > 1 {
		return fmt.Errorf("it is on several numbered days of a month")
	}
	if len(r.BySetPos) > 0 {
		if numbered || len(r.BySetPos) > 1 || days == 0 {
			return fmt.Errorf("it is on several positions of a month")
		}
		nth, numbered = r.BySetPos[0], true
	}
	if numbered && (nth == 0 || nth < -1 || nth > 4) {
		return fmt.Errorf("it is on position %d", nth)
	}
	if len(r.ByMonthDay) > 0 && (days != 0 || len(r.ByMonthDay) > 1 || r.ByMonthDay[0] < -1) {
		return fmt.Errorf("it is on several days of a month, or on one counted from its end")
	}
	weeks := func() {
		s.frequency, s.pattern, s.days = weekly, byWeek, days
	}
	switch r.Freq {
	case "DAILY":
		switch {
		case numbered || len(r.ByMonthDay) > 0 || days != 0 && r.Interval > 1:
			return fmt.Errorf("it is on certain days of every day")
		case days != 0:
			weeks()
		default:
			s.frequency, s.pattern = daily, byDay
		}
	case "WEEKLY":
		if numbered || len(r.ByMonthDay) > 0 {
			return fmt.Errorf("it is on numbered days of every week")
		}
		if days == 0 {
			days = 1 << start.Weekday()
		}
		weeks()
	case "MONTHLY", "YEARLY":
		s.frequency = monthly
		s.month = start.Month()
		if r.Freq == "YEARLY" {
			s.frequency = yearly
			s.period = 12 * r.Interval
			if r.Interval > 1 {
				s.frequency = monthly
			}
			if len(r.ByMonth) == 1 {
				s.month = time.Month(r.ByMonth[0])
			} else if days != 0 || len(r.ByMonthDay) > 0 {
				return fmt.Errorf("it is on days of a year")
			}
			if s.month != start.Month() {
				return fmt.Errorf("its first date is not one of its rule")
			}
		}
		switch {
		case numbered:
			s.pattern, s.days, s.nth = byMonthNth, days, nth
			if nth == -1 {
				s.nth = 5
			}
		case days != 0:
			if r.Freq != "MONTHLY" || r.Interval > 1 {
				return fmt.Errorf("it is on weekdays of certain months")
			}
			s.period = 1
			weeks()
		default:
			s.pattern, s.day = byMonth, start.Day()
			if len(r.ByMonthDay) == 1 {
				s.day = r.ByMonthDay[0]
			}
			switch {
			case s.day == -1:
				s.day = 31
			case s.day > 28 && (s.frequency == monthly || s.month == time.February):
				return fmt.Errorf("it is on day %d, which is not in every month", s.day)
			}
		}
	default:
		return fmt.Errorf("it is %.20s", strings.ToLower(r.Freq))
	}
	return nil
}

// limit finds the first and the last instance.
func (s *recurrence) limit(r ical.Rule, until time.Time) error {
	if r.Count > maxCount {
		return fmt.Errorf("it has %d instances", r.Count)
	}
	endless := r.Count == 0 && (until.IsZero() || until.Year() >= endOfTime)
	s.counted = r.Count > 0
	steps := 0
	for d := range s.from(s.start) {
		if s.count == 0 && !d.Equal(s.start) {
			return fmt.Errorf("its first date is not one of its rule")
		}
		if !endless && r.Count == 0 && d.After(until) {
			break
		}
		s.count++
		s.end = d
		if endless || s.count == r.Count {
			break
		}
		if steps++; steps > maxSteps {
			return fmt.Errorf("it has more than %d instances", maxSteps)
		}
	}
	if endless {
		s.count, s.end = 0, time.Time{}
		return nil
	}
	if s.count == 0 || r.Count > s.count {
		return fmt.Errorf("it has no instances, or ends past the year %d", endOfTime)
	}
	return nil
}

// from yields the dates of the rule from a day on, which is not before the start.
// They may be without an end but for that of time.
func (s *recurrence) from(day time.Time) func(yield func(time.Time) bool) {
	return func(yield func(time.Time) bool) {
		last := time.Date(endOfTime, 1, 1, 0, 0, 0, 0, time.UTC)
		switch s.pattern {
		case byDay:
			d := s.start
			if gap := int(day.Sub(s.start) / (24 * time.Hour)); gap > 0 {
				d = d.AddDate(0, 0, (gap+s.period-1)/s.period*s.period)
			}
			for ; d.Before(last); d = d.AddDate(0, 0, s.period) {
				if !yield(d) {
					return
				}
			}
		case byWeek:
			week := s.weekStart(s.start)
			if gap := int(s.weekStart(day).Sub(week) / (7 * 24 * time.Hour)); gap > 0 {
				week = week.AddDate(0, 0, 7*(gap/s.period*s.period))
			}
			for ; week.Before(last); week = week.AddDate(0, 0, 7*s.period) {
				for i := range 7 {
					d := week.AddDate(0, 0, i)
					if s.days&(1<<d.Weekday()) != 0 && !d.Before(day) && !d.Before(s.start) && !yield(d) {
						return
					}
				}
			}
		default:
			n := monthsOf(s.start)
			if gap := monthsOf(day) - n; gap > 0 {
				n += gap / s.period * s.period
			}
			for ; ; n += s.period {
				d := s.inMonth(1601+n/12, time.Month(n%12+1))
				if !d.Before(last) {
					return
				}
				if !d.Before(day) && !d.Before(s.start) && !yield(d) {
					return
				}
			}
		}
	}
}

// monthsOf returns months since January 1601.
func monthsOf(t time.Time) int { return 12*(t.Year()-1601) + int(t.Month()) - 1 }

// weekStart returns the first day of a week.
func (s *recurrence) weekStart(day time.Time) time.Time {
	return day.AddDate(0, 0, -(int(day.Weekday())-int(s.firstDay)+7)%7)
}

// inMonth returns the date in a month.
func (s *recurrence) inMonth(year int, month time.Month) time.Time {
	last := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC)
	if s.pattern == byMonth {
		return last.AddDate(0, 0, min(s.day, last.Day())-last.Day())
	}
	found, date := 0, time.Time{}
	for i := range last.Day() {
		d := last.AddDate(0, 0, i+1-last.Day())
		if s.days&(1<<d.Weekday()) == 0 {
			continue
		}
		found, date = found+1, d
		if found == s.nth && s.nth < 5 {
			break
		}
	}
	return date
}

// has reports whether there is an instance on a day, by the rule alone.
func (s *recurrence) has(day time.Time) bool {
	if day.Before(s.start) || !s.end.IsZero() && day.After(s.end) {
		return false
	}
	for d := range s.from(day) {
		return d.Equal(day)
	}
	return false
}

// next returns the first instance after a time, at that time of the day; false if
// there is none. Deleted ones are passed over.
func (s *recurrence) next(after time.Time, clock time.Duration) (time.Time, bool) {
	from := dayOf(after)
	if from.Before(s.start) {
		from = s.start
	}
	for d := range s.from(from) {
		if !s.end.IsZero() && d.After(s.end) {
			return time.Time{}, false
		}
		_, deleted := slices.BinarySearchFunc(s.deleted, d, time.Time.Compare)
		if t := d.Add(clock); t.After(after) && !deleted {
			return t, true
		}
	}
	return time.Time{}, false
}

// first is FirstDateTime (MS-OXOCAL 2.2.1.44.1.1).
func (s *recurrence) first() uint32 {
	switch s.pattern {
	case byDay:
		return minutesOf(s.start) % uint32(s.period*minutesOfDay)
	case byWeek:
		return minutesOf(s.weekStart(s.start)) % uint32(s.period*7*minutesOfDay)
	}
	n := monthsOf(s.start) % s.period
	return minutesOf(time.Date(1601, time.Month(1+n), 1, 0, 0, 0, 0, time.UTC))
}

// blob returns PidLidAppointmentRecur (MS-OXOCAL 2.2.1.44.5) for instances from
// start to end, which are times of the first day in minutes since its midnight.
func (s *recurrence) blob(start, end uint32) []byte {
	le := binary.LittleEndian
	u16 := func(b []byte, list ...uint16) []byte {
		for _, v := range list {
			b = le.AppendUint16(b, v)
		}
		return b
	}
	u32 := func(b []byte, list ...uint32) []byte {
		for _, v := range list {
			b = le.AppendUint32(b, v)
		}
		return b
	}
	b := u16(nil, 0x3004, 0x3004, s.frequency, s.pattern, 0)
	period := uint32(s.period)
	if s.pattern == byDay {
		period *= minutesOfDay
	}
	b = u32(b, s.first(), period, 0)
	switch s.pattern {
	case byWeek:
		b = u32(b, uint32(s.days))
	case byMonth:
		b = u32(b, uint32(s.day))
	case byMonthNth:
		b = u32(b, uint32(s.days), uint32(s.nth))
	}
	endType, count, last := uint32(0x2021), uint32(s.count), uint32(0x5AE980DF)
	switch {
	case s.end.IsZero():
		endType, count = 0x2023, 10
	case s.counted:
		endType = 0x2022
	}
	if !s.end.IsZero() {
		last = minutesOf(s.end)
	}
	b = u32(b, endType, count, uint32(s.firstDay), uint32(len(s.deleted)))
	for _, d := range s.deleted {
		b = u32(b, minutesOf(d))
	}
	var modified []uint32
	for _, e := range s.exceptions {
		modified = append(modified, minutesOf(dayOf(e.start)))
	}
	b = u32(b, uint32(len(modified)))
	b = u32(b, modified...)
	b = u32(b, minutesOf(s.start), last)

	b = u32(b, 0x3006, 0x3009, start, end)
	b = u16(b, uint16(len(s.exceptions)))
	for _, e := range s.exceptions {
		b = u32(b, minutesOf(e.start), minutesOf(e.end), minutesOf(e.original))
		b = u16(b, e.flags)
		for _, t := range []struct {
			flag uint16
			text string
		}{{overrideSubject, e.subject}, {overrideLocation, e.location}} {
			if e.flags&t.flag != 0 {
				narrow := windows1252(t.text)
				b = u16(b, uint16(len(narrow)+1), uint16(len(narrow)))
				b = append(b, narrow...)
			}
		}
		if e.flags&overrideBusy != 0 {
			b = u32(b, uint32(e.busy))
		}
		if e.flags&overrideAllDay != 0 {
			v := uint32(0)
			if e.allDay {
				v = 1
			}
			b = u32(b, v)
		}
	}
	b = u32(b, 0)
	for _, e := range s.exceptions {
		b = u32(b, 4, 0, 0)
		if e.flags&(overrideSubject|overrideLocation) == 0 {
			continue
		}
		b = u32(b, minutesOf(e.start), minutesOf(e.end), minutesOf(e.original))
		for _, t := range []struct {
			flag uint16
			text string
		}{{overrideSubject, e.subject}, {overrideLocation, e.location}} {
			if e.flags&t.flag != 0 {
				wide := mapi.AppendUTF16(nil, t.text)
				b = u16(b, uint16(len(wide)/2))
				b = append(b, wide...)
			}
		}
		b = u32(b, 0)
	}
	return u32(b, 0)
}
