package graph

import (
	"strings"
	"testing"

	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
)

func TestClouds(t *testing.T) {
	for name, want := range map[string]struct{ authority, graph string }{
		"":                  {azcloud.AzurePublic.ActiveDirectoryAuthorityHost, "graph.microsoft.com"},
		"public":            {azcloud.AzurePublic.ActiveDirectoryAuthorityHost, "graph.microsoft.com"},
		"us_government":     {azcloud.AzureGovernment.ActiveDirectoryAuthorityHost, "graph.microsoft.us"},
		"us_government_dod": {azcloud.AzureGovernment.ActiveDirectoryAuthorityHost, "dod-graph.microsoft.us"},
		"china":             {azcloud.AzureChina.ActiveDirectoryAuthorityHost, "microsoftgraph.chinacloudapi.cn"},
	} {
		s := Settings{Cloud: name}
		c, err := s.cloud()
		if err != nil || c.Authority != strings.TrimSuffix(want.authority, "/") || c.Endpoint != "https://"+want.graph {
			t.Errorf("%s: %+v, %v; want %+v", name, c, err, want)
		}
		if c.Delta != (name != "china") || c.PermanentDelete != (name == "" || name == "public") {
			t.Errorf("%s: %+v", name, c)
		}
	}
	s := Settings{Cloud: "custom", AuthorityHost: "https://login.example/", GraphEndpoint: "https://graph.example:8443/proxy/"}
	if c, err := s.cloud(); err != nil || c.Authority != "https://login.example" || c.Endpoint != "https://graph.example:8443/proxy" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, s := range []Settings{
		{Cloud: "moon"}, {Cloud: "custom"}, {Cloud: "custom", AuthorityHost: "http://login.example", GraphEndpoint: "https://graph.example"},
		{Cloud: "custom", AuthorityHost: "https://login.example", GraphEndpoint: "https://u:p@graph.example"},
	} {
		if c, err := s.cloud(); err == nil {
			t.Errorf("%+v is taken for %+v", s, c)
		}
	}
}
