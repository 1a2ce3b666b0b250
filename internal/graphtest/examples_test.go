package graphtest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postroom/internal/graphtest"
)

// example is an answer of Microsoft's documentation.
type example struct {
	Request struct {
		URL, Method string
	}
	Response struct {
		StatusCode int
		Body       any
	}
}

// documented returns the answers of the documentation by method and path, if they
// are there.
func documented(t *testing.T) map[string]example {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(graphtest.SchemaFile()), "mail-examples.json"))
	if os.IsNotExist(err) {
		t.Skip("no ../shared/graph beside the repository, nor POSTROOM_GRAPH")
	}
	var all []example
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	examples := make(map[string]example)
	for _, e := range all {
		examples[e.Request.Method+" "+strings.TrimPrefix(e.Request.URL, "https://graph.microsoft.com/v1.0/me/")] = e
	}
	return examples
}

// Every answer has what the documentation shows, and nothing that the schema does
// not know.
func TestAnswersAreDocumented(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	m.AddSearchFolder("Weekly digests")
	item := m.Deliver("Inbox", graphtest.Mail{Raw: []byte(parts)})
	m.Deliver("Inbox", graphtest.Mail{Raw: sample(1), Type: "eventMessageRequest"})
	c := signedIn(t, s)
	message := "messages/" + item.ImmutableID
	attachments, _ := c.all(message + "/attachments")
	file, nested := message+"/attachments/"+attachments[0]["id"].(string), message+"/attachments/"+attachments[2]["id"].(string)
	examples := documented(t)
	for _, test := range []struct {
		example, method, path, typ string
		body                       any
		// lacks are keys of the example that the service shows no more, or that it
		// shows of other items only.
		lacks []string
	}{
		{"GET mailFolders", "GET", "mailFolders?$top=100", "mailFolder", nil, nil},
		{"GET mailFolders?includehiddenfolders=*", "GET", "mailFolders?includeHiddenFolders=true", "mailFolder", nil, nil},
		{"GET mailFolders/*", "GET", "mailFolders/inbox", "mailFolder", nil, nil},
		{"GET mailFolders/*/childFolders", "GET", "mailFolders/syncissues/childFolders", "mailFolder", nil, nil},
		{"POST mailFolders/*/childFolders", "POST", "mailFolders/inbox/childFolders", "mailFolder", map[string]any{"displayName": "a"}, nil},
		{"GET mailFolders/*/messages", "GET", "mailFolders/inbox/messages", "message", nil, nil},
		{"GET mailFolders/*/messages/delta", "GET", "mailFolders/inbox/messages/delta?$top=1", "message", nil, nil},
		{"GET messages/*?$select=internetMessageHeaders", "GET", message + "?$select=internetMessageHeaders", "message", nil, nil},
		{"GET messages/*/attachments", "GET", message + "/attachments", "attachment", nil, nil},
		{"GET messages/*/attachments/*", "GET", file, "attachment", nil, nil},
		{"GET messages/*/attachments/*?$expand=microsoft.graph.itemattachment/item", "GET", nested + "?$expand=microsoft.graph.itemattachment/item", "attachment", nil, nil},
		{"PATCH messages/*", "PATCH", message, "message", map[string]any{"isRead": true}, []string{"meetingMessageType"}},
		{"POST messages/*/move", "POST", message + "/move", "message", map[string]any{"DestinationId": "archive"}, []string{"@odata.type"}},
	} {
		e, ok := examples[test.example]
		if !ok {
			t.Errorf("%s: not in the documentation", test.example)
			continue
		}
		want := e.Response.StatusCode
		if strings.HasSuffix(test.example, "POST mailFolders/*/childFolders") {
			want = 201 // the text of the documentation has it so
		}
		got := c.do(want, test.method, test.path, test.body)
		ours, theirs := entities(got), entities(e.Response.Body)
		if len(ours) == 0 || len(theirs) == 0 {
			t.Errorf("%s: %d entities, in the documentation %d", test.example, len(ours), len(theirs))
			continue
		}
		for _, entity := range ours {
			if err := graphtest.CheckEntity(test.typ, entity); err != nil {
				t.Errorf("%s: %v", test.example, err)
			}
		}
		for key := range theirs[0] {
			if _, ok := ours[0][key]; !ok && !slices.Contains(test.lacks, key) {
				t.Errorf("%s: no %s in %v", test.example, key, ours[0])
			}
		}
		if body, _ := e.Response.Body.(map[string]any); body["@odata.nextLink"] != nil && got["@odata.nextLink"] == nil {
			t.Errorf("%s: no link in %v", test.example, got)
		}
	}
}

// entities returns those of a list, or the one that the body is.
func entities(body any) []map[string]any {
	one, _ := body.(map[string]any)
	list, ok := one["value"].([]any)
	if !ok {
		return []map[string]any{one}
	}
	var all []map[string]any
	for _, entity := range list {
		all = append(all, entity.(map[string]any))
	}
	return all
}
