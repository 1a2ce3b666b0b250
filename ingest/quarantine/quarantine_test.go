package quarantine

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"postroom/ingest/spool"
)

func TestKeep(t *testing.T) {
	dir := t.TempDir()
	sp, err := spool.Open(filepath.Join(dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	q := Open(filepath.Join(dir, "state", "quarantine"))
	if ok, err := q.Has("0123456789ab"); ok || err != nil {
		t.Error("an empty quarantine has a message:", err)
	}
	const raw = "Subject: x\r\n\r\n.\x00\n"
	b, err := sp.Take(strings.NewReader(raw), -1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	r := Record{ID: "0123456789ab", Source: "orders", Folder: "Inbox", Key: "1/2", Size: 14, Reason: "no number", Attempts: 2,
		Received: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), At: time.Date(2026, 2, 2, 3, 4, 5, 0, time.UTC), Wire: "original", Notes: []string{"a"}}
	if err := q.Keep(r, b); err != nil {
		t.Fatal(err)
	}
	if got, err := q.Record(r.ID); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v, %v", got, err)
	}
	var out strings.Builder
	if err := q.Export(r.ID, &out); err != nil || out.String() != raw {
		t.Errorf("%q, %v", out.String(), err)
	}

	// Kept again from its own copy, with another reason.
	kept, err := q.Raw(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.Reason = "still none"
	if err := q.Keep(r, kept); err != nil {
		t.Fatal(err)
	}
	kept.Close()
	if got, err := q.Record(r.ID); err != nil || got.Reason != "still none" {
		t.Errorf("%+v, %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "state", "quarantine", r.ID+".eml")); err != nil || info.Size() != int64(len(raw)) || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%v, %v", info, err)
	}

	if err := errors.Join(q.Remove(r.ID), q.Remove(r.ID)); err != nil {
		t.Error(err)
	}
	if _, err := q.Record(r.ID); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "state", "quarantine"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What is done with a quarantine that is read only shows nowhere.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	sp, err := spool.Open(filepath.Join(dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	q := Open(filepath.Join(dir, "quarantine"))
	b, err := sp.Take(strings.NewReader("Subject: x\r\n\r\n"), -1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	sum := b.SHA256()
	r := Record{ID: "0123456789ab", Source: "orders", Key: "1/2", Size: b.Size(), SHA256: hex.EncodeToString(sum[:]), Reason: "no number"}
	if err := q.Keep(r, b); err != nil {
		t.Fatal(err)
	}
	dry := q.ReadOnly()
	changed := r
	changed.Reason = "another"
	second := r
	second.ID = "ba9876543210"
	for name, err := range map[string]error{
		"keep again": dry.Keep(changed, nil), "keep": dry.Keep(second, b), "remove": dry.Remove(r.ID),
		"rename": dry.Rename(r.ID, "aaaaaaaaaaaa"), "rename again": dry.Rename("aaaaaaaaaaaa", "bbbbbbbbbbbb"), "rename nothing": dry.Rename("cccccccccccc", "dddddddddddd"),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ids, err := q.IDs(); err != nil || !reflect.DeepEqual(ids, []string{r.ID}) {
		t.Errorf("%v, %v", ids, err)
	}
	if got, err := q.Record(r.ID); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v, %v", got, err)
	}
	got, raw, err := dry.Take("aaaaaaaaaaaa")
	if err != nil || got.Reason != r.Reason {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := raw.Close(); err != nil {
		t.Error(err)
	}
	if has, err := dry.Has("dddddddddddd"); has || err != nil {
		t.Errorf("%v, %v", has, err)
	}
}
