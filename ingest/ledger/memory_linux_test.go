package ledger_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// pollLimit is the most memory in bytes; 64 MB are for the whole program.
const pollLimit = 36e6

// TestPollNeedsLittleMemory polls a folder whose messages are all known, in a
// process of its own without the race detector, and looks at the most memory
// that held. The cursor is taken for lost, so that every message is asked for;
// once the ledger is checked for damage before.
func TestPollNeedsLittleMemory(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "ledger.test")
	if out, err := exec.Command("go", "test", "-c", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	path := filepath.Join(dir, "postroom.db")
	run := func(task string) string {
		t.Helper()
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), task+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", task, err)
		}
		return string(out)
	}
	run("LEDGER_TEST_FILL")
	if info, err := os.Stat(path); err != nil || info.Size() < 56<<20 || info.Size() > 64<<20 {
		t.Fatalf("ledger is %v, %v; want a large one that is still checked", info.Size()>>20, err)
	}
	for _, state := range []string{"closed", "to be checked"} {
		t.Run(state, func(t *testing.T) {
			if state != "closed" {
				if err := os.Remove(path + ".closed"); err != nil {
					t.Fatal(err)
				}
			}
			var peak int64
			if _, err := fmt.Sscan(run("LEDGER_TEST_POLL"), &peak); err != nil {
				t.Fatal(err)
			}
			t.Logf("peak RSS %.1f MB", float64(peak)/1e6)
			if peak == 0 || peak > pollLimit {
				t.Errorf("peak RSS %d bytes, limit %.0f", peak, pollLimit)
			}
		})
	}
}
