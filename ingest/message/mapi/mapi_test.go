package mapi

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"
)

func TestFileTime(t *testing.T) {
	for _, tt := range []struct {
		at   time.Time
		want uint64
	}{
		{time.Date(1601, 1, 1, 0, 0, 1, 0, time.UTC), 10_000_000},
		{time.Unix(0, 123_400).UTC(), 116444736000001234},
		{time.Date(9999, 12, 31, 23, 59, 59, 999_999_900, time.UTC), 2650467743999999999},
	} {
		if got := FileTime(tt.at); got != tt.want || !Time(got).Equal(tt.at) {
			t.Errorf("%v is %d, which is %v; not %d", tt.at, got, Time(got), tt.want)
		}
	}
	for _, none := range []time.Time{{}, time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got := FileTime(none); got != 0 {
			t.Errorf("%v is %d", none, got)
		}
	}
	for _, never := range []uint64{0, 2650467744000000000, 1<<63 - 1, 1<<64 - 1} {
		if got := Time(never); !got.IsZero() {
			t.Errorf("%d is %v", never, got)
		}
	}
}

func TestUTF16(t *testing.T) {
	for text, want := range map[string]string{"": "", "aä": "6100e400", "€😀": "ac203dd800de", "a\xff": "6100fdff"} {
		b := AppendUTF16(nil, text)
		if hex.EncodeToString(b) != want {
			t.Errorf("%q is %x", text, b)
		}
		if got := DecodeUTF16(b); got != string([]rune(text)) {
			t.Errorf("%q is %q again", text, got)
		}
	}
	for in, want := range map[string]string{"fffe6100": "a", "61": "", "610062": "a", "3dd86100": "\uFFFDa"} {
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := DecodeUTF16(b); got != want {
			t.Errorf("%s is %q", in, got)
		}
	}
}

func TestOneOff(t *testing.T) {
	one := OneOff{"Żaneta", "SMTP", "z@example.com"}
	b := one.Bytes()
	if got, ok := ParseOneOff(b, 1252); !ok || got != one {
		t.Errorf("%+v, %v", got, ok)
	}
	if with := (OneOff{"Ża\x00neta", "SMTP\x00", "z@example.com"}).Bytes(); !bytes.Equal(b, with) {
		t.Errorf("NUL in it: %x", with)
	}
	narrow := append(append([]byte{}, b[:22]...), 0, 0)
	narrow = append(narrow, "\xa3\x00SMTP\x00z@example.com"...)
	if got, ok := ParseOneOff(narrow, 1250); !ok || got != (OneOff{"Ł", "SMTP", "z@example.com"}) {
		t.Errorf("in 8 bits: %+v, %v", got, ok)
	}
	for n := range len(b) {
		if _, ok := ParseOneOff(b[:n], 1252); ok != (n >= headOfOneOff) {
			t.Errorf("%d bytes: %v", n, ok)
		}
	}
	b[5]++
	if _, ok := ParseOneOff(b, 1252); ok {
		t.Error("another provider")
	}
}
