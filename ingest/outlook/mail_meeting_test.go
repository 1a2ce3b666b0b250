package outlook_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/ingest/message"
	"postroom/ingest/outlook"
)

// said returns the properties of a meeting by their paths, without those that say
// how the message was written.
func said(t testing.TB, b []byte) map[string]string {
	c := readMsg(t, b)
	out := map[string]string{}
	for key, value := range c.values {
		// The charset of the text; how early a reminder was that is past; when an instance
		// was changed, if nothing says so; its text, which may be that of the series.
		how := []string{"007D001F", "3FDE0003", "08200600:8501:0003", "3701000D/90dad86e:001A:0040", "3701000D/1000001F", "3701000D/10160003"}
		if !slices.ContainsFunc(how, func(s string) bool { return strings.HasSuffix(key, s) }) {
			out[key] = value
		}
	}
	return out
}

// again compares a meeting in .msg with what becomes of it as mail and in .msg again.
func again(t testing.TB, raw []byte) (found []string, mail []byte) {
	first, _ := convert(t, raw, outlook.Options{})
	mail, report := back(t, first)
	wellFormed(t, mail, report)
	second, report := convert(t, mail, outlook.Options{})
	for _, l := range report.Losses {
		found = append(found, l.String())
	}
	was, is := said(t, first), said(t, second)
	keys := map[string]bool{}
	for k := range was {
		keys[k] = true
	}
	for k := range is {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if was[k] != is[k] {
			found = append(found, fmt.Sprintf("%s was %.2000q, is %.2000q", k, was[k], is[k]))
		}
	}
	return found, mail
}

// TestMeetingsAgain: the invitations of the fixtures are the same after .msg, mail
// and .msg again.
func TestMeetingsAgain(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range fixtures {
		if strings.Contains(name, "tnef") { // the calendar is not all that it has
			continue
		}
		raw, _ := fixture(t, name)
		_, report := convert(t, raw, outlook.Options{})
		if class := strings.ToLower(report.Class); !strings.HasPrefix(class, "ipm.schedule.meeting.") && class != "ipm.appointment" || len(report.Losses) > 0 {
			continue
		}
		n++
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			found, mail := again(t, raw)
			for _, f := range found {
				t.Error(f)
			}
			if t.Failed() {
				t.Logf("%s", mail)
			}
		})
	}
	if n == 0 {
		t.Error("no invitation")
	}
}

// TestMadeMeetingsAgain: so are invitations that are made at random.
func TestMadeMeetingsAgain(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	n := 0
	for i := range 300 {
		method := pick("REQUEST", "REQUEST", "REQUEST", "CANCEL", "REPLY", "COUNTER", "PUBLISH")
		zone := pick("", "Europe/Berlin", "Pacific Standard Time", "Asia/Kolkata", "Australia/Sydney")
		day := 1 + random.IntN(28)
		month := 1 + random.IntN(12)
		var e strings.Builder
		line := func(format string, args ...any) { fmt.Fprintf(&e, format+"\r\n", args...) }
		at := func(name string, month, day, hour int) {
			switch clock := fmt.Sprintf("2026%02d%02dT%02d%02d00", month, day, hour, 15*(i%4)); zone {
			case "":
				line("%s:%sZ", name, clock)
			default:
				line("%s;TZID=%s:%s", name, zone, clock)
			}
		}
		line("UID:%s", pick("one@example.com", "040000008200E00074C5B7101A82E00800000000506F1C2A3B4CDC01000000000000000010000000A1B2C3D4E5F60718293A4B5C6D7E8F90", "ä;b"))
		line("DTSTAMP:20251201T101112Z")
		allDay := method != "COUNTER" && i%7 == 0
		hour := 3 + random.IntN(18)
		if allDay {
			line("DTSTART;VALUE=DATE:2026%02d%02d", month, day)
		} else {
			at("DTSTART", month, day, hour)
			at("DTEND", month, day, hour+1)
		}
		line("SUMMARY:%s", pick("Budget", "Größe\\, Zahl; 3", "x"))
		line("LOCATION:%s", pick("Room 1", "Saal „Süd“", strings.Repeat("far ", 40)+"x"))
		line("SEQUENCE:%d", random.IntN(4))
		line("X-MICROSOFT-CDO-BUSYSTATUS:%s", pick("FREE", "TENTATIVE", "BUSY", "OOF"))
		line("PRIORITY:%s", pick("1", "5", "9"))
		line("CLASS:%s", pick("PUBLIC", "PRIVATE", "CONFIDENTIAL"))
		if i%3 == 0 {
			line("CATEGORIES:%s", pick("Red", `A\,b,c`))
		}
		status := ""
		if method == "REPLY" || method == "COUNTER" {
			line("ORGANIZER;CN=Org:mailto:org@example.com")
			status = ";PARTSTAT=" + pick("ACCEPTED", "DECLINED", "TENTATIVE")
			if method == "COUNTER" {
				status = ";PARTSTAT=TENTATIVE"
				at("X-MS-OLK-ORIGINALSTART", month, day, hour)
				at("X-MS-OLK-ORIGINALEND", month, day, hour+2)
			}
			line("ATTENDEE;CN=Ann%s:mailto:ann@example.com", status)
		} else {
			line("ORGANIZER;CN=Ann:mailto:ann@example.com")
			for k := range 1 + random.IntN(3) {
				line("ATTENDEE;CN=\"Guest, %d\";ROLE=%s;RSVP=TRUE;PARTSTAT=%s:mailto:guest%d@example.com", k,
					pick("REQ-PARTICIPANT", "OPT-PARTICIPANT", "NON-PARTICIPANT"), pick("NEEDS-ACTION", "ACCEPTED", "TENTATIVE", "DECLINED"), k)
			}
			if i%2 == 0 {
				line("RRULE:%s%s", pick("FREQ=DAILY", "FREQ=DAILY;INTERVAL=3", "FREQ=WEEKLY", "FREQ=WEEKLY;INTERVAL=2;WKST=SU", "FREQ=MONTHLY", "FREQ=YEARLY"),
					pick("", ";COUNT=5", fmt.Sprintf(";UNTIL=2029%02d01T000000Z", month)))
			} else if i%5 == 0 && !allDay {
				at("RECURRENCE-ID", month, day, hour)
			}
		}
		to := "guest0@example.com"
		if status != "" {
			to = "org@example.com"
		}
		raw := []byte("From: Ann <ann@example.com>\r\nTo: " + to + "\r\nSubject: re: x\r\nDate: Mon, 1 Dec 2025 09:00:00 +0000\r\n" +
			"Content-Type: text/calendar; method=" + method + "; charset=utf-8\r\n\r\n" +
			"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:" + method + "\r\nBEGIN:VEVENT\r\n" + e.String() + "END:VEVENT\r\nEND:VCALENDAR\r\n")
		raw = []byte(strings.Replace(string(raw), "Subject: re: x", "Subject: "+pick("Budget Größe\\, Zahl; 3 x", "x Budget Größe, Zahl; 3"), 1))
		if _, report := convert(t, raw, outlook.Options{}); len(report.Losses) > 0 {
			continue
		}
		n++
		found, mail := again(t, raw)
		for _, f := range found {
			t.Error(f)
		}
		if t.Failed() {
			t.Fatalf("%s\n%s", raw, mail)
		}
	}
	if n < 150 {
		t.Errorf("only %d of 300 were compared", n)
	}
}

// TestKeptCalendar: a calendar that is attached to a meeting is its calendar again, as
// it stands; one of another meeting stays a file.
func TestKeptCalendar(t *testing.T) {
	const head = "From: a@example.com\r\nTo: b@example.com\r\nSubject: x\r\n"
	calendar := "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1@example.com\r\nDTSTART:20260105T090000Z\r\nSUMMARY:x\r\nRRULE:FREQ=HOURLY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
	other := strings.Replace(calendar, "UID:1", "UID:2", 1)
	raw := head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n" + calendar +
		"\r\n--b\r\nContent-Type: text/calendar; name=other.ics\r\nContent-Disposition: attachment\r\n\r\n" + other + "\r\n--b--\r\n"
	b, report := convert(t, []byte(raw), outlook.Options{})
	if len(report.Losses) != 1 || report.Class != "IPM.Schedule.Meeting.Request" {
		t.Fatal(report)
	}
	mail, report := back(t, b)
	wellFormed(t, mail, report)
	m := read(t, mail)
	content := func(p *message.Part) string {
		b, err := io.ReadAll(m.Open(p))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	l := m.Layout()
	if l.Other == nil || l.Other.Type != "text/calendar" || l.Other.Params["method"] != "REQUEST" || content(l.Other) != calendar {
		t.Errorf("the calendar is not the text:\n%s", mail)
	}
	if len(l.Attachments) != 1 || content(l.Attachments[0].Part) != other {
		t.Errorf("the other calendar is not attached:\n%s", mail)
	}
	if len(report.Losses) > 0 {
		t.Error(report.Losses)
	}
}

// TestForeignSeries: a series that a calendar has nothing for is told as far as it can
// be, with its pattern as it is.
func TestForeignSeries(t *testing.T) {
	raw := invitation("DTSTART:20260105T090000Z\nDTEND:20260105T100000Z\nRRULE:FREQ=DAILY")
	b, _ := convert(t, raw, outlook.Options{})
	pattern := readMsg(t, b).raw["02200600:8216:0102"]
	if len(pattern) == 0 {
		t.Fatal("no pattern")
	}
	at := bytes.Index(b, pattern)
	for what, change := range map[string]func(p []byte){
		"calendar 6":         func(p []byte) { p[8] = 6 },
		"of type 11":         func(p []byte) { p[6] = 11 },
		"pattern is damaged": func(p []byte) { p[0]++ },
		"no period":          func(p []byte) { clear(p[14:18]) },
	} {
		changed := bytes.Clone(b)
		change(changed[at : at+len(pattern)])
		mail, report := back(t, changed)
		wellFormed(t, mail, report)
		text := strings.ReplaceAll(string(mail), "\r\n ", "")
		if fmt.Sprint(report.Losses) == "[]" || !strings.Contains(fmt.Sprint(report.Losses), what) {
			t.Errorf("%s: %v", what, report.Losses)
		}
		if strings.Contains(text, "RRULE") || !strings.Contains(text, "X-POSTROOM-RECURRENCE;ENCODING=BASE64;VALUE=BINARY:"+base64.StdEncoding.EncodeToString(changed[at:at+len(pattern)])) {
			t.Errorf("%s: %s", what, mail)
		}
	}
}

// TestZonesOfInstances: an instance that differs is that of its day in the zone of the
// series, whatever zone the instance before it has.
func TestZonesOfInstances(t *testing.T) {
	for _, tt := range [][3]string{{";TZID=Europe/Berlin:20260105T090000", ":20260106T100000Z", ";TZID=Europe/Berlin:20260107T110000"},
		{":20260105T090000Z", ";TZID=Europe/Berlin:20260106T100000", ":20260107T110000Z"}} {
		call := "DTSTART" + tt[0] + "\nRRULE:FREQ=DAILY;COUNT=5"
		for i, start := range tt[1:] {
			call += fmt.Sprintf("\nEND:VEVENT\nBEGIN:VEVENT\nUID:1\nSUMMARY:x\nDESCRIPTION:text %d\nDTSTART%s\nRECURRENCE-ID%s", i, start, strings.Replace(tt[0], "0105", fmt.Sprintf("01%02d", 6+i), 1))
		}
		b, _ := convert(t, invitation(call), outlook.Options{})
		n := 0
		for key, v := range readMsg(t, b).raw {
			definition := slices.ContainsFunc([]string{":825E:", ":825F:", ":8260:"}, func(s string) bool { return strings.Contains(key, s) })
			if definition && bytes.Contains(v, []byte("U\x00T\x00C\x00")) {
				b = bytes.ReplaceAll(b, v, bytes.Repeat([]byte{0xFF}, len(v))) // UTC without a zone
				n++
			}
		}
		if n == 0 && tt[0][0] == ':' {
			t.Fatal("no zone to remove")
		}
		if tt[0][0] == ':' { // nor one by the name of PidLidTimeZoneStruct
			b = bytes.ReplaceAll(b, []byte{0x33, 0x82, 0, 0}, []byte{0xFF, 0x8F, 0, 0})
		}
		mail, report := back(t, b)
		wellFormed(t, mail, report)
		text := strings.ReplaceAll(string(mail), "\r\n ", "")
		for _, want := range []string{"DESCRIPTION:text 0", "DESCRIPTION:text 1"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %s in\n%s", want, mail)
			}
		}
	}
}

// TestManyInstances: a series of which many instances differ, each with all the people
// of the series, is not told in a calendar.
func TestManyInstances(t *testing.T) {
	for _, n := range []int{3, 200} {
		var call strings.Builder
		call.WriteString("DTSTART:20200101T090000Z\nRRULE:FREQ=DAILY;COUNT=300")
		for i := range 300 {
			fmt.Fprintf(&call, "\nATTENDEE:mailto:person%d@example.com", i)
		}
		for i := range n {
			day := time.Date(2020, 1, 2+i, 9, 0, 0, 0, time.UTC)
			fmt.Fprintf(&call, "\nEND:VEVENT\nBEGIN:VEVENT\nUID:1\nSUMMARY:x\nDTSTART:%s\nRECURRENCE-ID:%s", day.Add(time.Hour).Format("20060102T150405Z"), day.Format("20060102T150405Z"))
		}
		b, _ := convert(t, invitation(call.String()), outlook.Options{})
		mail, report := back(t, b)
		wellFormed(t, mail, report)
		told := strings.Count(string(mail), "RECURRENCE-ID") == n
		lost := strings.Contains(fmt.Sprint(report.Losses), "200 of its instances differ")
		if told != (n == 3) || lost != (n == 200) {
			t.Errorf("%d instances: %d bytes, %v", n, len(mail), report.Losses)
		}
	}
}
