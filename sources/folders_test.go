package sources_test

import (
	"slices"
	"strings"
	"testing"

	"postroom/sources"
)

func TestPath(t *testing.T) {
	for _, row := range []struct {
		text string
		want sources.Path
		back string
	}{
		{"Inbox", sources.Path{"Inbox"}, "Inbox"},
		{"INBOX/Sub", sources.Path{"Inbox", "Sub"}, "Inbox/Sub"},
		{"a/inbox", sources.Path{"a", "inbox"}, "a/inbox"},
		{"In%2FOut", sources.Path{"In/Out"}, "In%2FOut"},
		{"a%2fb", sources.Path{"a/b"}, "a%2Fb"},
		{"100%25", sources.Path{"100%"}, "100%25"},
		{"%252F", sources.Path{"%2F"}, "%252F"},
		{"Größe/日本", sources.Path{"Größe", "日本"}, "Größe/日本"},
	} {
		got, err := sources.ParsePath(row.text)
		if err != nil || !slices.Equal(got, row.want) || got.String() != row.back {
			t.Errorf("%s: %q written %s, %v; want %q written %s", row.text, []string(got), got, err, []string(row.want), row.back)
		}
	}
	for _, text := range []string{"", "/", "a//b", "/a", "a/", "100%", "%2", "%41", "a\x00b", "C:\temp", "\xff"} {
		if path, err := sources.ParsePath(text); err == nil {
			t.Errorf("%q is read as %q, want an error", text, []string(path))
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add("Inbox", "a/b%")
	f.Fuzz(func(t *testing.T, a, b string) {
		path := sources.Path{a, b}
		back, err := sources.ParsePath(path.String())
		if err == nil && !back.Equal(path) {
			t.Errorf("%q is written %q and read as %q", []string(path), path, []string(back))
		}
	})
}

func TestPattern(t *testing.T) {
	for _, row := range []struct {
		pattern string
		yes, no []string
	}{
		{"Inbox", []string{"Inbox", "INBOX"}, []string{"Inbox/a", "Inbo"}},
		{"inbox/a", []string{"Inbox/a"}, []string{"Inbox/A", "Inbox"}},
		{"*", []string{"Inbox", "a"}, []string{"a/b"}},
		{"a/*", []string{"a/b", "a/c%2Fd"}, []string{"a", "a/b/c", "A/b"}},
		{"*/b", []string{"a/b"}, []string{"b", "a/a/b"}},
		{"a/**", []string{"a/b", "a/b/c"}, []string{"a", "ab/c"}},
		{"**", []string{"a", "a/b/c", "Inbox"}, nil},
		{"a/*/**", []string{"a/b/c", "a/b/c/d"}, []string{"a/b"}},
		{"Project*", []string{"Project", "Projects"}, []string{"project", "My Project"}},
		{"*2026*", []string{"2026", "year 2026 end"}, []string{"2025"}},
		{"a*b*c", []string{"abc", "aXbYc", "abbc"}, []string{"ac", "abcd", "a/b/c"}},
		{"ab*ba", []string{"abba", "abXba"}, []string{"aba"}},
		{"a%2Ab", []string{"a%2Ab"}, []string{"aXb"}},
	} {
		pattern, err := sources.ParsePattern(row.pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, text := range slices.Concat(row.yes, row.no) {
			path, err := sources.ParsePath(text)
			if err != nil {
				t.Fatal(err)
			}
			if got := pattern.Match(path); got != slices.Contains(row.yes, text) {
				t.Errorf("%s matches %s: %v", row.pattern, text, got)
			}
		}
	}
	for _, text := range []string{"", "a/**/b", "**/a", "a**", "a//b", "5%"} {
		if _, err := sources.ParsePattern(text); err == nil {
			t.Errorf("%q is a pattern, want an error", text)
		}
	}
	for text, literal := range map[string]bool{"Inbox": true, "a/b": true, "a%2Ab": true, "a/*": false, "a/**": false, "**": false, "a*": false} {
		pattern, err := sources.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := pattern.Literal(); got != literal {
			t.Errorf("%s is literal: %v", text, got)
		}
	}
}

// folder returns the folder at path; a suffix "=use" gives its special use, "!"
// makes it hold only other folders.
func folder(text string) sources.FolderInfo {
	path, use, _ := strings.Cut(text, "=")
	path, holds := strings.CutSuffix(path, "!")
	return sources.FolderInfo{Folder: sources.Folder{ID: "id of " + path, Path: path}, Use: use, Selectable: !holds}
}

func TestChoose(t *testing.T) {
	exchange := []string{"Inbox=inbox", "Inbox/A", "Inbox/A/B", "Inbox/Filed", "Drafts=drafts", "Sent=sent", "Junk Email=junk",
		"Junk Email/Old", "Deleted Items=trash", "Outbox", "Sync Issues", "Sync Issues/Conflicts", "Top!", "Top/X", "Top/Drafts"}
	for _, row := range []struct {
		name                    string
		folders                 []string
		include, exclude, never []string
		want                    []string
		refused                 []sources.Class
		remedy                  string
	}{
		{"in order, each once", exchange, []string{"Sent", "Inbox", "Sent", "*"}, nil, nil, []string{"Sent", "Inbox"}, nil, ""},
		{"everything", exchange, []string{"**"}, nil, nil, []string{"Inbox", "Inbox/A", "Inbox/A/B", "Inbox/Filed", "Sent", "Top/X", "Top/Drafts"}, nil, ""},
		{"never", exchange, []string{"Inbox/**"}, nil, []string{"inbox/Filed"}, []string{"Inbox/A", "Inbox/A/B"}, nil, ""},
		{"never, named", exchange, []string{"Inbox/Filed"}, nil, []string{"Inbox/Filed"}, nil, []sources.Class{sources.Permanent}, "filed_folder"},
		{"excluded with what is below", exchange, []string{"Inbox/**"}, []string{"Inbox/A"}, nil, []string{"Inbox/Filed"}, nil, ""},
		{"excluded by wildcard", exchange, []string{"**"}, []string{"Inbox/*", "T*"}, nil, []string{"Inbox", "Sent"}, nil, ""},
		{"special, named", exchange, []string{"Junk Email", "Outbox", "Sync Issues"}, nil, nil, []string{"Junk Email", "Outbox", "Sync Issues"}, nil, ""},
		{"below special, named", exchange, []string{"Sync Issues/*", "Junk Email/Old"}, nil, nil, []string{"Sync Issues/Conflicts", "Junk Email/Old"}, nil, ""},
		{"drafts, named", exchange, []string{"Drafts", "Sent"}, nil, nil, []string{"Sent"}, []sources.Class{sources.Permanent}, "remove"},
		{"drafts by name", []string{"Inbox", "Drafts"}, []string{"Drafts"}, nil, nil, nil, []sources.Class{sources.Permanent}, "remove"},
		{"drafts in another language", []string{"Inbox", "Entwürfe=drafts", "X"}, []string{"*"}, nil, nil, []string{"Inbox", "X"}, nil, ""},
		{"a name that only looks special", []string{"Inbox", "Trash=archive", "Inbox/Junk", "Top"}, []string{"**"}, nil, nil, []string{"Inbox", "Trash", "Inbox/Junk", "Top"}, nil, ""},
		{"everything below the inbox", []string{"Inbox", "Inbox/Trash", "Inbox/A"}, []string{"**"}, nil, nil, []string{"Inbox", "Inbox/A"}, nil, ""},
		{"missing", exchange, []string{"Inbox/a", "Snet", "nothing like it"}, nil, nil, nil, []sources.Class{sources.NotFound, sources.NotFound, sources.NotFound}, "Inbox/A"},
		{"missing, elsewhere", exchange, []string{"Conflicts"}, nil, nil, nil, []sources.Class{sources.NotFound}, "Sync Issues/Conflicts"},
		{"holds no messages", exchange, []string{"Top"}, nil, nil, nil, []sources.Class{sources.NotFound}, "Top/**"},
		{"wildcard that matches nothing", exchange, []string{"Y/*"}, nil, nil, nil, nil, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var selection sources.Selection
			for _, text := range row.include {
				selection.Include = append(selection.Include, mustPattern(t, text))
			}
			for _, text := range row.exclude {
				selection.Exclude = append(selection.Exclude, mustPattern(t, text))
			}
			for _, text := range row.never {
				path, err := sources.ParsePath(text)
				if err != nil {
					t.Fatal(err)
				}
				selection.Never = append(selection.Never, path)
			}
			var all []sources.FolderInfo
			for _, text := range row.folders {
				all = append(all, folder(text))
			}
			chosen, errs := selection.Choose(all)
			var got []string
			for _, f := range chosen {
				if f.ID != "id of "+f.Path {
					t.Errorf("id %q of %s", f.ID, f.Path)
				}
				got = append(got, f.Path)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("chosen %q, want %q", got, row.want)
			}
			var classes []sources.Class
			for _, err := range errs {
				classes = append(classes, sources.ClassOf(err))
			}
			if !slices.Equal(classes, row.refused) {
				t.Errorf("errors %v, want classes %v", errs, row.refused)
			} else if len(errs) > 0 && !strings.Contains(sources.RemedyOf(errs[0]), row.remedy) {
				t.Errorf("remedy %q, want one with %q", sources.RemedyOf(errs[0]), row.remedy)
			}
		})
	}
}

func mustPattern(t *testing.T, text string) sources.Pattern {
	t.Helper()
	pattern, err := sources.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return pattern
}

func TestNearest(t *testing.T) {
	names := []string{"Inbox", "Inbox/Rechnungen", "Inbox/Rechnung", "Archive", "Inbox/Sub/Rechnungen"}
	got := sources.Nearest("Inbox/Rechnugnen", names)
	if len(got) == 0 || got[0] != "Inbox/Rechnungen" {
		t.Errorf("nearest %q", got)
	}
	if got := sources.Nearest("Zebra", names); len(got) != 0 {
		t.Errorf("nearest to a name like no other: %q", got)
	}
	if got := sources.Nearest("Rechnungen", names); len(got) != 2 && len(got) != 3 {
		t.Errorf("nearest by last segment: %q", got)
	}
}

// TestNoFolder: a folder that may have been meant is named as it is to be written.
func TestNoFolder(t *testing.T) {
	for _, row := range []struct{ missing, there, want string }{
		{"Inbox/Sbu", "Inbox/Sub", "Inbox/Sub"},
		{"Inbox/abc*d", "Inbox/abc*", "Inbox/abc%2A"},
		{"Inbox/abc", "Inbox/abc: d", "'Inbox/abc: d'"},
		{"Inbox/abc", "Inbox/abc${", "'Inbox/abc$${'"},
		{"Inbox/abc", "Inbox/abc\x1b", `"Inbox/abc\x1b"`}, // none that a configuration can name
	} {
		missing, err := sources.ParsePath(row.missing)
		if err != nil {
			t.Fatal(err)
		}
		got := sources.NoFolder(missing, []string{row.there}).Remedy
		if want := "did you mean " + row.want + "?"; got != want {
			t.Errorf("%q: %s, want %s", row.there, got, want)
		}
	}
}
