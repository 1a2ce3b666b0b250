package sourcetest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"postroom/sources"
)

var folderTests = map[string]func(*testing.T, Server){
	"Folders/Inbox":       testInbox,
	"Folders/Literal":     testLiteralFolders,
	"Folders/Wildcards":   testWildcardFolders,
	"Folders/Missing":     testMissingFolder,
	"Folders/Independent": testFoldersAreIndependent,
	"Folders/Tree":        testTree,
	"Folders/Headers":     testHeaders,
	"Folders/ListOfNone":  testListMissingFolder,
}

func paths(folders []sources.Folder) []string {
	var all []string
	for _, folder := range folders {
		all = append(all, folder.Path)
	}
	return all
}

func testInbox(t *testing.T, server Server) {
	w := enter(t, server, Setup{})
	folders := w.folders()
	if len(folders) != 1 || folders[0].Path != sources.Inbox || folders[0].ID == "" {
		t.Errorf("folders %+v, want the inbox", folders)
	}
}

// populate delivers one message into each folder.
func populate(t *testing.T, server Server, folders ...string) {
	t.Helper()
	for i, folder := range server.Abilities().all(folders) {
		server.Deliver(t, folder, Mail{Raw: letter(i), Received: time.Now().Add(-time.Hour)})
	}
}

func testLiteralFolders(t *testing.T, server Server) {
	if !server.Abilities().Folders {
		return
	}
	names := []string{"Rechnungen", "Inbox/Sub", "Größe/Ärger & Co", "50%25 off", "日本語", "with space", `quo"ted\one`}
	populate(t, server, names...)
	can := server.Abilities()
	for _, name := range can.all(names) {
		w := enter(t, server, Setup{Folders: []string{name}})
		folders := w.folders()
		if !slices.Equal(paths(folders), []string{name}) {
			t.Errorf("folders %v, want %s", paths(folders), name)
			continue
		}
		refs, _ := w.list(folders[0], "")
		if len(refs) != 1 {
			t.Errorf("%s: %d messages listed, want 1", name, len(refs))
		}
		for _, a := range w.fetch(folders[0], refs) {
			if a.Err != nil {
				t.Errorf("%s: %v", name, a.Err)
			}
		}
	}
	w := enter(t, server, Setup{Folders: can.all([]string{"inbox/Sub", "Rechnungen", "INBOX", "Rechnungen"})})
	if got, want := paths(w.folders()), can.all([]string{"Inbox/Sub", "Rechnungen", "Inbox"}); !slices.Equal(got, want) {
		t.Errorf("folders %v, want %v", got, want)
	}
}

func testWildcardFolders(t *testing.T, server Server) {
	if !server.Abilities().Folders {
		return
	}
	populate(t, server, "A", "A/1", "A/2", "A/1/x", "A/1/x/y", "B", "Inbox/P", "Inbox/P/Q", "Inbox/Filed", "Junk", "Drafts", "Trash")
	type row struct {
		setup Setup
		want  []string
	}
	can := server.Abilities()
	rows := []row{
		{Setup{Folders: []string{"A/*"}}, []string{"A/1", "A/2"}},
		{Setup{Folders: []string{"A/**"}}, []string{"A/1", "A/1/x", "A/1/x/y", "A/2"}},
		{Setup{Folders: []string{"A/**"}, Exclude: []string{"A/1/x"}}, []string{"A/1", "A/2"}},
		{Setup{Folders: []string{"A/**"}, Exclude: []string{"A/*/*"}}, []string{"A/1", "A/2"}},
		{Setup{Folders: []string{"a/*"}}, nil},
	}
	if can.Root == "" {
		rows = append(rows,
			row{Setup{Folders: []string{"Inbox", "Inbox/**"}, FiledFolder: filed}, []string{"Inbox", "Inbox/P", "Inbox/P/Q"}},
			row{Setup{Folders: []string{"*"}, FiledFolder: filed}, []string{"A", "B", "Inbox"}},
			row{Setup{Folders: []string{"Junk", "*"}, Exclude: []string{"Inbox"}}, []string{"A", "B", "Junk"}})
	} else {
		// What is special elsewhere at the top is special here below the root.
		rows = append(rows,
			row{Setup{Folders: []string{"Inbox", "Inbox/**"}, FiledFolder: filed}, []string{"Inbox", "A", "A/1", "A/1/x", "A/1/x/y", "A/2", "B", "Inbox/P", "Inbox/P/Q"}},
			row{Setup{Folders: []string{"*"}, FiledFolder: filed}, []string{"A", "B", "Inbox/P"}},
			row{Setup{Folders: []string{"Junk", "*"}, Exclude: []string{filed}}, []string{"A", "B", "Junk", "Inbox/P"}})
	}
	for _, row := range rows {
		row.setup.Folders, row.setup.Exclude, row.want = can.all(row.setup.Folders), can.all(row.setup.Exclude), can.all(row.want)
		w := enter(t, server, row.setup)
		folders, err := w.source.Folders(w.ctx)
		if err != nil {
			t.Errorf("%v: %v", row.setup.Folders, err)
		}
		got := paths(folders)
		slices.Sort(got)
		if !slices.Equal(got, row.want) {
			t.Errorf("%v without %v: %v, want %v", row.setup.Folders, row.setup.Exclude, got, row.want)
		}
	}
}

func testMissingFolder(t *testing.T, server Server) {
	if !server.Abilities().Folders {
		return
	}
	populate(t, server, "Rechnungen", "Inbox/Sub")
	w := enter(t, server, Setup{Folders: []string{server.Abilities().at("Rechnungem"), "Inbox/Sub", "Sub"}})
	folders, err := w.source.Folders(w.ctx)
	if !slices.Equal(paths(folders), []string{"Inbox/Sub"}) {
		t.Errorf("folders %v, want the one that exists", paths(folders))
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("error %v, want one joined of two", err)
	}
	var remedies []string
	for _, err := range joined.Unwrap() {
		var classed *sources.Error
		if !errors.As(err, &classed) || classed.Class != sources.NotFound {
			t.Errorf("error %v, want class not found", err)
			continue
		}
		remedies = append(remedies, classed.Remedy)
	}
	if len(remedies) != 2 || !strings.Contains(remedies[0], "Rechnungen") || !strings.Contains(remedies[1], "Inbox/Sub") {
		t.Errorf("the remedies do not name the folders that may be meant: %q", remedies)
	}
}

func testListMissingFolder(t *testing.T, server Server) {
	if !server.Abilities().Folders {
		return
	}
	populate(t, server, "Rechnungen")
	can := server.Abilities()
	w := enter(t, server, Setup{Folders: []string{can.at("Rechnungen")}})
	missing := can.at("Rechnungem")
	_, err := w.source.List(w.ctx, sources.Folder{ID: missing, Path: missing}, "")
	if sources.ClassOf(err) != sources.NotFound {
		t.Errorf("listing a folder that does not exist: %v (%v), want class not found", err, sources.ClassOf(err))
	}
}

func testFoldersAreIndependent(t *testing.T, server Server) {
	if !server.Abilities().Folders {
		return
	}
	can := server.Abilities()
	w := enter(t, server, Setup{Folders: []string{can.at("A"), can.at("B")}})
	w.deliver(can.at("A"), 3)
	w.deliver(can.at("B"), 5)
	folders := w.folders()
	a, cursor := w.list(folders[0], "")
	b, _ := w.list(folders[1], "")
	if len(a) != 3 || len(b) != 5 {
		t.Errorf("%d and %d messages, want 3 and 5", len(a), len(b))
	}
	if other, _ := w.list(folders[0], cursor); len(other) != 0 {
		t.Errorf("%d messages after the cursor", len(other))
	}
}

func testTree(t *testing.T, server Server) {
	source := server.Open(t, Setup{})
	defer source.Close()
	lister, ok := source.(sources.Lister)
	if !ok {
		return
	}
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 2)
	want := []string{sources.Inbox}
	if server.Abilities().Folders {
		populate(t, server, "A/1", "Größe")
		want = append(want, server.Abilities().all([]string{"A", "A/1", "Größe"})...)
	}
	tree, err := lister.Tree(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	index := make(map[string]int)
	for i, info := range tree {
		index[info.Path] = i
		if info.Path == sources.Inbox && info.Messages != 2 && info.Messages != -1 {
			t.Errorf("%d messages in the inbox, want 2", info.Messages)
		}
	}
	for _, path := range want {
		if _, ok := index[path]; !ok {
			t.Errorf("%s is missing from %v", path, tree)
		}
	}
	if can := server.Abilities(); can.Folders && index[can.at("A")] > index[can.at("A/1")] {
		t.Error("A/1 comes before A")
	}
}

func testHeaders(t *testing.T, server Server) {
	source := server.Open(t, Setup{})
	defer source.Close()
	lister, ok := source.(sources.Lister)
	if !ok {
		return
	}
	w := enter(t, server, Setup{})
	w.deliver(sources.Inbox, 20)
	refs, _ := w.list(w.inbox, "")
	var keys []string
	err := lister.Headers(w.ctx, w.inbox, func(ref sources.Ref, header []byte) error {
		if !strings.Contains(string(header), "Message-ID:") || strings.Contains(string(header), "This is letter") {
			t.Errorf("header %q", header)
		}
		keys = append(keys, ref.Key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(keys, keysOf(refs)) {
		t.Errorf("headers of %v, want %v", keys, keysOf(refs))
	}
	for i, mail := range server.Snapshot(t, sources.Inbox) {
		if mail.Seen {
			t.Errorf("reading headers has marked message %d as read", i)
		}
	}
	enough := errors.New("enough")
	if err := lister.Headers(w.ctx, w.inbox, func(sources.Ref, []byte) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("headers returns %v, want the error of yield", err)
	}
}
