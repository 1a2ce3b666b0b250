package outlook_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"postroom/ingest/outlook"
)

// pattern is an AppointmentRecurrencePattern, decoded by MS-OXOCAL 2.2.1.44 alone.
type pattern struct {
	frequency, kind, calendar       uint16
	first, period, sliding          uint32
	specific                        []uint32
	endType, count, firstDay        uint32
	deleted, modified               []uint32
	startDate, endDate              uint32
	reader2, writer2                uint32
	startOffset, endOffset          uint32
	exceptions                      []changed
	reserved1, reserved2, remaining int
}

// changed is an ExceptionInfo with its ExtendedException.
type changed struct {
	start, end, original uint32
	flags                uint16
	narrow, wide         [2]string // subject and location
	again                [3]uint32
	values               map[uint16]uint32
}

type bytesReader struct {
	t testing.TB
	b []byte
}

func (r *bytesReader) take(n int) []byte {
	if n > len(r.b) {
		r.t.Fatalf("%d bytes are missing", n-len(r.b))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}
func (r *bytesReader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }
func (r *bytesReader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *bytesReader) list() (out []uint32) {
	for range r.u32() {
		out = append(out, r.u32())
	}
	return out
}

func decodePattern(t testing.TB, b []byte) pattern {
	t.Helper()
	r := &bytesReader{t, b}
	var p pattern
	if v := r.u32(); v != 0x30043004 {
		t.Errorf("versions %x", v)
	}
	p.frequency, p.kind, p.calendar = r.u16(), r.u16(), r.u16()
	p.first, p.period, p.sliding = r.u32(), r.u32(), r.u32()
	switch p.kind {
	case 1, 2, 4:
		p.specific = []uint32{r.u32()}
	case 3:
		p.specific = []uint32{r.u32(), r.u32()}
	}
	p.endType, p.count, p.firstDay = r.u32(), r.u32(), r.u32()
	p.deleted, p.modified = r.list(), r.list()
	p.startDate, p.endDate = r.u32(), r.u32()
	p.reader2, p.writer2 = r.u32(), r.u32()
	p.startOffset, p.endOffset = r.u32(), r.u32()
	n := int(r.u16())
	for range n {
		e := changed{start: r.u32(), end: r.u32(), original: r.u32(), flags: r.u16(), values: map[uint16]uint32{}}
		narrow := func() string {
			long, short := r.u16(), r.u16()
			if long != short+1 {
				t.Errorf("lengths %d and %d", long, short)
			}
			return string(r.take(int(short)))
		}
		for flag := uint16(1); flag != 0; flag <<= 1 {
			switch {
			case e.flags&flag == 0 || flag == 0x200:
			case flag == 1:
				e.narrow[0] = narrow()
			case flag == 0x10:
				e.narrow[1] = narrow()
			default:
				e.values[flag] = r.u32()
			}
		}
		p.exceptions = append(p.exceptions, e)
	}
	p.reserved1 = len(r.take(int(r.u32())))
	for i := range p.exceptions {
		e := &p.exceptions[i]
		if p.writer2 >= 0x3009 {
			r.take(int(r.u32()))
		}
		r.take(int(r.u32()))
		if e.flags&0x11 == 0 {
			continue
		}
		e.again = [3]uint32{r.u32(), r.u32(), r.u32()}
		for j, flag := range []uint16{1, 0x10} {
			if e.flags&flag != 0 {
				e.wide[j] = fromUTF16(r.take(2 * int(r.u16())))
			}
		}
		r.take(int(r.u32()))
	}
	p.reserved2 = len(r.take(int(r.u32())))
	p.remaining = len(r.b)
	return p
}

var year1601 = time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC)

func dateOf(minutes uint32) time.Time {
	return time.Unix(year1601.Unix()+60*int64(minutes), 0).UTC()
}

// is reports whether the pattern has an instance on a day, as MS-OXOCAL
// 2.2.1.44.1.2 finds it: by congruence with FirstDateTime.
func (p pattern) is(day time.Time) bool {
	minutes := uint32((day.Unix() - year1601.Unix()) / 60)
	if minutes < p.startDate || minutes > p.endDate {
		return false
	}
	first := dateOf(p.first)
	months := uint32(12*(day.Year()-1601) + int(day.Month()) - 1)
	firstMonth := uint32(12*(first.Year()-1601) + int(first.Month()) - 1)
	weekday := uint32(1) << day.Weekday()
	last := time.Date(day.Year(), day.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
	switch p.kind {
	case 0:
		return (minutes-p.first)%p.period == 0
	case 1:
		week := minutes - 1440*((uint32(day.Weekday())+7-p.firstDay)%7)
		return p.specific[0]&weekday != 0 && (week-p.first)%(10080*p.period) == 0
	case 2:
		return (months-firstMonth)%p.period == 0 && day.Day() == min(int(p.specific[0]), last)
	case 3:
		if (months-firstMonth)%p.period != 0 || p.specific[0]&weekday == 0 {
			return false
		}
		before, after := 0, 0
		for d := 1; d <= last; d++ {
			at := time.Date(day.Year(), day.Month(), d, 0, 0, 0, 0, time.UTC)
			if p.specific[0]&(1<<at.Weekday()) != 0 {
				switch {
				case d < day.Day():
					before++
				case d > day.Day():
					after++
				}
			}
		}
		return p.specific[1] == 5 && after == 0 || p.specific[1] < 5 && before+1 == int(p.specific[1])
	}
	return false
}

func (p pattern) dates(most int) (out []string) {
	for day := dateOf(p.startDate); len(out) < most && day.Year() < 2200; day = day.AddDate(0, 0, 1) {
		if m := uint32((day.Unix() - year1601.Unix()) / 60); p.is(day) && !slices.Contains(p.deleted, m) {
			out = append(out, day.Format("06-01-02"))
		}
	}
	return out
}

const recurKey, setAppointment = "02200600:8216:0102", "02200600:"

// invitation is the mail of a request with one event.
func invitation(event string) []byte {
	return crlf([]byte("From: a@example.com\nSubject: x\nDate: Mon, 5 Jan 2026 09:00:00 +0000\nContent-Type: text/calendar; method=REQUEST\n\n" +
		"BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:1\nSUMMARY:x\n" + event + "\nEND:VEVENT\nEND:VCALENDAR\n"))
}

// TestRecurrence: what is written says when the instances are.
func TestRecurrence(t *testing.T) {
	for _, tt := range []struct {
		start, rule string
		dates       string // the first ones; with … at the end there are more of them
		end         string // type of the end, and the count
		period      string // frequency, pattern and period
	}{
		{"20260105", "FREQ=DAILY;COUNT=3", "26-01-05 26-01-06 26-01-07", "2022 3", "200A 0 1440"},
		{"20260105", "FREQ=DAILY;INTERVAL=3;UNTIL=20260112", "26-01-05 26-01-08 26-01-11", "2021 3", "200A 0 4320"},
		{"20260105", "FREQ=DAILY", "26-01-05 26-01-06 26-01-07 …", "2023 10", "200A 0 1440"},
		{"20260105", "FREQ=DAILY;UNTIL=99991231", "26-01-05 26-01-06 26-01-07 …", "2023 10", "200A 0 1440"},
		{"20260109", "FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR;COUNT=3", "26-01-09 26-01-12 26-01-13", "2022 3", "200B 1 1"},
		{"20260106", "FREQ=WEEKLY;COUNT=3", "26-01-06 26-01-13 26-01-20", "2022 3", "200B 1 1"},
		{"20260106", "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;COUNT=4", "26-01-06 26-01-11 26-01-20 26-01-25", "2022 4", "200B 1 2"},
		{"20260106", "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;COUNT=4;WKST=SU", "26-01-06 26-01-18 26-01-20 26-02-01", "2022 4", "200B 1 2"},
		{"20260111", "FREQ=WEEKLY;INTERVAL=3;BYDAY=SU,MO;COUNT=4;WKST=SU", "26-01-11 26-01-12 26-02-01 26-02-02", "2022 4", "200B 1 3"},
		{"20260115", "FREQ=MONTHLY;INTERVAL=2;COUNT=3", "26-01-15 26-03-15 26-05-15", "2022 3", "200C 2 2"},
		{"20260131", "FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=3", "26-01-31 26-02-28 26-03-31", "2022 3", "200C 2 1"},
		{"20260113", "FREQ=MONTHLY;BYDAY=2TU;COUNT=3", "26-01-13 26-02-10 26-03-10", "2022 3", "200C 3 1"},
		{"20260130", "FREQ=MONTHLY;BYDAY=-1FR;COUNT=3", "26-01-30 26-02-27 26-03-27", "2022 3", "200C 3 1"},
		{"20260130", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=3", "26-01-30 26-02-27 26-03-31", "2022 3", "200C 3 1"},
		{"20260131", "FREQ=MONTHLY;BYDAY=SU,MO,TU,WE,TH,FR,SA;BYSETPOS=-1;COUNT=3", "26-01-31 26-02-28 26-03-31", "2022 3", "200C 3 1"},
		{"20260103", "FREQ=MONTHLY;BYDAY=SA,SU;BYSETPOS=1;INTERVAL=5;COUNT=3", "26-01-03 26-06-06 26-11-01", "2022 3", "200C 3 5"},
		{"20260105", "FREQ=MONTHLY;BYDAY=MO;COUNT=3", "26-01-05 26-01-12 26-01-19", "2022 3", "200B 1 1"},
		{"20260401", "FREQ=YEARLY;COUNT=3", "26-04-01 27-04-01 28-04-01", "2022 3", "200D 2 12"},
		{"20261231", "FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=31;COUNT=2", "26-12-31 27-12-31", "2022 2", "200D 2 12"},
		{"20261126", "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH;COUNT=3", "26-11-26 27-11-25 28-11-23", "2022 3", "200D 3 12"},
		{"20260430", "FREQ=YEARLY;INTERVAL=3;BYMONTH=4;BYDAY=-1TH;COUNT=2", "26-04-30 29-04-26", "2022 2", "200C 3 36"},
		{"20260331", "FREQ=YEARLY;UNTIL=20280330", "26-03-31 27-03-31", "2021 2", "200D 2 12"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			b, report := convert(t, invitation("DTSTART;VALUE=DATE:"+tt.start+"\nRRULE:"+tt.rule), outlook.Options{})
			if len(report.Losses) > 0 {
				t.Error(report.Losses)
			}
			c := readMsg(t, b)
			p := decodePattern(t, c.raw[recurKey])
			want, more := strings.CutSuffix(tt.dates, " …")
			n := strings.Count(want, " ") + 1
			got := p.dates(n + 1)
			if more {
				if p.endDate != 0x5AE980DF {
					t.Errorf("ends on %v", dateOf(p.endDate))
				}
				got = got[:n]
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("%s, not %s", s, want)
			}
			if s := fmt.Sprintf("%x %d", p.endType, p.count); s != tt.end {
				t.Errorf("end %s, not %s", s, tt.end)
			}
			if s := fmt.Sprintf("%X %d %d", p.frequency, p.kind, p.period); s != tt.period {
				t.Errorf("%s, not %s", s, tt.period)
			}
			if p.remaining+p.reserved1+p.reserved2+int(p.sliding)+int(p.calendar) != 0 || p.reader2 != 0x3006 || p.writer2 != 0x3009 || p.startOffset != 0 || p.endOffset != 1440 {
				t.Errorf("%+v", p)
			}
			if d := dateOf(p.startDate).Format("20060102"); d != tt.start {
				t.Errorf("starts on %s", d)
			}
			for key, want := range map[string]string{"8223:000B": "true", "8215:000B": "true", "8231:0003": strconv.Itoa(int(p.frequency) - 0x2009)} {
				if c.values[setAppointment+key] != want {
					t.Errorf("%s is %s", key, c.values[setAppointment+key])
				}
			}
		})
	}
}

// TestRecurrenceDecoder: the decoder of the test reads what the specification has
// as examples (MS-OXOCAL 4.1.1.1, 4.1.1.2, 4.1.1.6).
func TestRecurrenceDecoder(t *testing.T) {
	for text, want := range map[string]string{
		"043004300B2001000000C0210000010000000000000032000000222000000C0000000000000000000000000000008020BC0C20ADBC0C0630000009300000580200007602000000000000000000000000":         "07-03-26 07-03-29 07-03-30 07-04-02 07-04-05 07-04-06 07-04-09 07-04-12 07-04-13 07-04-16 07-04-19 07-04-20",
		"043004300A2000000000A0050000E010000000000000212000000A0000000000000002000000A0C1DC0C80D2DC0C00000000207EDC0C0016DD0C0630000009300000E0010000FE01000000000000000000000000": "11-04-07 11-04-10 11-04-13 11-04-16 11-04-25 11-04-28 11-05-01 11-05-04",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		p := decodePattern(t, b)
		if got := strings.Join(p.dates(20), " "); got != want || p.remaining > 0 {
			t.Errorf("%s, not %s; %d bytes more", got, want, p.remaining)
		}
	}
}

// TestOutlookWrites: the same series as Outlook 2013 writes it, byte for byte.
func TestOutlookWrites(t *testing.T) {
	for event, want := range map[string]string{
		"DTSTART;VALUE=DATE:20221212\nRRULE:FREQ=MONTHLY;BYMONTHDAY=12;COUNT=1;WKST=SU":                       "043004300c20020000000000000001000000000000000c000000222000000100000000000000000000000000000000403a0d00403a0d063000000930000000000000a005000000000000000000000000",
		"DTSTART;VALUE=DATE:20221212\nRRULE:FREQ=YEARLY;COUNT=1;WKST=SU":                                      "043004300d2002000000c05607000c000000000000000c000000222000000100000000000000000000000000000000403a0d00403a0d063000000930000000000000a005000000000000000000000000",
		"DTSTART;TZID=Asia/Tokyo:20221212T160000\nDURATION:PT30M\nRRULE:FREQ=WEEKLY;COUNT=1;BYDAY=MO;WKST=SU": "043004300b2001000000c0210000010000000000000002000000222000000100000000000000000000000000000000403a0d00403a0d0630000009300000c0030000de03000000000000000000000000",
	} {
		b, _ := convert(t, invitation(event), outlook.Options{})
		if got := readMsg(t, b).values[recurKey]; got != want {
			t.Errorf("%s\n%s, not\n%s", event, got, want)
		}
	}
}

// TestInstances: instances that differ, and those that there are not.
func TestInstances(t *testing.T) {
	b, report := convert(t, invitation(`DTSTART;TZID=Europe/Berlin:20260302T093000
DTEND;TZID=Europe/Berlin:20260302T103000
LOCATION:here
RRULE:FREQ=WEEKLY;COUNT=6
EXDATE;TZID=Europe/Berlin:20260309T093000
EXDATE:20260316T083000Z
EXDATE;TZID=Europe/Berlin:20260309T093000,20260310T093000
END:VEVENT
BEGIN:VEVENT
UID:1
RECURRENCE-ID:20260330T073000Z
DTSTART;TZID=Europe/Berlin:20260301T080000
DTEND;TZID=Europe/Berlin:20260301T083000
SUMMARY:x
LOCATION:där
X-MICROSOFT-CDO-BUSYSTATUS:OOF
END:VEVENT
BEGIN:VEVENT
UID:1
RECURRENCE-ID;TZID=Europe/Berlin:20260323T093000
DTSTART;TZID=Europe/Berlin:20260323T093000
DTEND;TZID=Europe/Berlin:20260323T103000
SUMMARY:日本
LOCATION:here
END:VEVENT
BEGIN:VEVENT
UID:1
STATUS:CANCELLED
SUMMARY:x
RECURRENCE-ID;TZID=Europe/Berlin:20260406T093000
DTSTART;TZID=Europe/Berlin:20260406T093000`), outlook.Options{})
	c := readMsg(t, b)
	p := decodePattern(t, c.raw[recurKey])
	if got := strings.Join(p.dates(20), " "); got != "26-03-02" {
		t.Errorf("as the rule says: %s", got)
	}
	dates := func(list []uint32) string {
		var out []string
		for _, v := range list {
			out = append(out, dateOf(v).Format("01-02"))
		}
		return strings.Join(out, " ")
	}
	if got := dates(p.deleted); got != "03-09 03-16 03-23 03-30 04-06" {
		t.Errorf("deleted %s", got)
	}
	if got := dates(p.modified); got != "03-01 03-23" || len(p.exceptions) != 2 {
		t.Fatalf("modified %s, %d", got, len(p.exceptions))
	}
	e := p.exceptions[0]
	if dateOf(e.original).Format(time.DateTime) != "2026-03-30 09:30:00" || dateOf(e.start).Format(time.DateTime) != "2026-03-01 08:00:00" || dateOf(e.end).Format(time.DateTime) != "2026-03-01 08:30:00" ||
		e.flags != 0x30 || e.narrow[1] != "d\xe4r" || e.wide[1] != "där" || e.values[0x20] != 3 || e.again != [3]uint32{e.start, e.end, e.original} {
		t.Errorf("%+v", e)
	}
	if e := p.exceptions[1]; e.flags != 1 || e.wide[0] != "日本" || e.narrow[0] != "??" {
		t.Errorf("%+v", e)
	}
	if p.startOffset != 570 || p.endOffset != 630 {
		t.Errorf("from %d to %d", p.startOffset, p.endOffset)
	}
	if len(report.Losses) > 0 {
		t.Error(report.Losses)
	}
	for i, want := range []string{"2026-03-30T07:30:00Z 2026-03-01T08:00:00Z 2026-03-01T07:00:00Z där", "2026-03-23T08:30:00Z 2026-03-23T09:30:00Z 2026-03-23T08:30:00Z here"} {
		in := fmt.Sprintf("attach%d/", i)
		got := strings.Join([]string{c.values[in+"7FF90040"], c.values[in+"7FFB0040"], c.values[in+"3701000D/"+setAppointment+"820D:0040"], c.values[in+"3701000D/"+setAppointment+"8208:001F"]}, " ")
		if got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	if _, ok := c.values["attach2/37050003"]; ok {
		t.Error("a further attachment")
	}
}

// TestZones: the rule of a zone is that of its name.
func TestZones(t *testing.T) {
	for _, tt := range []struct{ zone, utc, windows, rule string }{
		{"Europe/Berlin", "2026-07-01T10:00:00Z", "W. Europe Standard Time", "c4ffffff 00000000 c4ffffff 0000 0000 0a00 0000 0500 0300 00000000 0000 0000 0000 0300 0000 0500 0200 00000000 0000"},
		{"W. Europe Standard Time", "2026-07-01T10:00:00Z", "W. Europe Standard Time", "c4ffffff 00000000 c4ffffff 0000 0000 0a00 0000 0500 0300 00000000 0000 0000 0000 0300 0000 0500 0200 00000000 0000"},
		{"america/new_york", "2026-07-01T16:00:00Z", "Eastern Standard Time", "2c010000 00000000 c4ffffff 0000 0000 0b00 0000 0100 0200 00000000 0000 0000 0000 0300 0000 0200 0200 00000000 0000"},
		{"/freeassociation.sourceforge.net/Europe/London", "2026-07-01T11:00:00Z", "GMT Standard Time", "00000000 00000000 c4ffffff 0000 0000 0a00 0000 0500 0200 00000000 0000 0000 0000 0300 0000 0500 0100 00000000 0000"},
		{"Australia/Sydney", "2026-07-01T02:00:00Z", "AUS Eastern Standard Time", "a8fdffff 00000000 c4ffffff 0000 0000 0400 0000 0100 0300 00000000 0000 0000 0000 0a00 0000 0100 0200 00000000 0000"},
		{"Asia/Kolkata", "2026-07-01T06:30:00Z", "India Standard Time", "b6feffff 00000000 00000000 0000" + strings.Repeat("00", 34)},
		{"UTC", "2026-07-01T12:00:00Z", "UTC", strings.Repeat("00", 48)},
	} {
		t.Run(tt.zone, func(t *testing.T) {
			b, report := convert(t, invitation("DTSTART;TZID="+tt.zone+":20260701T120000\nRRULE:FREQ=DAILY;COUNT=2"), outlook.Options{})
			if len(report.Losses) > 0 {
				t.Error(report.Losses)
			}
			c := readMsg(t, b)
			if got := c.values[setAppointment+"820D:0040"]; got != tt.utc {
				t.Errorf("at %s, not %s", got, tt.utc)
			}
			if got, want := c.values[setAppointment+"8233:0102"], strings.ReplaceAll(tt.rule, " ", ""); got != want {
				t.Errorf("%s, not %s", got, want)
			}
			for key, flags := range map[string]string{"825E": "0200", "8260": "0300"} {
				name, flag, rule := definition(t, c.raw[setAppointment+key+":0102"])
				if name != tt.windows || flag != flags {
					t.Errorf("%s is %q, %s", key, name, flag)
				}
				// That of the definition has no years between the dates.
				full := c.values[setAppointment+"8233:0102"]
				if want := full[:24] + full[28:60] + full[64:]; rule != want {
					t.Errorf("%s: %s, not %s", key, rule, want)
				}
			}
		})
	}
}

// TestFourthWeek: the fourth Sunday of a month is not the last one, although in
// that year it is.
func TestFourthWeek(t *testing.T) {
	b, _ := convert(t, invitation("DTSTART;TZID=America/Asuncion:20210701T120000\nRRULE:FREQ=DAILY;COUNT=2"), outlook.Options{})
	if got := readMsg(t, b).values[setAppointment+"8233:0102"]; !strings.Contains(got, "0000030000000400") {
		t.Error(got)
	}
}

// definition decodes a time zone definition with one rule (MS-OXOCAL 2.2.1.41).
func definition(t testing.TB, b []byte) (name, flags, rule string) {
	t.Helper()
	r := &bytesReader{t, b}
	version, size := r.u16(), int(r.u16())
	header := &bytesReader{t, r.take(size)}
	if v := header.u16(); version != 0x0102 || v != 2 {
		t.Errorf("version %x, %x", version, v)
	}
	name = fromUTF16(header.take(2 * int(header.u16())))
	if n := header.u16(); n != 1 || len(header.b) != 0 {
		t.Errorf("%d rules, %d bytes", n, len(header.b))
	}
	if v, n := r.u16(), r.u16(); v != 0x0102 || int(n) != len(r.b) {
		t.Errorf("rule %x of %d bytes, there are %d", v, n, len(r.b))
	}
	flags = hex.EncodeToString(r.take(2))
	r.take(16)
	return name, flags, hex.EncodeToString(r.b)
}

// TestZoneOfCalendar: a calendar may define a zone as it likes.
func TestZoneOfCalendar(t *testing.T) {
	for _, tt := range []struct{ name, zone, winter, summer string }{
		{"with a history", `BEGIN:DAYLIGHT
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
DTSTART:19800406T020000
RRULE:FREQ=YEARLY;UNTIL=19800406T010000Z;BYMONTH=4;BYDAY=1SU
END:DAYLIGHT
BEGIN:DAYLIGHT
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
DTSTART:19810329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
BEGIN:STANDARD
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
DTSTART:19961027T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
END:STANDARD
BEGIN:STANDARD
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
DTSTART:19810927T030000
RRULE:FREQ=YEARLY;UNTIL=19950924T010000Z;BYMONTH=9;BYDAY=-1SU
END:STANDARD`, "11:00", "10:00"},
		{"by dates", `BEGIN:STANDARD
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
DTSTART:20251026T030000
RDATE:20261025T030000
END:STANDARD
BEGIN:DAYLIGHT
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
DTSTART:20250330T020000
RDATE:20260329T020000,20270328T020000
END:DAYLIGHT`, "11:00", "10:00"},
		{"standard time alone", "BEGIN:STANDARD\nTZOFFSETFROM:-0300\nTZOFFSETTO:-0300\nDTSTART:16010101T000000\nEND:STANDARD", "15:00", "15:00"},
		{"daylight time given up", `BEGIN:STANDARD
TZOFFSETFROM:-0200
TZOFFSETTO:-0300
DTSTART:20181104T000000
END:STANDARD
BEGIN:DAYLIGHT
TZOFFSETFROM:-0300
TZOFFSETTO:-0200
DTSTART:20180304T000000
RRULE:FREQ=YEARLY;UNTIL=20180304T030000Z;BYMONTH=3;BYDAY=1SU
END:DAYLIGHT`, "15:00", "15:00"},
		{"in the south", `BEGIN:STANDARD
TZOFFSETFROM:+1100
TZOFFSETTO:+1000
DTSTART:16010101T030000
RRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=4
END:STANDARD
BEGIN:DAYLIGHT
TZOFFSETFROM:+1000
TZOFFSETTO:+1100
DTSTART:16010101T020000
RRULE:FREQ=YEARLY;BYDAY=1SU;BYMONTH=10
END:DAYLIGHT`, "01:00", "02:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for day, want := range map[string]string{"20260115": tt.winter, "20260715": tt.summer} {
				raw := invitation("DTSTART;TZID=Here:" + day + "T120000\nDTEND;TZID=Here:" + day + "T130000\nEND:VEVENT\nBEGIN:VTIMEZONE\nTZID:Here\n" + tt.zone + "\nEND:VTIMEZONE\nBEGIN:VTIMEZONE\nTZID:There")
				raw = []byte(strings.Replace(string(raw), "TZID:There\r\nEND:VEVENT", "TZID:There\r\nEND:VTIMEZONE", 1))
				b, report := convert(t, raw, outlook.Options{})
				if len(report.Losses) > 0 {
					t.Error(report.Losses)
				}
				c := readMsg(t, b)
				if got := c.values[setAppointment+"820D:0040"]; got != day[:4]+"-"+day[4:6]+"-"+day[6:]+"T"+want+":00Z" {
					t.Errorf("%s: at %s, not %s", day, got, want)
				}
				if name, _, _ := definition(t, c.raw[setAppointment+"825E:0102"]); name != "Here" {
					t.Errorf("zone %q", name)
				}
			}
		})
	}
}

// TestZonesOfMachine: zones are the same on every machine, whatever it has as
// database of them.
func TestZonesOfMachine(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Every zone is UTC in it (RFC 8536 3).
	data := append([]byte("TZif"), make([]byte, 16+6*4+6+4)...)
	data[20+4*4+3], data[20+5*4+3] = 1, 4
	copy(data[44+6:], "XXX")
	dir := t.TempDir()
	for _, name := range []string{"Europe/Berlin", "Europe/London", "America/New_York", "Australia/Sydney", "Asia/Kolkata", "Asia/Calcutta", "localtime", "posix/Japan", "right/Japan", "posixrules"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(self, "-test.run=^(TestZones|TestUnknownZones)$", "-test.v")
	cmd.Env = append(os.Environ(), "ZONEINFO="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestUnknownZones") || !strings.Contains(string(out), "--- PASS: TestZones") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestUnknownZones: names that are those of files of some machines are of no zone.
func TestUnknownZones(t *testing.T) {
	for _, name := range []string{"localtime", "Local", "posix/Japan", "right/Japan", "posixrules"} {
		_, report := convert(t, invitation("DTSTART;TZID="+name+":20260701T120000"), outlook.Options{})
		if len(report.Losses) != 1 || !strings.Contains(report.Losses[0].What, "is not known") {
			t.Errorf("%s: %v", name, report.Losses)
		}
	}
}

// TestHostileCalendars: whatever a calendar says, it is converted at once, and
// what is not taken is attached.
func TestHostileCalendars(t *testing.T) {
	check := another(t)
	many := strings.Repeat("ATTENDEE;CN=P:mailto:p%d@example.com\n", 1)
	attendees := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, many, i)
		}
		return b.String()
	}
	exceptions := func(n int) string {
		var b strings.Builder
		for i := range n {
			d := time.Date(2026, 1, 5+i, 0, 0, 0, 0, time.UTC).Format("20060102")
			fmt.Fprintf(&b, "\nEND:VEVENT\nBEGIN:VEVENT\nUID:1\nRECURRENCE-ID;VALUE=DATE:%s\nDTSTART;VALUE=DATE:%s\nSUMMARY:%d", d, d, i)
		}
		return b.String()
	}
	repeat := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i+1)
		}
		return b.String()
	}
	for name, event := range map[string]string{
		"every second":     "DTSTART:20260105T090000Z\nRRULE:FREQ=SECONDLY;COUNT=2147483647",
		"many instances":   "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY;COUNT=2147483647",
		"a date far off":   "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY;UNTIL=44991231",
		"a large interval": "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY;INTERVAL=2147483647;COUNT=3",
		"a larger one":     "DTSTART:20260105T090000Z\nRRULE:FREQ=YEARLY;INTERVAL=99999999999999999999",
		"no interval":      "DTSTART:20260105T090000Z\nRRULE:FREQ=MONTHLY;INTERVAL=0",
		"never":            "DTSTART:20260105T090000Z\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
		"before it starts": "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY;UNTIL=20200101T000000Z",
		"the fifth Monday": "DTSTART:20260105T090000Z\nRRULE:FREQ=MONTHLY;BYDAY=5MO",
		"many times":       "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY;BYHOUR=9,10",
		"the end of time":  "DTSTART:99991231T235959Z\nDTEND:99991231T235959Z",
		"long":             "DTSTART:20260105T090000Z\nDURATION:P999999999W",
		"until 9999":       "DTSTART:20260105T090000Z\nDTEND:99991231T000000Z",
		"backwards":        "DTSTART:20260105T090000Z\nDTEND:20250105T090000Z",
		"no time":          "DTSTART:soon",
		"attendees":        "DTSTART:20260105T090000Z\n" + attendees(2100),
		"many attendees":   "DTSTART:20260105T090000Z\n" + attendees(10_100),
		"exceptions":       "DTSTART;VALUE=DATE:20260105\nRRULE:FREQ=DAILY" + exceptions(1010),
		"many zones": "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY" + repeat(10_000, "\nEXDATE;TZID=z%d:20260106T090000") +
			"\nEND:VEVENT" + repeat(8_000, "\nBEGIN:VTIMEZONE\nTZID:y%d\nEND:VTIMEZONE") + "\nBEGIN:VALARM",
		"many dates":           "DTSTART:20260105T090000Z" + repeat(20_000, "\nRDATE:20260106T09%04dZ"),
		"many categories":      "DTSTART:20260105T090000Z" + repeat(30_000, "\nCATEGORIES:c%d,d"),
		"lines that are none":  "DTSTART:20260105T090000Z\n" + strings.Repeat("a\n", 400_000),
		"lines without colons": "DTSTART:20260105T090000Z\nX" + strings.Repeat("\n\n=", 200_000),
		"attendees of instances": "DTSTART;VALUE=DATE:20260105\nRRULE:FREQ=DAILY" + repeat(28, "\nEND:VEVENT\nBEGIN:VEVENT\nUID:1\nRECURRENCE-ID;VALUE=DATE:202602%02d\nDTSTART;VALUE=DATE:20260206\n"+
			strings.ReplaceAll(attendees(200), "%", "%%")),
		"a long name":        "DTSTART;TZID=" + strings.Repeat("x", 100_000) + ":20260105T090000",
		"an offset":          "DTSTART;TZID=(UTC+99:99) x:20260105T090000",
		"a long name often":  "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY\nEXDATE;TZID=" + strings.Repeat("x", 300_000) + ":" + strings.Repeat("20990106T090000,", 40_000) + "20990106T090000",
		"a zone in a folder": "DTSTART;TZID=../../../etc/passwd:20260105T090000",
		"zeros":              "DTSTART:20260105T090000Z\nSUMMARY:a\x00b\nLOCATION:\x00\nUID:\x00",
		"no UTF-8":           "DTSTART:20260105T090000Z\nSUMMARY:\xff\xfe\nLOCATION:\xff",
		"large":              "DTSTART:20260105T090000Z\nDESCRIPTION:" + strings.Repeat("x", 2<<20),
		"many exdates":       "DTSTART;VALUE=DATE:20260105\nRRULE:FREQ=DAILY\nEXDATE;VALUE=DATE:" + strings.Repeat("20990106,", 50_000) + "20260106",
	} {
		t.Run(name, func(t *testing.T) {
			b, report := convert(t, invitation(event), outlook.Options{})
			c := readMsg(t, b)
			check(name, b)
			calendars := 0
			for i := range 2 {
				if c.values[fmt.Sprintf("attach%d/370E001F", i)] == "text/calendar" {
					calendars++
				}
			}
			if strings.Contains(name, "attendees") || name == "many categories" || name == "exceptions" {
				if len(report.Losses) == 0 {
					t.Error("nothing is lost")
				}
			}
			if lost := len(report.Losses) > 0; lost != (calendars == 1) {
				t.Errorf("%d calendars are attached; losses %v", calendars, report.Losses)
			}
			if b, ok := c.raw[recurKey]; ok {
				if p := decodePattern(t, b); p.remaining != 0 {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

// TestCalendarWork: what is read of a calendar is read once, however many
// instances and years there are; what is allocated says so.
func TestCalendarWork(t *testing.T) {
	instances := func(n int) string {
		var b strings.Builder
		for i := range n {
			d := time.Date(2026, 1, 5+i, 0, 0, 0, 0, time.UTC).Format("20060102")
			fmt.Fprintf(&b, "\nEND:VEVENT\nBEGIN:VEVENT\nUID:1\nRECURRENCE-ID;VALUE=DATE:%s\nDTSTART;VALUE=DATE:%s\nSUMMARY:%d", d, d, i)
		}
		return b.String()
	}
	var years, dates, exdates strings.Builder
	for y := range 100 {
		fmt.Fprintf(&years, "\nEXDATE;TZID=Here:%d0105T090000", 2027+y)
	}
	for i := range 40_000 {
		fmt.Fprintf(&dates, ",%04d%02d01T020000", 1900+i%600, 1+i%12)
		fmt.Fprintf(&exdates, "\nEXDATE:%04d0105", 2027+i%400)
	}
	for name, event := range map[string]string{
		"long texts": "DTSTART;VALUE=DATE:20260105\nRRULE:FREQ=DAILY\nSUMMARY:" + strings.Repeat(`a\n`, 80_000) + "\nLOCATION:" + strings.Repeat(`b\n`, 80_000) +
			"\nDESCRIPTION:" + strings.Repeat(`c\n`, 80_000) + "\nCATEGORIES:" + strings.Repeat(`d\n`, 1000) + instances(400),
		"long zone": "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY" + years.String() +
			"\nEND:VEVENT\nBEGIN:VTIMEZONE\nTZID:Here\nBEGIN:STANDARD\nTZOFFSETTO:+0100\nDTSTART:19000101T020000\nRDATE:19000101T020000" + dates.String() + "\nEND:STANDARD",
		"many exdates": "DTSTART;VALUE=DATE:20260105\nRRULE:FREQ=DAILY" + exdates.String(),
	} {
		t.Run(name, func(t *testing.T) {
			raw := invitation(event)
			if len(raw) > 1<<20 {
				t.Fatalf("%d bytes", len(raw))
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			convert(t, raw, outlook.Options{})
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 100<<20 {
				t.Errorf("%d MiB", n>>20)
			}
		})
	}
}

// counted is a context that ends when it has been asked so often.
type counted struct {
	context.Context
	left int
}

func (c *counted) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestCalendarCanceled: reading the instances and zones of a calendar ends when the
// context does.
func TestCalendarCanceled(t *testing.T) {
	instances, zones := strings.Builder{}, strings.Builder{}
	for i := range 50 {
		fmt.Fprintf(&instances, "\nEND:VEVENT\nBEGIN:VEVENT\nUID:1\nSTATUS:CANCELLED\nRECURRENCE-ID;VALUE=DATE:202602%02d\nDTSTART;VALUE=DATE:20260205", 1+i%28)
		fmt.Fprintf(&zones, "\nEXDATE;TZID=z%d:20260201T090000", i)
	}
	for _, event := range []string{"DTSTART;VALUE=DATE:20260105\nRRULE:FREQ=DAILY" + instances.String(), "DTSTART:20260105T090000Z\nRRULE:FREQ=DAILY" + zones.String()} {
		asked := func(event string) int {
			ctx := &counted{context.Background(), 1 << 30}
			if _, err := outlook.Convert(ctx, &file{}, read(t, invitation(event)), outlook.Options{}); err != nil {
				t.Fatal(err)
			}
			return 1<<30 - ctx.left
		}
		n, few := asked(event), asked("DTSTART:20260105T090000Z")
		if n < few+50 {
			t.Errorf("asked %d times, without instances and zones %d times", n, few)
		}
		for left := range n {
			if _, err := outlook.Convert(&counted{context.Background(), left}, &file{}, read(t, invitation(event)), outlook.Options{}); !errors.Is(err, context.Canceled) {
				t.Fatalf("ended after %d of %d times: %v", left, n, err)
			}
		}
	}
}

// TestCalendarLosses: what no property takes is named, and the calendar is attached
// for it; what says nothing is not.
func TestCalendarLosses(t *testing.T) {
	const alarm = "DESCRIPTION:Talk of it\\, all\nBEGIN:VALARM\nTRIGGER:-PT5M\nACTION:DISPLAY\nDESCRIPTION:%s\nEND:VALARM"
	instance := "RRULE:FREQ=DAILY;COUNT=3\nEND:VEVENT\nBEGIN:VEVENT\nUID:1\nSUMMARY:x\nRECURRENCE-ID:20260106T090000Z\nDTSTART:20260106T100000Z\n"
	for _, tt := range []struct{ event, loss string }{
		{"ORGANIZER;SENT-BY=\"mailto:c@example.com\":mailto:b@example.com", "c@example.com"},
		{"ORGANIZER;SENT-BY=\"mailto:c@example.com\":mailto:a@example.com", "c@example.com"},
		{"ORGANIZER;SENT-BY=\"mailto:A@example.com\":mailto:b@example.com", ""},
		{"ORGANIZER;SENT-BY=\"mailto:b@example.com\":mailto:b@example.com", ""},
		{"ORGANIZER;SENT-BY=:mailto:b@example.com", ""},
		{"ORGANIZER;SENT-BY=\"ldap://example.com\":mailto:b@example.com", "ldap://example.com"},
		{"ATTENDEE;SENT-BY=\"mailto:c@example.com\":mailto:b@example.com", "c@example.com"},
		{"ATTENDEE;SENT-BY=\"mailto:a@example.com\":mailto:b@example.com", ""},
		{"ATTENDEE;DELEGATED-FROM=\"mailto:c@example.com\":mailto:b@example.com", "DELEGATED-FROM"},
		{"ATTENDEE;DELEGATED-TO=\"mailto:c@example.com\":mailto:b@example.com", "DELEGATED-TO"},
		{"ATTENDEE;MEMBER=\"mailto:c@example.com\":mailto:b@example.com", "MEMBER"},
		{"ATTENDEE;MEMBER=:mailto:b@example.com", ""},
		{instance + "ATTENDEE;MEMBER=\"mailto:c@example.com\":mailto:b@example.com", "MEMBER"},
		{fmt.Sprintf(alarm, "REMINDER"), ""},
		{fmt.Sprintf(alarm, "Reminder"), ""},
		{fmt.Sprintf(alarm, "This is an event reminder"), ""},
		{fmt.Sprintf(alarm, "X"), ""},
		{fmt.Sprintf(alarm, "talk of it\\, all"), ""},
		{fmt.Sprintf(alarm, ""), ""},
		{fmt.Sprintf(alarm, "Bring the keys"), "Bring the keys"},
		{fmt.Sprintf(alarm, "日本"), "日本"},
		{fmt.Sprintf(alarm, "!!!"), "!!!"},
	} {
		t.Run(tt.event, func(t *testing.T) {
			b, report := convert(t, invitation("DTSTART:20260105T090000Z\n"+tt.event), outlook.Options{})
			if attached := readMsg(t, b).values["attach0/370E001F"] == "text/calendar"; attached != (tt.loss != "") {
				t.Errorf("attached %v", attached)
			}
			if tt.loss == "" && len(report.Losses) > 0 || tt.loss != "" && (len(report.Losses) != 1 || !strings.Contains(report.Losses[0].What, tt.loss)) {
				t.Error(report.Losses)
			}
		})
	}
}

// TestCalendarNames: an invitation has room for its named properties beside any
// header fields. If TNEF took it, the calendar is attached.
func TestCalendarNames(t *testing.T) {
	attached := func(messages ...[]byte) []byte {
		raw := []byte("Content-Type: multipart/digest; boundary=b\r\n\r\n")
		for _, m := range messages {
			raw = append(append(append(raw, "--b\r\n\r\n"...), m...), "\r\n"...)
		}
		return append(raw, "--b--\r\n"...)
	}
	call := invitation("DTSTART;VALUE=DATE:20260105\nRRULE:FREQ=DAILY\nLOCATION:there\nEND:VEVENT\nBEGIN:VEVENT\nUID:1\nSUMMARY:y\nRECURRENCE-ID;VALUE=DATE:20260106\nDTSTART;VALUE=DATE:20260106\nLOCATION:else")
	var messages [][]byte
	for i := range 170 {
		var b strings.Builder
		for j := range 200 {
			fmt.Fprintf(&b, "X-%d-%d: 1\r\n", i, j)
		}
		messages = append(messages, []byte(b.String()+"\r\ntext"))
	}
	b, report := convert(t, attached(append(messages, call)...), outlook.Options{})
	c := readMsg(t, b)
	in := "attach170/3701000D/"
	if len(report.Losses) != 1 || c.values[in+setAppointment+"8208:001F"] != "there" || c.values[in+"attach0/3701000D/"+setAppointment+"8208:001F"] != "else" || c.raw[in+recurKey] == nil {
		t.Errorf("not a whole invitation: %v", report.Losses)
	}

	var tnef strings.Builder
	for i := range 0x7FFF {
		fmt.Fprintf(&tnef, "00062004:%X:3 1\n", 0x10000+i)
	}
	text := base64.StdEncoding.EncodeToString(stream(t, tnef.String()))
	full := []byte("Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n" + text)
	b, report = convert(t, attached(full, call), outlook.Options{})
	c = readMsg(t, b)
	place := slices.ContainsFunc(report.Losses, func(l outlook.Loss) bool {
		return l.Place != "" && strings.Contains(l.What, "no room for its named properties")
	})
	if got := c.values["attach1/3701000D/attach0/370E001F"]; got != "text/calendar" || !place {
		t.Errorf("attached %q, losses %v", got, report.Losses)
	}
	// The invitation comes first, and what is attached to it then.
	call = invitation("DTSTART;VALUE=DATE:20260105\nRRULE:FREQ=DAILY\nEND:VEVENT\nBEGIN:VEVENT\nUID:1\nSUMMARY:y\nRECURRENCE-ID;VALUE=DATE:20260106\nDTSTART;VALUE=DATE:20260106\nLOCATION:else")
	_, call, _ = bytes.Cut(call, []byte("Content-Type"))
	b, report = convert(t, []byte("From: a@example.com\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type"+string(call)+"\r\n--c\r\nContent-Type: message/rfc822\r\n\r\n"+string(full)+"\r\n--c--\r\n"), outlook.Options{})
	c = readMsg(t, b)
	if got := c.values["attach1/3701000D/"+setAppointment+"8208:001F"]; got != "else" {
		t.Errorf("an instance at %q; losses %v", got, report.Losses)
	}
}

// TestCalendarAsFile: a calendar that is attached is an attachment, and nothing is
// lost with it.
func TestCalendarAsFile(t *testing.T) {
	calendar := "BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:1\nDTSTART:20260105T090000Z\nEND:VEVENT\nEND:VCALENDAR\n"
	b, report := convert(t, crlf([]byte("Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\nContent-Type: text/calendar; name=a.ics; method=REQUEST\nContent-Disposition: attachment\n\n"+calendar+"--b--\n")), outlook.Options{})
	if c := readMsg(t, b); report.Class != "IPM.Note" || len(report.Losses) > 0 || c.values["attach0/3707001F"] != "a.ics" {
		t.Errorf("%+v", report)
	}
	// Google sends the invitation once more, as a file.
	b, report = convert(t, crlf([]byte("Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\ntext\n--b\nContent-Type: text/html\n\n<p>text</p>\n--b\nContent-Type: text/calendar; method=REQUEST\n\n"+
		calendar+"--b--\n--a\nContent-Type: application/ics; name=invite.ics\nContent-Disposition: attachment\n\n"+calendar+"--a--\n")), outlook.Options{})
	if c := readMsg(t, b); report.Class != "IPM.Schedule.Meeting.Request" || len(report.Losses) > 0 || c.values["attach0/3707001F"] != "invite.ics" || c.values["attach1/3707001F"] != "" {
		t.Errorf("%+v", report)
	}
}

// FuzzCalendar: of any calendar a file is made that is as it has to be, and either
// all of the calendar is in it, or it is attached.
func FuzzCalendar(f *testing.F) {
	fixtures, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range fixtures {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if _, calendar, ok := strings.Cut(string(a.Files[0].Data), "BEGIN:VCALENDAR"); ok {
			f.Add("BEGIN:VCALENDAR" + calendar)
		}
	}
	f.Fuzz(func(t *testing.T, calendar string) {
		raw := "From: a@example.com\r\nContent-Type: text/calendar; method=REQUEST; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + calendar
		b, report := convert(t, []byte(raw), outlook.Options{})
		c := readMsg(t, b)
		if attached := c.values["attach0/370E001F"] == "text/calendar"; attached != (len(report.Losses) > 0) && calendar != "" {
			t.Errorf("attached %v, losses %v", attached, report.Losses)
		}
		if b, ok := c.raw[recurKey]; ok {
			if p := decodePattern(t, b); p.remaining != 0 || len(p.exceptions) != len(p.modified) || !p.is(dateOf(p.startDate)) {
				t.Errorf("%+v", p)
			}
		}
	})
}
