package graphtest_test

import (
	"net/http"
	"net/url"
	"slices"
	"testing"

	"postroom/internal/graphtest"
)

// What no client should send is refused, and remembered.
func TestIllegalRequests(t *testing.T) {
	s := graphtest.StartLenient(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	item := m.Deliver("Inbox", graphtest.Mail{Raw: sample(1)})
	c := signedIn(t, s)
	message := "messages/" + item.ImmutableID
	for _, test := range []struct {
		method, path string
		body         any
		status       int
		code         string
	}{
		{"GET", "mailFolders/inbox/" + message + "/$value", nil, 405, "ErrorInvalidRequest"},
		{"GET", "messages/delta", nil, 400, "ErrorInvalidRequest"},
		{"GET", "messages/delta()", nil, 400, "ErrorInvalidRequest"},
		{"GET", "/me/messages", nil, 400, "BadRequest"},
		{"GET", "folders", nil, 400, "BadRequest"},
		{"GET", "mailFolders/inbox/messages?$select=size", nil, 400, "RequestBroker--ParseUri"},
		{"GET", "mailFolders?pageSize=3", nil, 400, "BadRequest"},
		{"DELETE", "mailFolders/inbox/messages", nil, 405, "Request_BadRequest"},
		{"GET", message + "/move", nil, 405, "Request_BadRequest"},
		{"PATCH", message, map[string]any{"read": true}, 400, "RequestBodyRead"},
		{"PATCH", message, map[string]any{"isRead": "yes"}, 400, "RequestBodyRead"},
		{"PATCH", message, map[string]any{"parentFolderId": "x"}, 400, "ErrorInvalidPropertySet"},
		{"PATCH", message, map[string]any{"subject": "x"}, 400, "ErrorInvalidPropertyUpdateSentMessage"},
		{"PATCH", message, `{"isRead":`, 400, "BadRequest"},
		{"POST", message + "/move", map[string]any{"target": "inbox"}, 400, "BadRequest"},
		{"POST", message + "/move", map[string]any{}, 400, "BadRequest"},
		{"POST", message + "/send", nil, 501, "NotImplemented"},
		{"GET", "/users/" + address + "/calendar", nil, 0, ""},
		{"POST", "mailFolders", map[string]any{"displayName": "x", "totalItemCount": 1}, 400, "BadRequest"},
		{"POST", "mailFolders", map[string]any{"isHidden": true}, 400, "BadRequest"},
	} {
		s.Forget()
		if test.status == 0 {
			resp, err := c.send(test.method, test.path, test.body)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		} else {
			c.refused(test.status, test.code, test.method, test.path, test.body)
		}
		if illegal := s.Illegal(); len(illegal) != 1 {
			t.Errorf("%s %s: remembered as %v", test.method, test.path, illegal)
		}
	}
	if now, _ := m.Find(item.ID); now.Read || now.Folder != "Inbox" {
		t.Errorf("a refused request had an effect: %+v", now)
	}
	// So is one without a token.
	s.Forget()
	token := c.token
	c.token = ""
	c.refused(401, "InvalidAuthenticationToken", http.MethodGet, "folders", nil)
	if len(s.Illegal()) != 1 {
		t.Error("without a token it is taken for legal")
	}
	c.token = token
	s.Forget()
	resp, err := c.send(http.MethodGet, s.GraphURL()+"/beta/users/x/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.decode(resp)
	if len(s.Illegal()) != 1 {
		t.Error("beta is taken for legal")
	}
}

// What a sound client meets with is refused, and no fault of the client.
func TestRefusals(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	m := s.AddMailbox(address, graphtest.MailboxOptions{Missing: []string{"archive"}})
	s.AddMailbox("unlicensed@contoso.example", graphtest.MailboxOptions{Unlicensed: true})
	s.AddMailbox("private@contoso.example", graphtest.MailboxOptions{})
	s.ChangeApp(func(a *graphtest.App) {
		a.Mailboxes = []string{address, "unlicensed@contoso.example", "nobody@contoso.example"}
	})
	item := m.Deliver("Inbox", graphtest.Mail{Raw: sample(1), Unrenderable: true})
	m.CreateFolder("Inbox/Orders")
	c := signedIn(t, s)
	gone := m.Deliver("Inbox", graphtest.Mail{Raw: sample(2)})
	if err := m.Remove(gone.ID); err != nil {
		t.Fatal(err)
	}
	message := "messages/" + item.ImmutableID
	c.refused(404, "ErrorInvalidUser", "GET", "/users/nobody@contoso.example/mailFolders", nil)
	c.refused(404, "MailboxNotEnabledForRESTAPI", "GET", "/users/unlicensed@contoso.example/mailFolders", nil)
	c.refused(403, "ErrorAccessDenied", "GET", "/users/private@contoso.example/mailFolders", nil)
	c.refused(403, "Authorization_RequestDenied", "GET", "/users/"+address, nil)
	c.refused(404, "ErrorFolderNotFound", "GET", "mailFolders/archive", nil)
	c.refused(400, "ErrorInvalidIdMalformed", "GET", "mailFolders/Orders", nil)
	c.refused(404, "ErrorFolderNotFound", "GET", "mailFolders/"+gone.ID, nil)
	c.refused(400, "ErrorInvalidIdMalformed", "GET", "messages/1", nil)
	c.refused(404, "ErrorItemNotFound", "GET", "messages/"+gone.ImmutableID, nil)
	c.refused(404, "ErrorItemNotFound", "GET", "mailFolders/drafts/"+message, nil)
	c.refused(500, "ErrorMimeContentConversionFailed", "GET", message+"/$value", nil)
	c.refused(404, "ErrorFolderNotFound", "POST", message+"/move", map[string]any{"DestinationId": gone.ID})
	c.refused(409, "ErrorFolderExists", "POST", "mailFolders/inbox/childFolders", map[string]any{"displayName": "orders"})
	c.refused(403, "ErrorDeleteDistinguishedFolder", "DELETE", "mailFolders/inbox", nil)
	c.refused(400, "SyncStateInvalid", "GET", "mailFolders/inbox/messages/delta?$deltatoken=x", nil)
	c.refused(400, "InefficientFilter", "GET", "mailFolders/inbox/messages?$filter=isRead+eq+false&$orderby=receivedDateTime", nil)

	s.ChangeApp(func(a *graphtest.App) { a.Roles = []string{"Mail.Read", "User.Read.All"} })
	c.token = signedIn(t, s).token
	if user := c.get("/users/" + m.UserID()); user["mail"] != address {
		t.Errorf("%v", user)
	}
	c.refused(404, "Request_ResourceNotFound", "GET", "/users/nobody@contoso.example", nil)
	c.get(message)
	for _, write := range [][]any{
		{"PATCH", message, map[string]any{"isRead": true}}, {"DELETE", message, nil},
		{"POST", message + "/move", map[string]any{"DestinationId": "drafts"}}, {"POST", message + "/permanentDelete", nil},
		{"POST", "mailFolders", map[string]any{"displayName": "x"}},
	} {
		c.refused(403, "ErrorAccessDenied", write[0].(string), write[1].(string), write[2])
	}
	registration := "/applications(appId='" + s.ClientID() + "')?$select=passwordCredentials"
	c.refused(403, "Authorization_RequestDenied", "GET", registration, nil)
	for _, role := range []string{"Application.Read.All", "Application.ReadWrite.OwnedBy", "Directory.Read.All"} {
		s.ChangeApp(func(a *graphtest.App) { a.Roles = []string{role} })
		c.token = signedIn(t, s).token
		secrets, _ := c.get(registration)["passwordCredentials"].([]any)
		if len(secrets) != 1 {
			t.Fatalf("%s: %v", role, secrets)
		}
		if secret := secrets[0].(map[string]any); secret["hint"] != s.ClientSecret()[:3] || secret["secretText"] != nil || secret["endDateTime"] == nil {
			t.Errorf("%s: %v", role, secret)
		}
		c.refused(404, "Request_ResourceNotFound", "GET", "/applications(appId='99999999-9999-4999-8999-999999999999')", nil)
		c.refused(403, "ErrorAccessDenied", "GET", message, nil)
	}
	s.ChangeApp(func(a *graphtest.App) { a.Roles = []string{"Mail.ReadBasic.All"} })
	c.token = signedIn(t, s).token
	if got := c.get(message); got["subject"] == nil || got["body"] != nil {
		t.Errorf("%v", got)
	}
	c.refused(403, "ErrorAccessDenied", "GET", message+"/$value", nil)
	s.ChangeApp(func(a *graphtest.App) { a.Roles = nil })
	c.token = signedIn(t, s).token
	c.refused(403, "ErrorAccessDenied", "GET", "mailFolders", nil)
	if now, _ := m.Find(item.ID); now.Read || now.Folder != "Inbox" {
		t.Errorf("a refused request had an effect: %+v", now)
	}
}

func TestClouds(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{Cloud: graphtest.China})
	m := s.AddMailbox(address, graphtest.MailboxOptions{})
	item := m.Deliver("Inbox", graphtest.Mail{Raw: sample(1)})
	c := newClient(t, s)
	if status, body := c.signIn(nil); status != 400 || body["error"] != "invalid_resource" {
		t.Errorf("a token for the public cloud: %d %v", status, body)
	}
	_, body := c.signIn(func(v url.Values) { v.Set("scope", "https://microsoftgraph.chinacloudapi.cn/.default") })
	c.token = body["access_token"].(string)
	c.refused(400, "BadRequest", "GET", "mailFolders/inbox/messages/delta()", nil)
	c.refused(400, "BadRequest", "POST", "messages/"+item.ID+"/permanentDelete", nil)
	if list, _ := c.all("mailFolders/inbox/messages?$filter=receivedDateTime+ge+2020-01-01T00:00:00Z&$orderby=receivedDateTime"); len(list) != 1 {
		t.Errorf("%v", list)
	}
}

// Mailboxes in other languages have other names for folders that are found all
// the same by their well-known names.
func TestFolders(t *testing.T) {
	s := graphtest.Start(t, graphtest.Options{})
	fi := s.AddMailbox("fi@contoso.example", graphtest.MailboxOptions{Language: "fi"})
	s.AddMailbox("ja@contoso.example", graphtest.MailboxOptions{Language: "ja"})
	c := signedIn(t, s)
	for user, want := range map[string]string{"fi": "Saapuneet", "ja": "受信トレイ"} {
		for _, name := range []string{"inbox", "Inbox"} {
			if got := c.get("/users/" + user + "@contoso.example/mailFolders/" + name); got["displayName"] != want {
				t.Errorf("%s: %v", user, got)
			}
		}
	}
	fi.CreateFolder(`Saapuneet/a\/b/c`)
	fi.CreateFolder("Hidden")
	fi.CreateFolder("Projektit")
	fi.AddSearchFolder("Weekly")
	if err := fi.HideFolder("Hidden"); err != nil {
		t.Fatal(err)
	}
	const mailbox = "/users/fi@contoso.example/"
	shown, _ := c.all(mailbox + "mailFolders")
	all, _ := c.all(mailbox + "mailFolders?includeHiddenFolders=true&$top=1")
	if len(all) != len(shown)+2 || !slices.Contains(values(all, "displayName"), "Hidden") || slices.Contains(values(shown, "displayName"), "Hidden") {
		t.Errorf("shown %v, all %v", values(shown, "displayName"), values(all, "displayName"))
	}
	if !slices.Contains(values(shown, "@odata.type"), "#microsoft.graph.mailSearchFolder") {
		t.Errorf("no search folder in %v", shown)
	}
	if first := c.get(mailbox + "mailFolders"); len(first["value"].([]any)) != 10 || first["@odata.nextLink"] == nil {
		t.Errorf("a page that was not asked for has %v", first)
	}
	expanded := c.get(mailbox + "mailFolders?$expand=childFolders&$filter=displayName+eq+'saapuneet'&$count=true")
	inbox := expanded["value"].([]any)[0].(map[string]any)
	child := inbox["childFolders"].([]any)[0].(map[string]any)
	if child["displayName"] != "a/b" || child["parentFolderId"] != inbox["id"] || expanded["@odata.count"] != 1.0 {
		t.Errorf("%v", expanded)
	}
	grandchild := c.get(mailbox + "mailFolders/inbox/childFolders/" + child["id"].(string) + "/childFolders")
	id := grandchild["value"].([]any)[0].(map[string]any)["id"].(string)
	c.do(200, "PATCH", mailbox+"mailFolders/"+id, map[string]any{"displayName": "d"})
	if !slices.Contains(fi.Folders(), `Saapuneet/a\/b/d`) {
		t.Errorf("%v", fi.Folders())
	}
	c.do(201, "POST", mailbox+"mailFolders/"+id+"/move", map[string]any{"DestinationId": "msgfolderroot"})
	c.do(204, "DELETE", mailbox+"mailFolders/"+id, nil)
	if !slices.Contains(fi.Folders(), "Poistetut/d") {
		t.Errorf("%v", fi.Folders())
	}
	if err := fi.DeleteFolder("Poistetut/d"); err != nil {
		t.Error(err)
	}
	if err := fi.DeleteFolder("Poistetut/d"); err == nil {
		t.Error("a folder is deleted twice")
	}
	c.refused(404, "ErrorFolderNotFound", "GET", mailbox+"mailFolders/"+id+"/messages/delta()", nil)
}
