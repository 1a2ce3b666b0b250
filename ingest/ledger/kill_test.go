package ledger_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"postroom/ingest/ledger"
)

// TestKill kills a process that settles messages ten times, each at a moment
// that nothing in it expects. All that was acknowledged is there afterwards.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postroom.db")
	acknowledged := make(map[[2]string]ledger.State)
	for range 10 {
		for k, s := range settleUntilKilled(t, path, rand.IntN(1000)) {
			acknowledged[k] = s
		}
		checkAcknowledged(t, path, acknowledged)
	}
	t.Logf("%d entries were acknowledged", len(acknowledged))
}

// settleUntilKilled runs a child until it has acknowledged n steps, kills it and
// returns the last step that it acknowledged of each entry.
func settleUntilKilled(t testing.TB, path string, n int) map[[2]string]ledger.State {
	t.Helper()
	cmd := child(t, "LEDGER_TEST_SETTLE="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := make(map[[2]string]ledger.State)
	lines := bufio.NewReader(out)
	for i := 0; ; i++ {
		if i == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(line)
		acknowledged[[2]string{f[0], f[1]}] = ledger.State(f[2])
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Fatalf("child ended by itself: %v", err)
	}
	if len(acknowledged) == 0 && n > 0 {
		t.Fatal("nothing was acknowledged")
	}
	return acknowledged
}

func checkAcknowledged(t *testing.T, path string, acknowledged map[[2]string]ledger.State) {
	t.Helper()
	l := openSQLite(t, path)
	defer func() {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	order := map[ledger.State]int{ledger.Begun: 1, ledger.Prepared: 2, ledger.Filed: 3, ledger.Settled: 4}
	second := map[ledger.State]ledger.State{
		ledger.Begun: ledger.Begun, ledger.Prepared: ledger.Begun, ledger.Filed: ledger.Quarantined, ledger.Settled: ledger.Parked,
	}
	for k, want := range acknowledged {
		e, err := l.Entry(t.Context(), "source", k[0], k[1])
		if err != nil {
			t.Fatalf("entry %q, acknowledged as %s: %v", k, want, err)
		}
		if order[e.State] < order[want] {
			t.Fatalf("entry %q is %s, acknowledged as %s", k, e.State, want)
		}
		other, err := l.Entry(t.Context(), "source", k[0], k[1]+"-second")
		if err != nil || other.State != second[e.State] {
			t.Fatalf("entry %q is %s, the one of its batch %s: %v", k, e.State, other.State, err)
		}
		if order[want] >= order[ledger.Filed] {
			if _, err := l.Document(t.Context(), e.DocumentID); err != nil {
				t.Fatalf("document of entry %q: %v", k, err)
			}
		}
	}
	counted, err := l.Count(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[ledger.State]int)
	for e, err := range l.Entries(t.Context(), ledger.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		seen[e.State]++
	}
	if fmt.Sprint(seen) != fmt.Sprint(counted) {
		t.Fatalf("there are %v, counted are %v", seen, counted)
	}
	ledger.CheckIntegrity(t, l)
}

// BenchmarkOpenAfterKill opens a ledger of a million entries whose process was
// killed while it wrote.
func BenchmarkOpenAfterKill(b *testing.B) {
	path := filepath.Join(b.TempDir(), "postroom.db")
	if err := ledger.Fill(b, path, 1_000_000).Close(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		settleUntilKilled(b, path, 10_000)
		b.StartTimer()
		l, err := ledger.OpenSQLite(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
