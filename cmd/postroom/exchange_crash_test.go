package main

import (
	"math/rand/v2"
	"testing"
	"time"

	"postroom/internal/graphtest"
	"postroom/internal/mailgen"
)

// TestKilledAtAnyMomentExchange is TestKilledAtAnyMoment with a mailbox in
// Exchange Online, whose listings are odd now and then.
func TestKilledAtAnyMomentExchange(t *testing.T) {
	t.Parallel()
	seed := *killSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("replay with -kills %d -kill-seed %d", *kills, seed)
	program := buildProgram(t)
	for name, source := range map[string]string{
		"delete": "folders: [Inbox, Inbox/Sub]\nafter_filing: delete",
		"move":   "folders: [Inbox, Inbox/Sub]\nafter_filing: move\nfiled_folder: Filed",
		"keep":   "folders: [Inbox, Inbox/Sub]",
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			b := newBranch(t, seed, source)
			b.box.CreateFolder("inbox/Sub")
			k := &killed{branch: b, random: random, mail: mailgen.New(seed, mailgen.Small())}
			k.arrive(100)
			n := 0
			for tries := 0; n < (*kills+2)/3; tries++ {
				if tries > 20**kills {
					t.Fatalf("only %d kills in %d tries", n, tries)
				}
				k.arrive(20)
				b.cloud.SetPlan(graphtest.Plan{Seed: random.Uint64(), Rate: 0.05, Kinds: []graphtest.FaultKind{
					graphtest.FaultDuplicate, graphtest.FaultEmptyPage, graphtest.FaultGone,
				}})
				if b.killAfter(program, time.Duration(random.Int64N(int64(1500*time.Millisecond)))) {
					n++
				}
				k.accountForAll()
			}
			b.cloud.Heal()
			for range 3 {
				b.once()
			}
			k.judge()
			if s := b.once(); s.Filed != 0 || s.Duplicates != 0 {
				t.Errorf("the last run: %+v", s)
			}
			if left := len(b.box.Messages("inbox")) + len(b.box.Messages("inbox/Sub")); name != "keep" && left > 0 {
				t.Errorf("%d messages were not disposed of", left)
			}
			if illegal := b.cloud.Illegal(); len(illegal) > 0 {
				t.Errorf("requests that Graph does not know: %v", illegal)
			}
		})
	}
}

// killed is a branch whose program is killed.
type killed struct {
	*branch
	random *rand.Rand
	mail   *mailgen.Generator
	// copies are the ids of each message that was sent.
	copies [][]string
}

// arrive sends n messages, some of them to two folders.
func (k *killed) arrive(n int) {
	for range n {
		raw := k.mail.Next().Raw
		folders := []string{"inbox"}
		if k.random.IntN(4) == 0 {
			folders = append(folders, "inbox/Sub")
		}
		var ids []string
		for _, f := range folders {
			ids = append(ids, k.box.Deliver(f, graphtest.Mail{Raw: raw, Received: time.Now()}).ImmutableID)
		}
		k.copies = append(k.copies, ids)
	}
}

// accountForAll checks that each message is where it was sent to, or filed.
func (k *killed) accountForAll() {
	k.t.Helper()
	there := make(map[string]bool)
	for _, folder := range []string{"inbox", "inbox/Sub"} {
		for _, m := range k.box.Messages(folder) {
			there[m.ImmutableID] = true
		}
	}
	for _, d := range k.filed() {
		there[d.Origin.ServerID] = true
	}
	for _, ids := range k.copies {
		found := false
		for _, id := range ids {
			found = found || there[id]
		}
		if !found {
			k.t.Fatalf("message %v is neither in its folder nor filed", ids)
		}
	}
}

// judge checks that each message has one document.
func (k *killed) judge() {
	k.t.Helper()
	count := make(map[string]int)
	documents := k.filed()
	for _, d := range documents {
		count[d.Origin.ServerID]++
	}
	for _, ids := range k.copies {
		n := 0
		for _, id := range ids {
			n += count[id]
		}
		if n != 1 {
			k.t.Errorf("message %v has %d documents", ids, n)
		}
	}
	if len(documents) != len(k.copies) {
		k.t.Errorf("%d documents of %d messages", len(documents), len(k.copies))
	}
}
