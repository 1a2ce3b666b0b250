package graphtest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// alternateKeys are properties by which an entity of the type is found besides
// its id, as in applications(appId='…').
var alternateKeys = map[string]string{"application": "appId"}

// readsApplications are the permissions with which applications can be read
// (https://learn.microsoft.com/graph/api/application-get).
var readsApplications = []string{
	"Application.Read.All", "Application.ReadWrite.OwnedBy", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All",
}

// insufficient is how the directory denies.
func insufficient() *problem {
	return refuse(http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
}

func noResource(name string) *problem {
	return refuse(http.StatusNotFound, "Request_ResourceNotFound", "Resource '%s' does not exist or one of its queried reference-property objects are not present.", name)
}

func getApplication(c *call) (*response, *problem) {
	if !slices.ContainsFunc(readsApplications, func(role string) bool { return slices.Contains(c.roles, role) }) {
		return nil, insufficient()
	}
	id := c.target.keys["applications"]
	app := c.s.apps[strings.ToLower(id)]
	if app == nil {
		return nil, noResource(id)
	}
	secrets := []any{}
	for n, secret := range app.Secrets {
		credential := map[string]any{
			"customKeyIdentifier": nil, "displayName": nil, "endDateTime": "2299-12-31T00:00:00Z", "hint": nil,
			"keyId": guid("secret", n, app.ID), "secretText": nil, "startDateTime": "2024-01-01T00:00:00Z",
		}
		if secret.Name != "" {
			credential["displayName"] = secret.Name
		}
		if !secret.Expires.IsZero() {
			credential["endDateTime"] = secret.Expires.UTC().Format(time.RFC3339Nano)
		}
		if !secret.Unhinted {
			credential["hint"] = secret.Value[:min(3, len(secret.Value))]
		}
		secrets = append(secrets, credential)
	}
	entity := map[string]any{
		"@odata.context": c.s.url + "/v1.0/$metadata#applications/$entity", "appId": app.ID, "displayName": app.Name,
		"passwordCredentials": secrets, "signInAudience": "AzureADMyOrg",
	}
	if c.query.selected == nil {
		entity["id"] = guid("registration", app.ID)
	}
	return ok(shown(entity, c.query.selected))
}
