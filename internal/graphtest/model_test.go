package graphtest

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// published returns Microsoft's schema, if it is there.
func published(t *testing.T) *model {
	t.Helper()
	path := SchemaFile()
	if path == "" {
		t.Skip("no ../shared/graph beside the repository, nor POSTROOM_GRAPH")
	}
	m, err := readCSDL(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What the package knows by itself is what Microsoft's schema says: all
// properties of the types it has, but of users and applications only some.
func TestFactsAreMicrosofts(t *testing.T) {
	theirs, ours := published(t), facts()
	for name, f := range ours.types {
		they := theirs.types[name]
		if they == nil || they.base != f.base || they.entity != f.entity || they.stream != f.stream {
			t.Errorf("type %s is %+v, in the schema %+v", name, f, they)
			continue
		}
		for kind, both := range map[string][2]map[string]string{
			"property": {f.properties, they.properties}, "navigation": {f.navigation, they.navigation},
		} {
			for property, typ := range both[0] {
				if both[1][property] != typ {
					t.Errorf("%s %s/%s is of type %q, in the schema %q", kind, name, property, typ, both[1][property])
				}
			}
			if name != "user" && name != "application" && len(both[0]) != len(both[1]) {
				t.Errorf("%s has %d of %s, in the schema %d", name, len(both[0]), kind, len(both[1]))
			}
		}
	}
	for name, members := range ours.enums {
		if !slices.Equal(members, theirs.enums[name]) {
			t.Errorf("enum %s is %v, in the schema %v", name, members, theirs.enums[name])
		}
	}
	for name, operations := range ours.operations {
		for _, o := range operations {
			they, ok := theirs.bound(name, o.binding)
			if !ok || they.action != o.action || they.binding != o.binding || !maps.Equal(they.parameters, o.parameters) {
				t.Errorf("operation %s on %s is %+v, in the schema %+v", name, o.binding, o, they)
			}
		}
	}
	for name, operations := range theirs.operations {
		for _, o := range operations {
			switch o.binding {
			case "message", "mailFolder", "[]message", "[]mailFolder", "[]attachment":
				if _, ok := ours.bound(name, o.binding); !ok {
					t.Errorf("operation %s on %s is not known", name, o.binding)
				}
			}
		}
	}
	for name, r := range ours.roots {
		if theirs.roots[name] != r {
			t.Errorf("root %s is %v, in the schema %v", name, r, theirs.roots[name])
		}
	}
}

// The two models judge requests alike, and every path that is served is legal.
func TestJudgesAlike(t *testing.T) {
	models := map[string]*model{"facts": facts()}
	if path := SchemaFile(); path != "" {
		models["schema"] = published(t)
	}
	for name, m := range models {
		for _, test := range []struct {
			method, path, query, body string
			legal                     bool
			pattern                   string
		}{
			{"GET", "users/a@b.c/mailFolders", "$top=100&includeHiddenFolders=true&$select=id,displayName,childFolderCount", "", true, "users/{}/mailFolders"},
			{"GET", "users('a')/mailFolders('b')/messages/delta", "$skiptoken=x", "", true, "users/{}/mailFolders/{}/messages/delta"},
			{"GET", "users/a/mailFolders/b/messages/delta()", "%24select=isRead&changeType=created", "", true, "users/{}/mailFolders/{}/messages/delta"},
			{"GET", "users/a/mailFolders/b/messages/microsoft.graph.delta()", "", "", true, "users/{}/mailFolders/{}/messages/delta"},
			{"GET", "users/a/mailFolders/b/childFolders/c/childFolders/d/messages", "$orderby=receivedDateTime+desc&$count=true", "", true, "users/{}/mailFolders/{}/messages"},
			{"GET", "users/a/messages/b/$value", "", "", true, "users/{}/messages/{}/$value"},
			{"GET", "users/a/messages/b/%24value", "", "", true, "users/{}/messages/{}/$value"},
			{"GET", "users/a/messages/b%2Fc%3D/$value", "", "", true, "users/{}/messages/{}/$value"},
			{"GET", "users/a/messages/b/attachments/c/$value", "", "", true, "users/{}/messages/{}/attachments/{}/$value"},
			{"GET", "users/a/messages/b/attachments", "$select=id,name,size,microsoft.graph.fileAttachment/contentId", "", true, "users/{}/messages/{}/attachments"},
			{"GET", "users/a/messages/b/attachments/c", "$expand=microsoft.graph.itemattachment/item", "", true, "users/{}/messages/{}/attachments/{}"},
			{"GET", "users/a/messages/b", "$expand=singleValueExtendedProperties($filter=id+eq+'Integer+0x0E08')", "", true, "users/{}/messages/{}"},
			{"GET", "users/a/messages", "$filter=receivedDateTime+ge+2026-01-01T00:00:00Z+and+isRead+eq+false", "", true, "users/{}/messages"},
			{"PATCH", "users/a/messages/b", "", `{"@odata.type":"#microsoft.graph.message","isRead":true}`, true, "users/{}/messages/{}"},
			{"POST", "users/a/messages/b/move", "", `{"DestinationId":"x"}`, true, "users/{}/messages/{}/move"},
			{"POST", "users/a/messages/b/microsoft.graph.move", "", `{"destinationId":"x"}`, true, "users/{}/messages/{}/move"},
			{"POST", "users/a/mailFolders", "", `{"displayName":"x","isHidden":false}`, true, "users/{}/mailFolders"},
			{"DELETE", "users/a/messages/b", "", "", true, "users/{}/messages/{}"},
			{"POST", "users/a/messages/b/permanentDelete", "", "", true, "users/{}/messages/{}/permanentDelete"},
			{"GET", "users/a", "$select=mail", "", true, "users/{}"},
			{"GET", "applications(appId='a')", "$select=passwordCredentials", "", true, "applications(appId='{}')"},
			{"GET", "applications(appId%3D'a')", "", "", true, "applications(appId='{}')"},
			{"GET", "applications/a", "", "", true, "applications/{}"},

			{"GET", "users/a/mailfolders", "", "", false, ""},
			{"GET", "applications(displayName='a')", "", "", false, ""},
			{"GET", "users(appId='a')", "", "", false, ""},
			{"GET", "applications(appId='a')", "$select=secrets", "", false, ""},
			{"GET", "applications(appId='a')/mailFolders", "", "", false, ""},
			{"GET", "users/a/folders", "", "", false, ""},
			{"GET", "mailFolders", "", "", false, ""},
			{"GET", "users/a//messages", "", "", false, ""},
			{"GET", "users/a/messages/b/move", "", "", false, ""},
			{"POST", "users/a/messages/b/move()", "", `{"DestinationId":"x"}`, false, ""},
			{"POST", "users/a/messages/b", "", `{}`, false, ""},
			{"DELETE", "users/a/messages", "", "", false, ""},
			{"GET", "users/a/messages/b/attachments/delta", "", "", true, "users/{}/messages/{}/attachments/{}"},
			{"GET", "users/a/mailFolders/b/$value", "", "", false, ""},
			{"GET", "users/a/messages/b/$value", "$select=id", "", false, ""},
			{"GET", "users/a/messages/b", "$top=1", "", false, ""},
			{"GET", "users/a/messages", "$select=id,size", "", false, ""},
			{"GET", "users/a/messages", "$select=IsRead", "", false, ""},
			{"GET", "users/a/messages", "$expand=body", "", false, ""},
			{"GET", "users/a/messages", "$top=0", "", false, ""},
			{"GET", "users/a/messages", "$top=1001", "", false, ""},
			{"GET", "users/a/messages", "pageSize=10", "", false, ""},
			{"GET", "users/a/messages", "$top=1&$top=2", "", false, ""},
			{"GET", "users/a/messages", "$filter=isRed+eq+false", "", false, ""},
			{"GET", "users/a/messages", "$filter=isRead+is+false", "", false, ""},
			{"GET", "users/a/messages", "$filter=isRead+eq", "", false, ""},
			{"GET", "users/a/messages", "$filter=(isRead+eq+true", "", false, ""},
			{"GET", "users/a/messages", "$orderby=subject+down", "", false, ""},
			{"GET", "users/a/mailFolders/b/messages/delta", "$filter=isRead+eq+false", "", false, ""},
			{"GET", "users/a/mailFolders/b/messages/delta", "$deltatoken=x&$select=id", "", false, ""},
			{"GET", "users/a/mailFolders/b/messages/delta", "changeType=new", "", false, ""},
			{"GET", "users/a/messages", "includeHiddenFolders=true", "", false, ""},
			{"PATCH", "users/a/messages/b", "", `{"read":true}`, false, ""},
			{"PATCH", "users/a/messages/b", "", `{"isRead":"true"}`, false, ""},
			{"PATCH", "users/a/messages/b", "", `{"@odata.type":"#microsoft.graph.event","isRead":true}`, false, ""},
			{"PATCH", "users/a/messages/b", "", `{"importance":"huge"}`, false, ""},
			{"PATCH", "users/a/messages/b", "", `{"from":{"emailAdress":{}}}`, false, ""},
			{"POST", "users/a/messages/b/move", "", `{"folder":"x"}`, false, ""},
			{"POST", "users/a/messages/b/move", "", `{"DestinationId":7}`, false, ""},
			{"POST", "users/a/messages/b/permanentDelete", "", `{"x":1}`, false, ""},
		} {
			pattern, p := judge(m, test.method, test.path, test.query, test.body)
			if (p == nil) != test.legal || p != nil && !p.illegal || test.legal && pattern != test.pattern {
				t.Errorf("%s: %s %s?%s %s: %q, %v", name, test.method, test.path, test.query, test.body, pattern, p)
			}
		}
		for served := range handlers {
			method, pattern, _ := strings.Cut(served, " ")
			if _, p := judge(m, method, strings.ReplaceAll(pattern, "{}", "x"), "", ""); p != nil {
				t.Errorf("%s: %s is served: %v", name, served, p)
			}
		}
	}
}

// judge checks a request as the server does.
func judge(m *model, method, path, query, body string) (string, *problem) {
	target, p := m.resolve(path)
	if p != nil {
		return "", p
	}
	if p := target.checkMethod(method); p != nil {
		return "", p
	}
	if _, p := m.parseQuery(target, query); p != nil {
		return "", p
	}
	if body != "" {
		c := &call{s: &Server{model: m}, target: target}
		if p := c.parseBody(jsonRequest(), []byte(body)); p != nil {
			return "", p
		}
	}
	return target.pattern, nil
}

func jsonRequest() *http.Request {
	return &http.Request{Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}}}
}

// Whatever is asked is judged.
func TestJudgesDamagedRequests(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pieces := []string{"users", "/", "'", "(", ")", "mailFolders", "messages", "delta", "$value", "%24", "%2", "microsoft.graph.", "message", "move",
		"$select=", "$filter=", "$expand=", "isRead", " eq ", "true", ",", "&", "$top=", "5", "not ", "and", "or", "startswith(", "x", "[]", "singleValueExtendedProperties"}
	text := func() string {
		var b strings.Builder
		for range random.IntN(9) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		return b.String()
	}
	for range 20_000 {
		judge(facts(), "GET", "users/x/messages"+text(), text(), "")
		judge(facts(), "GET", "users/x/messages", "$filter="+text(), "")
		judge(facts(), "GET", text(), "", "")
	}
}
