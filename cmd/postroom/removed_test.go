package main

import (
	"path/filepath"
	"testing"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/mailgen"
)

// What others delete while a run is under way is nobody's failure.
func TestDeletedMeanwhileIsNoFailure(t *testing.T) {
	o := newOffice(t, dovecot.Options{})
	o.configure("")
	const n = 1500
	mail := mailgen.New(5, mailgen.Small())
	for range n {
		o.deliver("INBOX", mail.Next().Raw)
	}
	ended := make(chan summary)
	go func() { ended <- o.once() }()
	filed := func() int {
		there, err := filepath.Glob(filepath.Join(o.dir, "documents/office/*/*/*/*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(there)
	}
	for began := time.Now(); filed() < 100; time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatal("nothing is filed")
		}
	}
	var deleted []uint32
	for i := uint32(n / 2); i <= n; i++ {
		deleted = append(deleted, i)
	}
	if err := o.server.Expunge("office", "INBOX", deleted...); err != nil {
		t.Fatal(err)
	}
	s := <-ended
	t.Logf("%+v", s)
	if s.Failed > 0 || s.Quarantined > 0 || s.Error != "" {
		t.Errorf("%+v", s)
	}
	if s.Filed >= n {
		t.Error("all were filed before any was deleted: the test shows nothing")
	}
	if s := o.once(); s.Filed > 0 || s.Failed > 0 || s.Quarantined > 0 || s.Error != "" {
		t.Errorf("the next run: %+v", s)
	}
}
