package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postroom/internal/faultnet"
)

// tables measures everything.
func (h *hall) tables() (string, error) {
	var out strings.Builder
	copied := copyFiles(filepath.Join(h.dir, originals))
	plain := []*entry{
		{program: rawFetch, from: h.imap(), mailbox: h.all, limit: patience},
		{program: copied, mailbox: h.all, limit: patience},
		{program: postroom, from: h.imap(), mailbox: h.all, limit: patience},
		{program: mbsync, from: h.imap(), mailbox: h.all, limit: patience},
		{program: fetchmail, from: h.imap(), mailbox: h.some, limit: slow},
		{program: getmail, from: h.pop3(), mailbox: h.some, limit: slow},
	}
	secure := []*entry{
		{program: rawFetch, from: h.imaps(), mailbox: h.all, limit: patience},
		{program: postroom, from: h.imaps(), mailbox: h.all, limit: patience},
		{program: mbsync, from: h.imaps(), mailbox: h.all, limit: patience},
		{program: fetchmail, from: h.imaps(), mailbox: h.some, limit: slow},
		{program: getmail, from: h.pop3s(), mailbox: h.some, limit: slow},
	}
	delay := faultnet.Line{Latency: latency}
	h.proxyIMAP.Use(faultnet.Always(faultnet.Conduct{Up: delay, Down: delay}))
	far := []*entry{
		{program: rawFetch, from: h.farIMAP(), mailbox: h.all, limit: patience},
		{program: postroom, from: h.farIMAP(), mailbox: h.all, limit: patience},
		{program: mbsync, from: h.farIMAP(), mailbox: h.all, limit: patience},
	}
	if err := h.compete(h.rounds, slices.Concat(plain, secure, far)); err != nil {
		return "", err
	}
	h.proxyIMAP.Use(nil)
	fmt.Fprintf(&out, "%d messages, %.1f MB; median of %d runs.\n\n", h.all.messages, float64(h.all.bytes)/1e6, h.rounds)
	section(&out, "Without TLS", plain)
	section(&out, "TLS 1.3", secure)
	section(&out, fmt.Sprintf("Without TLS, %v of latency each way", latency), far)
	fmt.Fprintf(&out, "With %v a round trip postroom takes %.2f times as long as without.\n\n",
		2*latency, ratio(far[1], plain[2]))
	if h.settings.large > 0 {
		if err := h.largeMessage(&out); err != nil {
			return "", err
		}
	}
	if h.settings.folder > 0 {
		if err := h.poll(&out); err != nil {
			return "", err
		}
	}
	text, err := h.overPOP3()
	return out.String() + text, err
}

func ratio(a, b *entry) float64 {
	return float64(median(a.samples).wall) / float64(median(b.samples).wall)
}

// largeMessage measures one large message, with TLS.
func (h *hall) largeMessage(out *strings.Builder) error {
	m, err := fillHeavy(h.dovecot, h.settings.large)
	if err != nil {
		return err
	}
	entries := []*entry{
		{program: postroom, from: h.imaps(), mailbox: m, limit: patience},
		{program: mbsync, from: h.imaps(), mailbox: m, limit: patience},
	}
	if err := h.compete(h.rounds, entries); err != nil {
		return err
	}
	section(out, fmt.Sprintf("One message of %.0f MB, TLS 1.3", float64(m.bytes)/1e6), entries)
	return nil
}

// poll measures a run that finds nothing new in a folder with much mail.
func (h *hall) poll(out *strings.Builder) error {
	d, err := h.crowd()
	if err != nil {
		return err
	}
	m := d.mailbox
	entries := []*entry{
		{program: postroom, from: h.farIMAP(), mailbox: m, limit: patience},
		{program: mbsync, from: h.farIMAP(), mailbox: m, limit: patience},
	}
	var dirs []string
	for _, e := range entries {
		progress("%s takes them for the first time", e.name)
		dir, err := h.folder()
		if err != nil {
			return err
		}
		dirs = append(dirs, dir)
		if _, err := h.in(dir, e); err != nil {
			return err
		}
		if err := e.check(m, dir); err != nil {
			return err
		}
	}
	for begin := time.Now(); time.Since(begin) < time.Minute; {
		if err := h.settleFolder(h.ctx, m.user); err != nil {
			return err
		}
		look := time.Now()
		if err := h.settleFolder(h.ctx, m.user); err != nil {
			return err
		}
		if time.Since(look) < 100*time.Millisecond {
			break
		}
	}
	for range h.rounds {
		for i, e := range entries {
			s, err := h.in(dirs[i], e)
			if err != nil {
				return err
			}
			e.samples = append(e.samples, s)
		}
	}
	fmt.Fprintf(out, "### Nothing new in a folder of %d messages, without TLS\n\n", m.messages)
	out.WriteString("| program | wall ms | round trips | CPU ms | peak RSS MB |\n|---|--:|--:|--:|--:|\n")
	for _, e := range entries {
		s := median(e.samples)
		fmt.Fprintf(out, "| %s | %.0f | %d | %.0f | %.1f |\n", e.name, ms(s.wall), s.trips, ms(s.cpu), float64(s.peak)/1e6)
	}
	out.WriteString("\n")
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// section writes a table.
func section(out *strings.Builder, title string, entries []*entry) {
	fmt.Fprintf(out, "### %s\n\n", title)
	out.WriteString("| program | messages | wall s | CPU s | peak RSS MB | messages/s | MB/s |\n|---|--:|--:|--:|--:|--:|--:|\n")
	for _, e := range entries {
		s := median(e.samples)
		if e.err != nil {
			fmt.Fprintf(out, "| %s | of %d | stopped after %.0f | %.1f | %.1f | | |\n", e.name, e.mailbox.messages, s.wall.Seconds(), s.cpu.Seconds(), float64(s.peak)/1e6)
			continue
		}
		seconds := s.wall.Seconds()
		fmt.Fprintf(out, "| %s | %d | %.2f | %.2f | %.1f | %.0f | %.1f |\n", e.name, e.mailbox.messages, seconds, s.cpu.Seconds(),
			float64(s.peak)/1e6, float64(e.mailbox.messages)/seconds, float64(e.mailbox.bytes)/1e6/seconds)
	}
	out.WriteString("\n")
}
