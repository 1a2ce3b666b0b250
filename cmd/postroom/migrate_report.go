package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"postroom/ingest/migrate"
	"postroom/internal/durable"
)

// checkReportName says what is wrong with the name of a report.
func checkReportName(name string) error {
	switch ending := strings.ToLower(filepath.Ext(name)); {
	case name == "", ending == ".md", ending == ".json":
		return nil
	}
	return usage("migrate --report %s: the ending says the format; allowed: .md, .json", name)
}

// writeReport writes the plans to a file, in the format of its ending.
func (r *migrateReport) writeReport(name string) error {
	var b bytes.Buffer
	if strings.EqualFold(filepath.Ext(name), ".json") {
		if err := printJSON(&b, r); err != nil {
			return err
		}
	} else {
		r.markdown(&b)
	}
	if err := durable.WriteFile(name, &b, 0o600); err != nil {
		return notWritten("report "+quoted(name), filepath.Dir(name), err, ", or name another FILE")
	}
	return nil
}

// checkReportPlace makes sure that a report can be written, before anything is done.
func checkReportPlace(name string) error {
	if name == "" {
		return nil
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return failed(fmt.Errorf("report %s cannot be written: it is there and is no file: name another FILE", quoted(name)))
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".postroom-report-*")
	if err != nil {
		return failed(notWritten("report "+quoted(name), filepath.Dir(name), err, ", or name another FILE"))
	}
	return failed(errors.Join(f.Close(), os.Remove(f.Name())))
}

// notWritten is the error of a file, in the folder, that cannot be written: it says
// what to do, and names no file that is there for a moment only.
func notWritten(what, dir string, err error, instead string) error {
	why := withoutFile(err)
	dir = quoted(dir)
	var remedy string
	switch {
	case errors.Is(why, fs.ErrNotExist):
		remedy = "make the folder " + dir
	case errors.Is(why, syscall.EROFS):
		remedy = fmt.Sprintf("the file system of %s is mounted read-only: mount it writable", dir)
	case errors.Is(why, syscall.EPERM):
		remedy = fmt.Sprintf("only its owner or root may, or it or %s is immutable (lsattr -d shows i): take that off with chattr -i, or run this as its owner", dir)
	case errors.Is(why, fs.ErrPermission):
		remedy = fmt.Sprintf("give %s the right to write in the folder %s, or run this as its owner", thisUser(), dir)
	case durable.Full(why):
		remedy = "the disk or the quota is full: make room in " + dir
	default:
		remedy = "see to the folder " + dir
	}
	return fmt.Errorf("%s cannot be written: %w: %s%s", what, why, remedy, instead)
}

// markdown writes the plans for people.
func (r *migrateReport) markdown(b *bytes.Buffer) {
	line := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	row := func(cells ...any) {
		for _, c := range cells {
			fmt.Fprintf(b, "| %s ", cell(c))
		}
		line("|")
	}
	head := func(names ...any) {
		row(names...)
		line("%s|", strings.Repeat("|---", len(names)))
	}
	line("# Move to Exchange Online\n")
	line("Made by postroom %s at %s. Messages are told by their headers, which is provisional: what they hold decides when they are filed.\n", version, r.Made.Format(time.RFC3339))
	head("source", "from", "mailbox", "filed already", "new", "uncertain", "left out", "state")
	for _, p := range r.Sources {
		row(p.Name, p.From, p.Mailbox, p.FiledAlready, p.New, p.Uncertain, p.LeftOut, p.stateInWords())
	}
	for _, p := range r.Sources {
		line("\n## Source %s\n", cell(p.Name))
		if p.Done {
			line("It is in Exchange Online already.")
			continue
		}
		if p.Mailbox == "" {
			line("From %s to a mailbox that is not known.\n", p.From)
		} else {
			line("From %s to the mailbox %s, with credentials %s, in %s.\n", p.From, cell(p.Mailbox), cell(p.Credentials), cell(p.File))
		}
		if p.Written {
			line("Written; the file as it was: %s\n", cell(p.Backup))
		}
		head("known from before", "number")
		row("documents", p.Documents)
		row("filed, disposition not done", p.Owed)
		row("of these found in Exchange Online", p.OwedThere)
		row("listed and not filed", p.Unfinished)
		row("in quarantine", p.InQuarantine)
		row("forgotten", p.Forgotten)
		line("\n### Folders\n")
		head("key", "was", "is", "found by")
		for _, f := range p.Folders {
			row(f.Key, f.Old, f.New, string(f.How))
		}
		line("")
		head("read", "messages", "filed already", "new", "uncertain", "left out")
		for _, f := range p.Reads {
			row(f.Path, f.Messages, f.FiledAlready, f.New, f.Uncertain, f.LeftOut)
		}
		for _, list := range []struct {
			title string
			n     int
			all   []migrateMessage
		}{{"Uncertain", p.Uncertain, p.UncertainMessages}, {"New", p.New, p.NewMessages}} {
			if list.n == 0 {
				continue
			}
			line("\n### %s\n", list.title)
			head("folder", "received", "from", "subject", "Message-ID", "because")
			for _, m := range list.all {
				row(m.Folder, m.Received.Format(time.RFC3339), m.From, m.Subject, m.MessageID, m.Reason)
			}
			if left := list.n - len(list.all); left > 0 {
				line("\n%d more are not listed.", left)
			}
		}
		if len(p.Problems)+len(p.Notes) > 0 {
			line("\n### For a person\n")
		}
		for _, problem := range p.Problems {
			line("- %s. %s", cell(problem.Problem), cell(problem.Remedy))
			for _, step := range problem.Steps {
				line("  - `%s`", step)
			}
		}
		for _, note := range p.Notes {
			line("- %s", cell(note))
		}
		if p.Diff == "" {
			continue
		}
		line("\n### Change\n\n```diff\n%s```", p.Diff)
	}
}

func (p *migratePlan) stateInWords() string {
	switch {
	case p.Done:
		return "moved before"
	case p.Written:
		return "moved"
	case p.Ready:
		return "ready"
	}
	return "something is to be done first"
}

var cellEscaper = strings.NewReplacer(`\`, `\\`, "|", `\|`, "`", "\\`", "<", "&lt;", "*", `\*`, "_", `\_`, "[", `\[`)

// cell is a value as text of a table in Markdown.
func cell(v any) string { return cellEscaper.Replace(printable(fmt.Sprint(v), 500)) }

// count counts a message of the folder.
func (f *migrateReadFrom) count(v migrate.Verdict) {
	switch v {
	case migrate.FiledAlready:
		f.FiledAlready++
	case migrate.Uncertain:
		f.Uncertain++
	default:
		f.New++
	}
}
