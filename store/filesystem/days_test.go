package filesystem

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// tree stands in for the folders on disk.
type tree struct {
	names map[string][]string
	reads []string
}

func (d *tree) read(folder string) ([]string, error) {
	d.reads = append(d.reads, folder)
	return d.names[folder], nil
}

func expectFind(t *testing.T, d *days, folder, id, want string) {
	t.Helper()
	if got, err := d.find(folder, id); err != nil || got != want {
		t.Errorf("find(%q, %q) = %q, %v, want %q", folder, id, got, err, want)
	}
}

func TestDaysReadOnce(t *testing.T) {
	disk := &tree{names: map[string][]string{"a/2026/01/01": {"x~0123456789ab", "no document", "y~z~ba9876543210", "q~0123", "r~0123456789AB"}}}
	d := newDays(100, disk.read)
	d.add("a/2026/01/01", "early~111111111111") // not read yet: the disk knows
	expectFind(t, d, "a/2026/01/01", "0123456789ab", "x~0123456789ab")
	expectFind(t, d, "a/2026/01/01", "ba9876543210", "y~z~ba9876543210")
	expectFind(t, d, "a/2026/01/01", "111111111111", "")
	expectFind(t, d, "a/2026/01/01", "q~0123", "")
	d.add("a/2026/01/01", "new~222222222222")
	expectFind(t, d, "a/2026/01/01", "222222222222", "new~222222222222")
	d.forget("a/2026/01/01", "new~222222222222")
	d.forget("a/2026/01/01", "other~0123456789ab")
	expectFind(t, d, "a/2026/01/01", "222222222222", "")
	expectFind(t, d, "a/2026/01/01", "0123456789ab", "x~0123456789ab")
	if len(disk.reads) != 1 {
		t.Errorf("the day was read %d times, want once", len(disk.reads))
	}
}

func TestDaysReadAgainAfterError(t *testing.T) {
	failure := errors.New("disk error")
	fail := true
	d := newDays(100, func(string) ([]string, error) {
		if fail {
			return nil, failure
		}
		return []string{"x~0123456789ab"}, nil
	})
	if _, err := d.find("a", "0123456789ab"); !errors.Is(err, failure) {
		t.Errorf("find: %v, want %v", err, failure)
	}
	d.add("a", "early~111111111111") // not read yet: the disk knows
	fail = false
	expectFind(t, d, "a", "0123456789ab", "x~0123456789ab")
	expectFind(t, d, "a", "111111111111", "")
}

func TestDaysAreBounded(t *testing.T) {
	const max, days, each = 50, 40, 9 // a day counts as one more
	disk := &tree{names: make(map[string][]string)}
	for day := range days {
		for i := range each {
			folder := fmt.Sprint(day)
			disk.names[folder] = append(disk.names[folder], fmt.Sprintf("x~%012x", i))
		}
	}
	d := newDays(max, disk.read)
	for day := range days {
		expectFind(t, d, fmt.Sprint(day), "000000000003", "x~000000000003")
		expectFind(t, d, "0", "000000000004", "x~000000000004")
		if d.total > max || len(d.byName) != d.recent.Len() {
			t.Fatalf("%d names in %d days are remembered, want at most %d", d.total, len(d.byName), max)
		}
	}
	if reads := slices.Index(disk.reads[1:], "0"); reads >= 0 {
		t.Error("the day used most was dropped")
	}
	expectFind(t, d, "1", "000000000003", "x~000000000003") // dropped and read again
	if last := disk.reads[len(disk.reads)-1]; last != "1" {
		t.Errorf("last read was %q, want the day that was dropped", last)
	}
	for i := range 1000 {
		d.add("1", fmt.Sprintf("y~%012x", 1000+i))
	}
	expectFind(t, d, "1", fmt.Sprintf("%012x", 1999), fmt.Sprintf("y~%012x", 1999))
	if len(d.byName) != 1 {
		t.Errorf("%d days are remembered beside one that is larger than the bound", len(d.byName)-1)
	}
	expectFind(t, d, "2", "000000000003", "x~000000000003")
	if d.total > max {
		t.Errorf("%d names are remembered, want at most %d", d.total, max)
	}
}
