package graph

import (
	"fmt"
	"net/url"
	"strings"
)

// Cloud is one of Microsoft's clouds. They share nothing: a token of one is
// refused in another.
type Cloud struct {
	// Authority is where to sign in, Endpoint where Graph is: https URLs without
	// a path.
	Authority, Endpoint string
	// Outlook is the service that tokens for IMAP and POP3 are for, an https URL
	// without a path; empty in a cloud that is not known.
	Outlook string
	// Delta: the listing of changes (message: delta) is there.
	Delta bool
	// PermanentDelete: message: permanentDelete is there.
	PermanentDelete bool

	custom bool
}

// clouds are those of https://learn.microsoft.com/graph/deployments; what each
// has is said in the reference of the two calls. The services of Exchange Online
// have the names of its servers.
var clouds = map[string]Cloud{
	"public":            {Authority: "https://login.microsoftonline.com", Endpoint: "https://graph.microsoft.com", Outlook: "https://outlook.office365.com", Delta: true, PermanentDelete: true},
	"us_government":     {Authority: "https://login.microsoftonline.us", Endpoint: "https://graph.microsoft.us", Outlook: "https://outlook.office365.us", Delta: true},
	"us_government_dod": {Authority: "https://login.microsoftonline.us", Endpoint: "https://dod-graph.microsoft.us", Outlook: "https://outlook-dod.office365.us", Delta: true},
	"china":             {Authority: "https://login.chinacloudapi.cn", Endpoint: "https://microsoftgraph.chinacloudapi.cn", Outlook: "https://partner.outlook.cn"},
}

// cloud returns the cloud that the settings name.
func (s *Settings) cloud() (Cloud, error) {
	if s.Cloud != "custom" {
		name := s.Cloud
		if name == "" {
			name = "public"
		}
		c, ok := clouds[name]
		if !ok {
			return Cloud{}, fmt.Errorf("cloud: none is named %q", name)
		}
		return c, nil
	}
	c := Cloud{Delta: true, PermanentDelete: true, custom: true}
	for _, part := range []struct {
		key, value string
		to         *string
	}{{"authority_host", s.AuthorityHost, &c.Authority}, {"graph_endpoint", s.GraphEndpoint, &c.Endpoint}} {
		u, err := url.Parse(part.value)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			return Cloud{}, fmt.Errorf("%s: not an https URL", part.key)
		}
		*part.to = strings.TrimSuffix("https://"+u.Host+u.Path, "/")
	}
	return c, nil
}
