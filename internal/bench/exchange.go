package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"postroom/internal/faultnet"
	"postroom/internal/graph"
	"postroom/internal/graphtest"
	"postroom/internal/mailgen"
	"postroom/internal/secret"
)

// exchange measures postroom with a mailbox in a stand-in for Exchange Online in
// this process, over a network with latency.
func exchange(ctx context.Context, s settings, dir string) error {
	// With more, postroom would stop at its budget of 10,000 requests in ten minutes.
	s.messages = min(s.messages, 4900)
	load, err := loadAverage()
	if err != nil {
		return err
	}
	if err := build(ctx, dir); err != nil {
		return err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Load average before: %s.\n\n### Exchange Online (stand-in), TLS 1.3, %v a round trip\n\n", load, 2*latency)
	out.WriteString("| program | messages | wall s | CPU s | peak RSS MB | messages/s | MB/s | requests | requests a message |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, after := range []string{floorRow, "keep", "delete"} {
		if err := exchangeRow(ctx, s, dir, after, &out); err != nil {
			return err
		}
	}
	_, err = fmt.Print(out.String())
	return err
}

// exchangeRow measures one disposition, with a mailbox of its own each time.
func exchangeRow(ctx context.Context, s settings, dir, after string, out *strings.Builder) error {
	var samples []sample
	var requests int
	var size int64
	for round := range s.rounds {
		progress("round %d of %d: %d messages, after_filing: %s", round+1, s.rounds, s.messages, after)
		run := filepath.Join(dir, fmt.Sprint(after, round))
		got, n, bytes, err := exchangeOnce(ctx, s, dir, run, after)
		if err != nil {
			return err
		}
		samples, requests, size = append(samples, got), n, bytes
	}
	m := median(samples)
	seconds := m.wall.Seconds()
	name := "**postroom run --once**, `" + after + "`"
	if after == floorRow {
		name = after
	}
	fmt.Fprintf(out, "| %s | %d | %.2f | %.2f | %.1f | %.0f | %.1f | %d | %.3f |\n", name, s.messages, seconds, m.cpu.Seconds(), float64(m.peak)/1e6,
		float64(s.messages)/seconds, float64(size)/1e6/seconds, requests, float64(requests)/float64(s.messages))
	return nil
}

// exchangeOnce files a mailbox in a folder of its own, and checks what came of it.
func exchangeOnce(ctx context.Context, s settings, bin, dir, after string) (got sample, requests int, size int64, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return got, 0, 0, err
	}
	// What is allowed in ten minutes is no matter here.
	server, err := graphtest.Run(graphtest.Options{Limits: graphtest.Limits{Requests: 1 << 30}})
	if err != nil {
		return got, 0, 0, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	box := server.AddMailbox("bench@contoso.example", graphtest.MailboxOptions{})
	mail := mailgen.New(1, mailgen.Moderate())
	want := make(map[[sha256.Size]byte]int)
	clock := time.Date(2026, time.January, 5, 8, 0, 0, 0, time.UTC)
	for range s.messages {
		clock = clock.Add(10 * time.Second)
		raw := mail.Next().Raw
		size += int64(len(raw))
		want[sha256.Sum256(raw)]++
		box.Deliver("Inbox", graphtest.Mail{Raw: raw, Received: clock, Verbatim: true})
	}
	proxy, err := faultnet.Start(strings.TrimPrefix(server.GraphURL(), "https://"))
	if err != nil {
		return got, 0, 0, err
	}
	defer func() { err = errors.Join(err, proxy.Close()) }()
	server.Announce("https://" + proxy.Addr())
	delay := faultnet.Line{Latency: latency}
	proxy.Use(faultnet.Always(faultnet.Conduct{Up: delay, Down: delay}))
	ca, config := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(ca, server.CAPEM(), 0o600); err != nil {
		return got, 0, 0, err
	}
	if err := write(config, `version: 1
repository: {type: filesystem, path: ./mail}
credentials:
  - name: bench
    type: entra
    tenant_id: %s
    client_id: %s
    client_secret: ${env:BENCH_PASSWORD}
    cloud: custom
    authority_host: https://%[3]s
    graph_endpoint: https://%[3]s
    ca_file: %[4]s
sources:
  - name: bench
    type: exchange
    credentials: bench
    mailbox: %[5]s
    after_filing: %[6]s
`, server.Tenant(), server.ClientID(), proxy.Addr(), ca, box.Address(), after); err != nil {
		return got, 0, 0, err
	}
	command := []string{filepath.Join(bin, "postroom"), "run", "--once", "--config", config}
	if after == floorRow {
		self, err := os.Executable()
		if err != nil {
			return got, 0, 0, err
		}
		command = []string{self, "floor-graph", "https://" + proxy.Addr(), ca, server.Tenant(), server.ClientID(), box.Address(), box.CreateFolder("inbox")}
	}
	if got, err = execute(ctx, dir, patience, command, "BENCH_PASSWORD="+server.ClientSecret()); err != nil {
		return got, 0, 0, err
	}
	if after != floorRow {
		filed := &mailbox{messages: s.messages, want: want}
		if err := filed.checkDocuments(filepath.Join(dir, "mail")); err != nil {
			return got, 0, 0, err
		}
	}
	counts := server.Counts()
	progress("requests: %v", counts)
	for _, n := range counts {
		requests += n
	}
	if n := server.MaxConcurrency(); n > 4 {
		return got, 0, 0, fmt.Errorf("%d requests at once", n)
	}
	return got, requests, size, nil
}

const floorRow = "floor: the same requests, four at once, to nowhere"

// floorGraph is given the server, its CA file, tenant, application, mailbox and
// folder.
func floorGraph(args []string) error {
	if len(args) != 6 {
		return fmt.Errorf("floor-graph: %d arguments", len(args))
	}
	var clients graph.Clients
	client, err := clients.Open(graph.Settings{
		Cloud: "custom", AuthorityHost: args[0], GraphEndpoint: args[0], CAFile: args[1],
		TenantID: args[2], ClientID: args[3], ClientSecret: secret.New(os.Getenv("BENCH_PASSWORD")),
	})
	if err != nil {
		return err
	}
	defer client.Close()
	box := client.Mailbox(args[4])
	group, ctx := errgroup.WithContext(context.Background())
	ids := make(chan string, 1<<20)
	for link := ""; ; {
		page, err := box.Changes(ctx, args[5], link, 256)
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			ids <- item.ID
		}
		if link = page.Next; link == "" {
			break
		}
	}
	close(ids)
	for range 4 {
		group.Go(func() error {
			for id := range ids {
				content, err := box.Content(ctx, id)
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, content.Body)
				if err := errors.Join(err, content.Body.Close()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}
