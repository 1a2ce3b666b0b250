package dovecot

import "testing"

// Start runs a server for the duration of a test. A server that does not start
// fails the test; so does one that does not end.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	s, err := Run(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of dovecot:\n%s", s.Log())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
