package outlook

import (
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"postroom/ingest/message/mapi"
	"postroom/ingest/outlook/ical"
	"postroom/ingest/outlook/zoneinfo"
)

// zone is a time zone as a calendar or its name defines it.
type zone struct {
	name string         // by which Windows knows it; that of the calendar if it does not
	tzid string         // that of the calendar
	at   *time.Location // nil if rule is what defines it
	rule zoneRule
}

// zoneRule is when the clocks of a zone change (MS-OXOCAL 2.2.1.39). A bias is in
// minutes, UTC less local time; those of standard and daylight time add to it.
type zoneRule struct {
	bias, standard, daylight   int32
	standardDate, daylightDate systemTime
}

// systemTime is a SYSTEMTIME (MS-DTYP 2.3.13) that recurs each year: the nth
// weekday of a month, the last if n is 5. The zero value is no date.
type systemTime struct {
	month   time.Month
	weekday time.Weekday
	n       int
	clock   time.Duration // since midnight
}

func (s systemTime) append(b []byte) []byte {
	c := s.clock
	for _, n := range []int{0, int(s.month), int(s.weekday), s.n, int(c / time.Hour), int(c / time.Minute % 60), int(c / time.Second % 60), 0} {
		b = binary.LittleEndian.AppendUint16(b, uint16(n))
	}
	return b
}

// in returns when that is in a year, in local time.
func (s systemTime) in(year int) time.Time {
	return nthWeekday(year, s.month, s.weekday, s.n).Add(s.clock)
}

// nthWeekday returns the nth weekday of a month, the last if n is 5.
func nthWeekday(year int, month time.Month, day time.Weekday, n int) time.Time {
	first := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
	t := first.AddDate(0, 0, (int(day)-int(first.Weekday())+7)%7+7*(n-1))
	if t.Month() != first.Month() {
		t = t.AddDate(0, 0, -7)
	}
	return t
}

// saves reports whether the zone has daylight saving time.
func (r zoneRule) saves() bool { return r.daylightDate.month != 0 }

// utc returns the time at which a clock of the zone shows wall.
func (z *zone) utc(wall time.Time) time.Time {
	if z.at != nil {
		return time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, z.at).UTC()
	}
	r := z.rule
	bias := r.bias + r.standard
	if r.saves() {
		on, off := r.daylightDate.in(wall.Year()), r.standardDate.in(wall.Year())
		summer := !wall.Before(on) && wall.Before(off)
		if off.Before(on) { // the southern hemisphere
			summer = !wall.Before(on) || wall.Before(off)
		}
		if summer {
			bias = r.bias + r.daylight
		}
	}
	return wall.Add(time.Duration(bias) * time.Minute)
}

// wall returns what a clock of the zone shows, in the location UTC.
func (z *zone) wall(t time.Time) time.Time {
	t = t.UTC()
	if z.at != nil {
		l := t.In(z.at)
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), 0, time.UTC)
	}
	for _, bias := range []int32{z.rule.bias + z.rule.daylight, z.rule.bias + z.rule.standard} {
		if w := t.Add(-time.Duration(bias) * time.Minute); z.utc(w).Equal(t) {
			return w
		}
	}
	return t.Add(-time.Duration(z.rule.bias+z.rule.standard) * time.Minute)
}

// blob returns PidLidTimeZoneStruct (MS-OXOCAL 2.2.1.39).
func (r zoneRule) blob() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, uint32(r.bias))
	b = le.AppendUint32(b, uint32(r.standard))
	b = le.AppendUint32(b, uint32(r.daylight))
	b = r.standardDate.append(append(b, 0, 0))
	return r.daylightDate.append(append(b, 0, 0))
}

// Flags of a rule in a definition (MS-OXOCAL 2.2.1.41.1).
const (
	ruleRecurs    = 1
	ruleEffective = 2
)

// definition returns a PidLidAppointmentTimeZoneDefinition… (MS-OXOCAL 2.2.1.41)
// with one rule, that of all years.
func (z *zone) definition(flags uint16) []byte {
	le := binary.LittleEndian
	name := mapi.AppendUTF16(nil, z.name)
	if len(name) > 2*260 {
		name = name[:2*260]
	}
	b := le.AppendUint16([]byte{2, 1}, uint16(6+len(name)))
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, uint16(len(name)/2))
	b = append(b, name...)
	b = le.AppendUint16(b, 1)
	b = append(b, 2, 1)
	b = le.AppendUint16(b, 0x3E)
	b = le.AppendUint16(b, flags)
	// From the beginning of time on: Outlook has a whole SYSTEMTIME, of which the
	// specification knows the year only.
	for _, n := range []uint16{1601, 1, 0, 1, 0, 0, 0, 0} {
		b = le.AppendUint16(b, n)
	}
	r := z.rule
	for _, bias := range []int32{r.bias, r.standard, r.daylight} {
		b = le.AppendUint32(b, uint32(bias))
	}
	return r.daylightDate.append(r.standardDate.append(b))
}

// utcZone is that of times without one.
func utcZone() *zone { return &zone{name: "UTC", tzid: "UTC", at: time.UTC} }

// zoneOffset finds the offset in a name such as "(UTC-05:00) Eastern Time".
var zoneOffset = regexp.MustCompile(`(?i)(?:UTC|GMT) ?([+-])(\d{1,2})(?:[:.]?([0-5]\d))?\b`)

// offsetZone returns the zone whose offset its name has in it, else UTC.
func offsetZone(tzid string) *zone {
	m := zoneOffset.FindStringSubmatch(tzid)
	if m == nil {
		return utcZone()
	}
	hours, _ := strconv.Atoi(m[2])
	minutes, _ := strconv.Atoi("0" + m[3])
	if hours > 14 {
		return utcZone()
	}
	bias := int32(-60*hours - minutes)
	if m[1] == "-" {
		bias = -bias
	}
	name := fmt.Sprintf("UTC%s%02d:%02d", m[1], hours, minutes)
	return &zone{name: name, tzid: name, rule: zoneRule{bias: bias}}
}

// zones are those of a calendar.
type zones struct {
	ctx     context.Context
	defined map[string]*definedZone // by the TZID, in lower case
	none    string                  // the name of that of times without one
	found   map[zoneKey]namedZone
}

// definedZone is a VTIMEZONE.
type definedZone struct {
	component   *ical.Component
	observances []observance
	read        bool
}

type zoneKey struct {
	tzid string
	year int
}

// namedZone is what was found by a name.
type namedZone struct {
	zone  *zone
	known bool
}

// Bounds of what is looked for.
const (
	maxZones    = 100 // zones and years of a calendar
	maxZoneName = 500 // bytes
)

func newZones(ctx context.Context, calendar *ical.Component) *zones {
	z := &zones{ctx: ctx, defined: map[string]*definedZone{}, found: map[zoneKey]namedZone{}, none: calendar.Text("X-WR-TIMEZONE")}
	last := ""
	for _, c := range calendar.Components {
		if c.Name != "VTIMEZONE" {
			continue
		}
		last = strings.TrimSpace(c.Text("TZID"))
		if key := strings.ToLower(last); z.defined[key] == nil {
			z.defined[key] = &definedZone{component: c}
		}
	}
	if len(z.defined) == 1 {
		z.none = last
	}
	return z
}

// get returns the zone of that name in a year: as the calendar defines it, else as
// its name does. If nothing does, known is false, and it is the offset that its
// name has in it, else UTC; so it is if more are asked for than maxZones, or the
// context has ended.
func (z *zones) get(tzid string, year int) (found *zone, known bool) {
	if tzid == "" {
		if tzid = z.none; tzid == "" {
			return utcZone(), true
		}
	}
	if len(tzid) > maxZoneName {
		return utcZone(), false
	}
	key := zoneKey{tzid, year}
	if f, looked := z.found[key]; looked {
		return f.zone, f.known
	}
	if len(z.found) == maxZones || z.ctx.Err() != nil {
		return utcZone(), false
	}
	found = z.find(tzid, year)
	known = found != nil
	if !known {
		found = offsetZone(tzid)
	}
	z.found[key] = namedZone{found, known}
	return found, known
}

func (z *zones) find(tzid string, year int) *zone {
	name := windowsName(tzid)
	if d := z.defined[strings.ToLower(strings.TrimSpace(tzid))]; d != nil {
		if !d.read {
			d.observances, d.read = readObservances(d.component), true
		}
		if r, ok := vtimezone(d.observances, year); ok {
			return &zone{name: either(name, tzid), tzid: tzid, rule: r}
		}
	}
	if at := location(tzid); at != nil {
		return &zone{name: either(name, tzid), tzid: tzid, at: at, rule: ruleOf(at, year)}
	}
	return nil
}

// vtimezone returns the rule that the observances of a VTIMEZONE are for a year
// (MS-OXCICAL 2.1.3.1.1.19).
func vtimezone(list []observance, year int) (r zoneRule, ok bool) {
	latest := time.Date(year, 12, 31, 23, 0, 0, 0, time.UTC)
	var standard, daylight *observance
	for _, o := range list {
		o.inYear(year)
		best := &standard
		if o.saves {
			best = &daylight
		}
		switch {
		case *best == nil:
			*best = &o
		case o.start.After(latest) != (*best).start.After(latest): // not begun yet
			if (*best).start.After(latest) {
				*best = &o
			}
		case o.ended != (*best).ended:
			if (*best).ended {
				*best = &o
			}
		case o.start.After((*best).start):
			*best = &o
		}
	}
	switch {
	case standard == nil && daylight == nil:
		return r, false
	case standard == nil:
		r.bias = -daylight.offset
		return r, true
	}
	r.bias = -standard.offset
	// Daylight time that was given up, or that has no date to begin at.
	if daylight == nil || daylight.ended || daylight.date.month == 0 || standard.date.month == 0 || daylight.offset == standard.offset {
		return r, true
	}
	r.daylight = -daylight.offset - r.bias
	r.standardDate, r.daylightDate = standard.date, daylight.date
	return r, true
}

// observance is a STANDARD or DAYLIGHT of a VTIMEZONE.
type observance struct {
	saves  bool // is a DAYLIGHT
	start  time.Time
	offset int32 // minutes, local time less UTC
	date   systemTime
	listed []time.Time // when it begins, if no rule says so
	until  int         // the last year of the rule; 0 if there is none
	ended  bool        // before the year
}

// inYear sets what depends on a year.
func (o *observance) inYear(year int) {
	o.ended = o.until != 0 && o.until < year
	if o.listed == nil {
		return
	}
	// The one of that year is what counts.
	last := o.start
	for _, t := range o.listed {
		if t.Year() == year || t.After(last) && last.Year() != year {
			last = t
		}
	}
	o.start = last
	o.date.month, o.date.weekday, o.date.n = last.Month(), last.Weekday(), weekOf(last)
}

func readObservances(c *ical.Component) (list []observance) {
	for _, sub := range c.Components {
		if o, ok := readObservance(sub); ok {
			list = append(list, o)
		}
	}
	return list
}

func readObservance(c *ical.Component) (o observance, ok bool) {
	if c.Name != "STANDARD" && c.Name != "DAYLIGHT" {
		return o, false
	}
	to, _ := c.Get("TZOFFSETTO")
	offset, ok := to.Offset()
	start, _ := c.Get("DTSTART")
	begin, good := start.Time()
	if !ok || !good {
		return o, false
	}
	o.saves, o.offset, o.start = c.Name == "DAYLIGHT", int32(offset/time.Minute), begin.Wall
	on := o.start
	clock := time.Duration(on.Hour())*time.Hour + time.Duration(on.Minute())*time.Minute + time.Duration(on.Second())*time.Second
	o.date = systemTime{on.Month(), on.Weekday(), weekOf(on), clock}
	p, recurs := c.Get("RRULE")
	rule, good := p.Rule()
	if !recurs || !good || rule.Freq != "YEARLY" {
		o.listed = []time.Time{on}
		for _, d := range c.All("RDATE") {
			times, _ := d.Times()
			for _, t := range times {
				o.listed = append(o.listed, t.Wall)
			}
		}
		return o, true
	}
	if !rule.Until.Wall.IsZero() {
		o.until = rule.Until.Wall.Year()
	}
	if len(rule.ByMonth) == 1 {
		o.date.month = time.Month(rule.ByMonth[0])
	}
	if len(rule.ByDay) == 1 {
		d := rule.ByDay[0]
		o.date.weekday = d.Weekday
		switch {
		case d.N == 0 && len(rule.BySetPos) == 1:
			d.N = rule.BySetPos[0]
		case d.N == 0 && len(rule.ByMonthDay) > 0 && rule.ByMonthDay[0] > 0: // the first Sunday from the 8th on
			d.N = (rule.ByMonthDay[0]-1)/7 + 1
		}
		switch {
		case d.N < 0 || d.N > 4:
			o.date.n = 5
		case d.N > 0:
			o.date.n = d.N
		}
	}
	return o, true
}

// weekOf returns which weekday of its month a day is, 5 if it is the last.
func weekOf(t time.Time) int {
	if t.AddDate(0, 0, 7).Month() != t.Month() {
		return 5
	}
	return (t.Day()-1)/7 + 1
}

// ruleOf returns the rule of a location in a year.
func ruleOf(at *time.Location, year int) (r zoneRule) {
	type change struct {
		when         time.Time // in local time before it
		from, to     int
		intoDaylight bool
	}
	var changes []change
	offsetAt := func(unix int64) int {
		_, offset := time.Unix(unix, 0).In(at).Zone()
		return offset
	}
	// time.Time.ZoneBounds has bounds at which nothing changes, so each day is looked at.
	t, end := time.Date(year, 1, 1, 0, 0, 0, 0, at).Unix(), time.Date(year+1, 1, 1, 0, 0, 0, 0, at).Unix()
	offset := offsetAt(t)
	for t < end-1 {
		before, after := t, min(t+24*60*60, end-1)
		t = after
		from, to := offset, offsetAt(after)
		if from == to {
			continue
		}
		for after-before > 1 {
			if mid := (before + after) / 2; offsetAt(mid) == from {
				before = mid
			} else {
				after = mid
			}
		}
		changes = append(changes, change{time.Unix(after, 0).UTC().Add(time.Duration(from) * time.Second), from, to, to > from})
		offset = to
	}
	if len(changes) != 2 || changes[0].intoDaylight == changes[1].intoDaylight || changes[0].from != changes[1].to {
		return zoneRule{bias: int32(-offset / 60)}
	}
	for _, c := range changes {
		w := c.when
		n := weekOf(w)
		// A fourth week may be the last one, and the other way round.
		if day := (w.Day()-1)/7 + 1; n == 5 && day == 4 && !always(at, year, w, 5) {
			n = 4
		}
		date := systemTime{w.Month(), w.Weekday(), n, w.Sub(time.Date(w.Year(), w.Month(), w.Day(), 0, 0, 0, 0, time.UTC))}
		if c.intoDaylight {
			r.daylightDate = date
			r.bias, r.daylight = int32(-c.from/60), int32((c.from-c.to)/60)
		} else {
			r.standardDate = date
		}
	}
	return r
}

// always reports whether the change at that time of a year is in the nth week in
// the years after it too.
func always(at *time.Location, year int, change time.Time, n int) bool {
	s := systemTime{change.Month(), change.Weekday(), n, time.Duration(change.Hour())*time.Hour + time.Duration(change.Minute())*time.Minute}
	for y := year + 1; y < year+6; y++ {
		w := s.in(y)
		t := time.Date(y, w.Month(), w.Day(), 0, 0, 0, 0, at)
		_, before := t.Zone()
		_, after := t.AddDate(0, 0, 1).Zone()
		if before == after {
			return false
		}
	}
	return true
}

//go:embed windowszones.txt
var windowsZones string

// zoneNames returns names of zones by those of IANA and Windows in lower case: the
// one of IANA, and the one that Windows has for it (CLDR,
// supplemental/windowsZones).
var zoneNames = sync.OnceValues(func() (iana, windows map[string]string) {
	iana, windows = map[string]string{}, map[string]string{}
	for line := range strings.Lines(windowsZones) {
		name, zones, _ := strings.Cut(strings.TrimSpace(line), "=")
		for i, z := range strings.Fields(zones) {
			if i == 0 {
				iana[strings.ToLower(name)] = z
			}
			iana[strings.ToLower(z)] = z
			windows[strings.ToLower(z)] = name
		}
		windows[strings.ToLower(name)] = name
	}
	return iana, windows
})

// windowsName returns the name that Windows has for a zone, empty if it has none.
func windowsName(tzid string) string {
	_, windows := zoneNames()
	for _, name := range tails(tzid) {
		if w := windows[strings.ToLower(name)]; w != "" {
			return w
		}
	}
	return ""
}

// location returns a zone by its name of IANA or Windows, nil if there is none.
func location(tzid string) *time.Location {
	iana, _ := zoneNames()
	for _, name := range tails(tzid) {
		if z := iana[strings.ToLower(name)]; z != "" {
			name = z
		}
		if at := zoneinfo.Load(name); at != nil {
			return at
		}
	}
	return nil
}

// tails returns a name and, of one with a prefix such as /freeassociation.org/,
// what may be the name in it.
func tails(tzid string) []string {
	tzid = strings.Trim(strings.TrimSpace(tzid), `"`)
	out := []string{tzid}
	parts := strings.Split(tzid, "/")
	for n := 3; n >= 2; n-- {
		if len(parts) > n {
			out = append(out, strings.Join(parts[len(parts)-n:], "/"))
		}
	}
	return out
}
