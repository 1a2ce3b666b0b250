package main

import (
	"bytes"
	"encoding/hex"
	"flag"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroom/internal/dovecot"
	"postroom/internal/mailgen"
)

var (
	kills    = flag.Int("kills", 6, "how often TestKilledAtAnyMoment kills the program")
	killSeed = flag.Uint64("kill-seed", 0, "seed of TestKilledAtAnyMoment; 0: a new one")
)

// TestKilledAtAnyMoment kills the program again and again while it files a
// mailbox into which mail keeps arriving. After every kill each message must be
// on the server or filed, and every document that is visible whole; in the end
// each is filed once, and disposed of.
func TestKilledAtAnyMoment(t *testing.T) {
	seed := *killSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("replay with -kills %d -kill-seed %d", *kills, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	program := buildProgram(t)
	rows := []struct{ name, source string }{
		{"delete", "folders: [Inbox, Inbox/Sub]\nafter_filing: delete"},
		{"move", "folders: [Inbox, Inbox/Sub]\nafter_filing: move\nfiled_folder: Filed"},
		{"keep", "folders: [Inbox, Inbox/Sub]"},
		{"POP3, delete", "type: pop3\nafter_filing: delete"},
		{"POP3, keep", "type: pop3"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			source, onlyInbox := row.source, strings.Contains(row.source, "pop3")
			o := newOffice(t, dovecot.Options{})
			o.folder("INBOX/Sub")
			o.configure(source)
			mail := mailgen.New(seed, mailgen.Small())
			arrive := func(n int) {
				for range n {
					raw := mail.Next().Raw
					o.send("INBOX", raw)
					if random.IntN(4) == 0 && !onlyInbox {
						// The same message in another folder.
						o.deliver("INBOX/Sub", raw)
					}
				}
			}
			arrive(100)
			killed := 0
			for tries := 0; killed < (*kills+len(rows)-1)/len(rows); tries++ {
				if tries > 20**kills {
					t.Fatalf("only %d kills in %d tries", killed, tries)
				}
				arrive(20)
				if o.killAfter(program, time.Duration(random.Int64N(int64(400*time.Millisecond)))) {
					killed++
				}
				o.accountForAll()
			}
			for range 3 {
				o.once()
			}
			o.judge()
			if s := o.once(); s.Filed != 0 || s.Duplicates != 0 {
				t.Errorf("the last run: %+v", s)
			}
			if strings.Contains(source, "after_filing") {
				if n := len(o.contents("INBOX")) + len(o.contents("INBOX/Sub")); n > 0 {
					t.Errorf("%d messages were not disposed of", n)
				}
			}
		})
	}
}

// killAfter runs the program once and kills it after d. It reports whether it
// was still running.
func (o *office) killAfter(program string, d time.Duration) bool {
	o.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(program, "run", "--once", "--config", filepath.Join(o.dir, "config.yaml"))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	timer := time.AfterFunc(d, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	alive := !timer.Stop()
	o.out.Write(out.Bytes())
	if !alive && err != nil {
		o.t.Errorf("%v\n%s", err, out.Bytes())
	}
	return alive
}

// accountForAll checks that each message sent is on the server or filed.
func (o *office) accountForAll() {
	o.t.Helper()
	there := make(map[string]bool)
	for _, folder := range []string{"INBOX", "INBOX/Sub"} {
		for _, m := range o.contents(folder) {
			there[sum(m.Raw)] = true
		}
	}
	for _, d := range o.filed() {
		there[hex.EncodeToString(d.Files[0].SHA256[:])] = true
	}
	for h := range o.sent {
		if !there[h] {
			o.t.Fatalf("message %.12s is neither on the server nor filed", h)
		}
	}
}
