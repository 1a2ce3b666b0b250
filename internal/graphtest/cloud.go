package graphtest

// Cloud is one of Microsoft's clouds: they differ in what they can do.
type Cloud struct {
	// Graph is the resource that tokens are for. The server's own URL is
	// accepted besides.
	Graph string
	// NoDelta: messages have no delta. NoPermanentDelete: nor permanentDelete.
	NoDelta, NoPermanentDelete bool
}

// The clouds, after the tables of the documentation.
var (
	Public          = Cloud{Graph: "https://graph.microsoft.com"}
	USGovernment    = Cloud{Graph: "https://graph.microsoft.us", NoPermanentDelete: true}
	USGovernmentDoD = Cloud{Graph: "https://dod-graph.microsoft.us", NoPermanentDelete: true}
	China           = Cloud{Graph: "https://microsoftgraph.chinacloudapi.cn", NoDelta: true, NoPermanentDelete: true}
)
