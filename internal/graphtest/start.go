package graphtest

import (
	"os"
	"path/filepath"
)

// TB is what [Start] needs of a test.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Start runs a server for the duration of a test. The test fails if an illegal
// request was sent by its end. Requests are checked against Microsoft's schema
// where that is beside the repository, in ../shared/graph, or in the directory
// that POSTROOM_GRAPH names.
func Start(t TB, options Options) *Server {
	t.Helper()
	s := StartLenient(t, options)
	t.Cleanup(func() {
		for _, r := range s.Illegal() {
			t.Errorf("illegal request: %v", r)
		}
	})
	return s
}

// StartLenient is Start for a test that sends illegal requests.
func StartLenient(t TB, options Options) *Server {
	t.Helper()
	if options.Schema == "" {
		options.Schema = SchemaFile()
	}
	s, err := Run(options)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close Graph server: %v", err)
		}
	})
	return s
}

// SchemaFile returns the path of Microsoft's schema, or "" if it is not there.
func SchemaFile() string {
	const name = "graph-v1.0.csdl.xml.gz"
	dirs := []string{}
	if dir := os.Getenv("POSTROOM_GRAPH"); dir != "" {
		dirs = append(dirs, dir)
	}
	if dir, err := os.Getwd(); err == nil {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				dirs = append(dirs, filepath.Join(dir, "..", "shared", "graph"))
				break
			}
		}
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	return ""
}
