package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/ingest"
	"postroom/ingest/ledger"
	"postroom/ingest/spool"
	"postroom/internal/dovecot"
	"postroom/internal/faultnet"
	"postroom/internal/mailgen"
	"postroom/sources"
	"postroom/sources/imap"
)

const (
	// maxRuns is how many runs may be needed while connections go on failing, on a
	// machine so busy that a sound server, too, is slow to answer.
	maxRuns = 100
)

// troubled is an office whose mail server is behind a network with faults, and
// which moves what is filed.
type troubled struct {
	*office
	net *faultnet.Proxy
}

func newTroubled(t *testing.T, tls bool) *troubled {
	t.Helper()
	o := newOffice(t, dovecot.Options{})
	target := o.server.IMAP()
	if tls {
		target = o.server.IMAPS()
	}
	proxy, err := faultnet.Start(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	source := "server: " + proxy.Addr() + "\nafter_filing: move\nfiled_folder: Inbox/Filed\npoll_interval: 1s\nwatch: true\n"
	if tls {
		source += "ca_file: " + o.server.CAFile()
	} else {
		source += "tls: none\nallow_plaintext: true"
	}
	o.configure(source)
	return &troubled{o, proxy}
}

// fill sends n messages, of which some are large enough to be cut anywhere.
func (o *troubled) fill(n int) {
	o.t.Helper()
	seed := uint64(11 + 2*len(o.sent))
	mail := mailgen.New(seed, mailgen.Small())
	mixed := mailgen.New(seed+1, mailgen.Moderate())
	for i := range n {
		if i%10 == 9 {
			o.send("INBOX", mixed.Next().Raw)
		} else {
			o.send("INBOX", mail.Next().Raw)
		}
	}
}

// nothingDisposedOfEarly checks that every message is still on the server, once,
// and that those moved are filed.
func (o *troubled) nothingDisposedOfEarly() {
	o.t.Helper()
	documents := make(map[string]bool)
	for _, d := range o.filed() {
		documents[hex.EncodeToString(d.Files[0].SHA256[:])] = true
	}
	here := make(map[string]int)
	for _, m := range o.contents("INBOX/Filed") {
		h := sum(m.Raw)
		here[h]++
		if !documents[h] {
			o.t.Errorf("message %.12s was moved and is not filed", h)
		}
	}
	for _, m := range o.contents("INBOX") {
		here[sum(m.Raw)]++
	}
	for h := range o.sent {
		if here[h] != 1 {
			o.t.Errorf("message %.12s is on the server %d times", h, here[h])
		}
	}
}

// done reports that nothing is left to be done.
func (o *troubled) done() bool {
	o.t.Helper()
	return len(o.contents("INBOX")) == 0
}

// backOffPasses makes messages that are to be tried again later due now.
func (o *troubled) backOffPasses() {
	o.t.Helper()
	ctx := o.t.Context()
	l, err := ledger.OpenSQLite(ctx, filepath.Join(o.dir, "state", "postroom.db"))
	if err != nil {
		o.t.Fatal(err)
	}
	lease, err := l.Lease(ctx, "office", sources.Inbox, time.Minute)
	if err != nil {
		o.t.Fatal(err)
	}
	owed, err := lease.Owed(ctx, time.Now().Add(24*time.Hour), "", 10_000)
	if err != nil {
		o.t.Fatal(err)
	}
	for i := range owed {
		owed[i].RetryAt = time.Time{}
	}
	if err := errors.Join(lease.Advance(ctx, owed...), lease.Release(ctx), l.Close()); err != nil {
		o.t.Fatal(err)
	}
}

// persist runs until everything is filed.
func (o *troubled) persist(once func()) {
	o.t.Helper()
	for n := 1; ; n++ {
		once()
		o.nothingDisposedOfEarly()
		if o.done() {
			break
		}
		if n == maxRuns || o.t.Failed() {
			o.t.Fatalf("after %d runs %d messages are left", n, len(o.contents("INBOX")))
		}
	}
	o.judge()
}

// onceHastily is run --once with a source that gives a silent server only a
// second.
func (o *troubled) onceHastily() {
	o.t.Helper()
	c, err := config.Load(filepath.Join(o.dir, "config.yaml"), configDrivers())
	if err != nil {
		o.t.Fatal(err)
	}
	log := zap.NewNop()
	w, err := openWorkshop(o.t.Context(), c, log, nil, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	sp, err := spool.Open(c.Spool)
	if err != nil {
		o.t.Fatal(err)
	}
	s := c.Sources[0]
	m := mailbox(s, log)
	m.Open = func() (sources.Source, error) {
		user, password := signIn(s)
		return imap.Open(imap.Config{
			Options: *s.Options.(*imap.Options), Name: s.Name, Username: user, Password: password,
			AfterFiling: sources.Verb(s.AfterFiling), Timeouts: imap.Timeouts{Silence: time.Second, Connect: 3 * time.Second},
		})
	}
	e := ingest.New(ingest.Config{
		Mailboxes: []ingest.Mailbox{m}, Ledger: w.ledger, Repository: w.repository,
		Spool: sp, Quarantine: w.quarantine, Log: log,
	})
	if _, err := e.Once(o.t.Context()); err != nil {
		o.t.Error(err)
	}
	if err := errors.Join(e.Close(), w.close()); err != nil {
		o.t.Error(err)
	}
}

// often gives every third connection the conduct, beginning with the first. A
// run in trouble makes two.
func often(c faultnet.Conduct) faultnet.Plan {
	return func(n int) faultnet.Conduct {
		if n%3 == 1 {
			return c
		}
		return faultnet.Conduct{}
	}
}

func down(l faultnet.Line) faultnet.Conduct { return faultnet.Conduct{Down: l} }
func up(l faultnet.Line) faultnet.Conduct   { return faultnet.Conduct{Up: l} }

// row is a kind of trouble.
type row struct {
	name   string
	silent bool // the product has to give a silent server up
	plan   faultnet.Plan
}

// mailsPerRow are the messages filed under each kind of trouble.
const mailsPerRow = 55

// try files a mailbox under the row's trouble.
func (o *troubled) try(t *testing.T, r row) {
	defer func(parent *testing.T) { o.t = parent }(o.t)
	o.t = t
	for _, name := range []string{"documents", "state"} {
		if err := os.RemoveAll(filepath.Join(o.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.contents("INBOX/Filed")) > 0 {
		if err := o.server.RemoveFolder("office", "INBOX/Filed"); err != nil {
			t.Fatal(err)
		}
	}
	clear(o.sent)
	o.fill(mailsPerRow)
	o.net.Use(r.plan)
	if r.silent {
		o.persist(o.onceHastily)
	} else {
		o.persist(func() { o.run("run", "--once") })
	}
}

// Whatever happens to the connection, every message is filed once, octet for
// octet, and none is disposed of before.
func TestFaultsOfTheWire(t *testing.T) {
	o := newTroubled(t, false)
	o.try(t, row{})
	sound := o.net.Stats()
	rows := []row{
		{name: "refused", plan: faultnet.First(3, faultnet.Conduct{Refuse: true})},
		{name: "drip", plan: faultnet.Always(down(faultnet.Line{Rate: 2_000_000}))},
		{name: "latency", plan: faultnet.Always(faultnet.Conduct{
			Up: faultnet.Line{Latency: 10 * time.Millisecond}, Down: faultnet.Line{Latency: 10 * time.Millisecond},
		})},
		{name: "silence in sign-in", silent: true, plan: often(down(faultnet.Line{Fault: faultnet.Stall, After: 300}))},
		{name: "silence in a message", silent: true, plan: often(down(faultnet.Line{Fault: faultnet.Stall, After: 2000, InLiteral: true}))},
		{name: "silence in a command", silent: true, plan: often(up(faultnet.Line{Fault: faultnet.Stall, After: 250}))},
		{name: "silence in the answer to the move", silent: true, plan: often(down(faultnet.Line{Fault: faultnet.Stall, After: sound.Down - 150}))},
	}
	for _, fault := range []struct {
		name  string
		fault faultnet.Fault
	}{{"FIN", faultnet.FIN}, {"RST", faultnet.RST}} {
		for _, after := range []int64{10, 300, 3_000, 30_000, 300_000} {
			rows = append(rows, row{
				name: fmt.Sprintf("%s after %d bytes", fault.name, after),
				plan: often(down(faultnet.Line{Fault: fault.fault, After: after})),
			})
		}
		for _, after := range []int64{0, 1, 500} {
			rows = append(rows, row{
				name: fmt.Sprintf("%s %d bytes into a message", fault.name, after),
				plan: often(down(faultnet.Line{Fault: fault.fault, After: after, InLiteral: true})),
			})
		}
		// A session ends with the move and the answer to it.
		for _, before := range []int64{15, 30, 60, 120, 200} {
			rows = append(rows, row{
				name: fmt.Sprintf("%s %d bytes before the end of the commands", fault.name, before),
				plan: often(up(faultnet.Line{Fault: fault.fault, After: sound.Up - before})),
			}, row{
				name: fmt.Sprintf("%s %d bytes before the end of the answers", fault.name, before),
				plan: often(down(faultnet.Line{Fault: fault.fault, After: sound.Down - before})),
			})
		}
	}
	for _, r := range rows {
		if !t.Run(r.name, func(t *testing.T) { o.try(t, r) }) {
			return
		}
	}
}

func TestFaultsOfTheWireUnderTLS(t *testing.T) {
	o := newTroubled(t, true)
	for _, fault := range []faultnet.Fault{faultnet.FIN, faultnet.RST} {
		for _, after := range []int64{100, 1_000, 5_000, 200_000} {
			o.try(t, row{plan: often(down(faultnet.Line{Fault: fault, After: after}))})
		}
	}
}

// A daemon works under faults at random, with mail arriving, and with all
// connections dropped now and then; it also is stopped and started again. Once
// the network is sound everything is filed soon.
func TestDaemonUnderRandomFaults(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			o := newTroubled(t, seed == 2)
			o.fill(50)
			mail := mailgen.New(100+seed, mailgen.Small())
			o.net.Use(faultnet.Random(seed))
			for range 4 {
				o.daemon(func() {
					tick := time.NewTicker(100 * time.Millisecond)
					defer tick.Stop()
					for n := range 25 {
						<-tick.C
						o.send("INBOX", mail.Next().Raw)
						if n%8 == 7 {
							o.net.Drop()
						}
					}
				})
				o.nothingDisposedOfEarly()
				o.backOffPasses()
			}
			o.net.Use(nil)
			begin := time.Now()
			o.daemon(func() {
				o.await(len(o.sent))
				tick := time.NewTicker(50 * time.Millisecond)
				defer tick.Stop()
				for deadline := time.Now().Add(patience); !o.done(); <-tick.C {
					if time.Now().After(deadline) {
						t.Fatalf("%d messages are still in the inbox", len(o.contents("INBOX")))
					}
				}
			})
			t.Logf("%d messages over %d connections; clean %v after the faults stopped", len(o.sent), o.net.Stats().Connections, time.Since(begin))
			o.nothingDisposedOfEarly()
			o.judge()
		})
	}
}

// daemon runs the daemon while f does, and checks that it stops then.
func (o *troubled) daemon(f func()) {
	o.t.Helper()
	ctx, stop := context.WithCancel(o.t.Context())
	ended := make(chan result, 1)
	go func() { ended <- o.runUntil(ctx, "run") }()
	defer func() {
		stop()
		if r := <-ended; r.status != 0 {
			o.t.Errorf("stopped: %+v", r)
		}
	}()
	f()
}
