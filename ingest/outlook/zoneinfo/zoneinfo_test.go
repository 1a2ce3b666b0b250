package zoneinfo

import (
	"testing"
	"time"
)

// TestAll: every zone of the database can be loaded.
func TestAll(t *testing.T) {
	if n := len(files()); n < 400 {
		t.Errorf("%d zones", n)
	}
	for name := range files() {
		if at := Load(name); at == nil || at.String() != name {
			t.Errorf("%s is %v", name, at)
		}
	}
}

func TestLoad(t *testing.T) {
	for name, want := range map[string]string{"Europe/Berlin": "CEST +0200", "Asia/Tokyo": "JST +0900", "UTC": "UTC +0000"} {
		at := Load(name)
		if at == nil {
			t.Errorf("there is no %s", name)
			continue
		}
		if got := time.Date(2026, 7, 1, 0, 0, 0, 0, at).Format("MST -0700"); got != want {
			t.Errorf("%s has %s, not %s", name, got, want)
		}
	}
	for _, name := range []string{"", "Local", "localtime", "europe/berlin", "Europe", "../Europe/Berlin", "/etc/localtime", "posix/Europe/Berlin"} {
		if at := Load(name); at != nil {
			t.Errorf("%q is %v", name, at)
		}
	}
}
