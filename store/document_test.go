package store_test

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"postroom/store"
)

func TestMarshalDocument(t *testing.T) {
	d := &store.Document{
		ID:    strings.Repeat("0a", 32),
		Title: "<a> & b\u2028 ü",
		Origin: store.Origin{
			Source:   "invoices",
			Received: time.Date(2026, 1, 2, 5, 4, 5, 600_000_000, time.FixedZone("", 7200)),
			SHA256:   sha256.Sum256(nil),
		},
		Files: []store.File{
			{Name: "message.eml", Role: store.RoleMessage, Size: 0, SHA256: sha256.Sum256(nil)},
			{Name: "original.eml", Role: store.RoleOriginal, MediaType: "message/rfc822", Size: 1 << 53},
		},
	}
	const want = `{
  "id": "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
  "title": "<a> & b\u2028 ü",
  "multi_file": true,
  "origin": {
    "source": "invoices",
    "received": "2026-01-02T03:04:05.6Z",
    "size": 0,
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  },
  "files": [
    {
      "name": "message.eml",
      "role": "message",
      "size": 0,
      "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    },
    {
      "name": "original.eml",
      "role": "original",
      "media_type": "message/rfc822",
      "size": 9007199254740992,
      "sha256": "0000000000000000000000000000000000000000000000000000000000000000"
    }
  ]
}
`
	got, err := store.MarshalDocument(d)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("MarshalDocument is\n%s\nwant\n%s", got, want)
	}
	parsed, err := store.ParseDocument(got)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := store.MarshalDocument(parsed); err != nil || string(again) != want {
		t.Errorf("MarshalDocument of what was parsed is\n%s, %v", again, err)
	}
	if !parsed.Origin.Received.Equal(d.Origin.Received) || parsed.Files[1].Size != 1<<53 {
		t.Errorf("ParseDocument = %+v", parsed)
	}
}

func TestMarshalDocumentRefusesYear10000(t *testing.T) {
	d := &store.Document{Filed: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}
	if _, err := store.MarshalDocument(d); err == nil {
		t.Error("MarshalDocument = nil, want an error")
	}
}

func TestParseDocumentIsStrict(t *testing.T) {
	const hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	file := `{"name": "a", "role": "message", "size": 0, "sha256": "` + hash + `"}`
	whole := `{"title": "t", "multi_file": false, "origin": {"received": "2026-01-02T03:04:05Z"}, "files": [` + file + `]}`
	if _, err := store.ParseDocument([]byte(whole)); err != nil {
		t.Fatalf("ParseDocument: %v", err)
	}
	for name, change := range map[string][2]string{
		"a value after it":    {whole, whole + `{}`},
		"half of it":          {whole, whole[:60]},
		"nothing":             {whole, ``},
		"no object":           {whole, `[]`},
		"an empty object":     {whole, `{}`},
		"an unknown key":      {`"title"`, `"subject"`},
		"a key in capitals":   {`"title"`, `"Title"`},
		"an empty value":      {`"t"`, `""`},
		"null":                {`"t"`, `null`},
		"a wrong type":        {`"t"`, `1`},
		"a wrong multi_file":  {`false`, `true`},
		"no multi_file":       {`"multi_file": false, `, ``},
		"a time not in UTC":   {`05Z`, `05+01:00`},
		"a time with no zone": {`05Z`, `05`},
		"a hash in capitals":  {hash, strings.ToUpper(hash)},
		"a short hash":        {hash, hash[2:]},
		"no hash":             {hash, ``},
		"a fractional size":   {`"size": 0`, `"size": 0.5`},
		"another zero":        {`"size": 0`, `"size": -0`},
	} {
		text := strings.Replace(whole, change[0], change[1], 1)
		if d, err := store.ParseDocument([]byte(text)); err == nil {
			t.Errorf("ParseDocument with %s = %+v, want an error", name, d)
		}
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(`{"multi_file": false, "origin": {"source": "a", "size": 0, "sha256": "` + strings.Repeat("11", 32) + `"}, "files": []}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := store.ParseDocument(data)
		if err != nil {
			return
		}
		again, err := store.MarshalDocument(d)
		if err != nil {
			t.Fatalf("MarshalDocument of what was parsed: %v", err)
		}
		if _, err := store.ParseDocument(again); err != nil {
			t.Fatalf("ParseDocument of what was written: %v", err)
		}
	})
}
