package outlook_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"golang.org/x/tools/txtar"

	"postroom/ingest/outlook/cfb"
)

// builder makes .msg files of lines "PATH/TAG VALUE". PATH is that of an object
// in the message: recipN, attachN, attachN/3701000D. TAG is identifier and type in
// hex; for a named property SET:NAME:TYPE. It leaves out what readers can do
// without: the lookup of names, and sizes.
type builder struct {
	t       testing.TB
	objects map[string]map[string]string // values by tag, by path
	names   []string                     // SET:NAME, in order
}

var sets = map[string]string{
	"headers": "8603020000000000c000000000000046",
	"common":  "0820060000000000c000000000000046",
	"public":  "2903020000000000c000000000000046",
	"mapi":    "2803020000000000c000000000000046",
}

func build(t testing.TB, lines string) []byte {
	b := &builder{t: t, objects: map[string]map[string]string{"": {}}}
	for line := range strings.Lines(lines) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, _ := strings.Cut(line, " ")
		path, tag := "", key
		if i := strings.LastIndexByte(key, '/'); i >= 0 && !strings.Contains(key[:i], ":") {
			path, tag = key[:i], key[i+1:]
		}
		for i := range path + "/" {
			if i == len(path) || path[i] == '/' {
				if b.objects[path[:i]] == nil {
					b.objects[path[:i]] = map[string]string{}
				}
			}
		}
		if strings.Contains(tag, ":") {
			name := tag[:strings.LastIndexByte(tag, ':')]
			if !slices.Contains(b.names, name) {
				b.names = append(b.names, name)
			}
		}
		b.objects[path][tag] = value
	}
	f := &file{}
	w := cfb.NewWriter(f)
	w.Root().SetClass(cfb.CLSID{0x0B, 0x0D, 2, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46})
	b.object(w.Root(), "", 32)
	b.mapping(w.Root())
	b.must(w.Close())
	return f.b
}

func (b *builder) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func units(s string) (out []byte) {
	for _, u := range utf16.Encode([]rune(s)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}

// mapping writes the names of named properties without their lookup.
func (b *builder) mapping(root *cfb.Storage) {
	s, err := root.Storage("__nameid_version1.0")
	b.must(err)
	le := binary.LittleEndian
	var guids, entries, texts []byte
	index := map[string]uint16{"mapi": 1, "public": 2}
	for i, n := range b.names {
		set, name, _ := strings.Cut(n, ":")
		if _, ok := index[set]; !ok {
			g, err := hex.DecodeString(sets[set])
			b.must(err)
			index[set] = uint16(3 + len(guids)/16)
			guids = append(guids, g...)
		}
		kind, value := index[set]<<1, uint32(0)
		if v, err := strconv.ParseUint(name, 16, 32); err == nil && len(name) == 4 {
			value = uint32(v)
		} else {
			kind |= 1
			value = uint32(len(texts))
			u := units(name)
			texts = append(le.AppendUint32(texts, uint32(len(u))), u...)
			texts = append(texts, make([]byte, -len(u)&3)...)
		}
		entries = le.AppendUint16(le.AppendUint16(le.AppendUint32(entries, value), kind), uint16(i))
	}
	b.must(s.Put("__substg1.0_00020102", guids))
	b.must(s.Put("__substg1.0_00030102", entries))
	b.must(s.Put("__substg1.0_00040102", texts))
}

var unescaped = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t", `\0`, "\x00", `\\`, `\`)

func (b *builder) object(at *cfb.Storage, path string, head int) {
	le := binary.LittleEndian
	properties := make([]byte, head)
	values := b.objects[path]
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value := values[key]
		name := key
		if i := strings.LastIndexByte(key, ':'); i >= 0 {
			name = fmt.Sprintf("%04X%s", 0x8000+slices.Index(b.names, key[:i]), key[i+1:])
		}
		tag, err := strconv.ParseUint(name, 16, 32)
		b.must(err)
		stream := "__substg1.0_" + strings.ToUpper(name)
		var content []byte
		fixed := uint64(0)
		hexed, isHex := strings.CutPrefix(value, "hex:")
		if isHex {
			content, err = hex.DecodeString(strings.ReplaceAll(hexed, " ", ""))
			b.must(err)
		}
		switch tag & 0xFFFF {
		case 0x0003:
			n, err := strconv.ParseInt(value, 0, 64)
			b.must(err)
			fixed = uint64(uint32(n))
		case 0x000B:
			if value == "true" {
				fixed = 1
			}
		case 0x0040:
			at, err := time.Parse(time.RFC3339, value)
			b.must(err)
			fixed = uint64(at.Unix()+11644473600) * 1e7
		case 0x001F:
			if !isHex {
				content = units(unescaped.Replace(value))
			}
		case 0x001E, 0x0102:
			if !isHex {
				content = []byte(unescaped.Replace(value))
			}
		case 0x101F:
			for i, v := range strings.Split(value, "|") {
				u := append(units(v), 0, 0)
				b.must(at.Put(fmt.Sprintf("%s-%08X", stream, i), u))
				content = le.AppendUint32(content, uint32(len(u)))
			}
		case 0x000D:
			sub, err := at.Storage(stream)
			b.must(err)
			if value == "storage" {
				b.must(sub.Put("\x01Ole10Native", []byte("native data")))
				inner, err := sub.Storage("inner")
				b.must(err)
				b.must(inner.Put("CONTENTS", bytes.Repeat([]byte("x"), 5000)))
			} else {
				b.object(sub, path+"/3701000D", 24)
			}
			content = nil
		default:
			b.t.Fatalf("type %04X", tag&0xFFFF)
		}
		if content != nil {
			b.must(at.Put(stream, content))
			fixed = uint64(len(content))
		}
		properties = le.AppendUint64(le.AppendUint32(le.AppendUint32(properties, uint32(tag)), 6), fixed)
	}
	b.must(at.Put("__properties_version1.0", properties))
	for _, sub := range slices.Sorted(maps.Keys(b.objects)) {
		rest, ok := strings.CutPrefix(sub, path)
		if rest = strings.TrimPrefix(rest, "/"); !ok || rest == "" || strings.Contains(rest, "/") || path != "" && !strings.HasPrefix(sub, path+"/") {
			continue
		}
		for _, kind := range []string{"recip", "attach"} {
			if n, err := strconv.Atoi(strings.TrimPrefix(rest, kind)); err == nil && strings.HasPrefix(rest, kind) {
				s, err := at.Storage(fmt.Sprintf("__%s_version1.0_#%08X", kind, n))
				b.must(err)
				b.object(s, sub, 8)
			}
		}
	}
}

var boundaryHash = regexp.MustCompile(`=_[0-9a-f]{24}_`)

// TestMailRules converts the .msg file of each fixture, which is named after the
// paragraph of MS-OXCMAIL that has the rule. Its section msg has the properties;
// the mail has to be that of the section mail, where boundaries are without the
// hash in them; the section losses has those of the report. WRITE_FIXTURES in the
// environment writes both sections as they are, to be read before they are kept.
func TestMailRules(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/mail/*.txtar")
	if err != nil || len(fixtures) == 0 {
		t.Fatal("no fixtures", err)
	}
	for _, name := range fixtures {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			sections := map[string]string{}
			for _, f := range a.Files {
				sections[f.Name] = string(f.Data)
			}
			raw, report := back(t, build(t, sections["msg"]))
			wellFormed(t, raw, report)
			got := boundaryHash.ReplaceAllString(strings.ReplaceAll(string(raw), "\r\n", "\n"), "=_")
			if !strings.HasSuffix(got, "\n") {
				got += "\n"
			}
			if want := sections["mail"]; got != want {
				t.Errorf("the mail is\n%s\nnot\n%s", got, want)
			}
			var losses strings.Builder
			for _, l := range report.Losses {
				losses.WriteString(l.String() + "\n")
			}
			if losses.String() != sections["losses"] {
				t.Errorf("the losses are\n%s\nnot\n%s", losses.String(), sections["losses"])
			}
			if os.Getenv("WRITE_FIXTURES") != "" {
				a.Files = a.Files[:1]
				a.Files = append(a.Files, txtar.File{Name: "mail", Data: []byte(got)})
				if losses.Len() > 0 {
					a.Files = append(a.Files, txtar.File{Name: "losses", Data: []byte(losses.String())})
				}
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
