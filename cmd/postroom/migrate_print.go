package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"postroom/ingest/migrate"
	"postroom/sources"
)

// maxShown is how many messages of a kind the text of a plan shows; JSON has more.
const maxShown = 20

// print prints the plan for a person.
func (p *migratePlan) print(out io.Writer) {
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	if p.Done {
		say("source %s is in Exchange Online already, mailbox %s: nothing is to be done", p.Name, p.Mailbox)
		return
	}
	to := "the mailbox " + p.Mailbox
	if p.Mailbox == "" {
		to = "a mailbox"
	}
	say("source %s: from %s to %s in Exchange Online, with credentials %s", p.Name, p.From, to, p.Credentials)
	if len(p.Folders) > 0 {
		say("\nfolders")
		tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, f := range p.Folders {
			to := sources.YAML(f.New)
			switch {
			case f.How != migrate.Missing:
			case f.Key == "folders":
				to = "(no counterpart)"
			case f.Key == "exclude_folders":
				to = "(is not there, which leaves out nothing)"
			default:
				to = "(is made when it is needed)"
			}
			fmt.Fprintf(tw, "  %s\t%s\t-> %s\t%s\n", f.Key, sources.YAML(f.Old), to, f.How)
		}
		tw.Flush()
		for _, f := range p.Reads {
			say("  read: %s, %s", sources.YAML(f.Path), count(f.Messages, "message", "messages"))
		}
	}
	if len(p.Reads) > 0 {
		say("\nmessages, by their headers: this is provisional, and what they hold decides when they are filed")
		say("  filed already  %d", p.FiledAlready)
		say("  new            %d", p.New)
		say("  uncertain      %d", p.Uncertain)
		if p.LeftOut > 0 {
			say("  left out       %d, by the filter (only:)", p.LeftOut)
		}
		p.owed(say)
		p.list(say, "uncertain", p.Uncertain, p.UncertainMessages)
		p.list(say, "new", p.New, p.NewMessages)
	}
	for _, note := range p.Notes {
		say("\nnote: %s", printable(note, 1000))
	}
	for _, problem := range p.Problems {
		say("\nTO BE DONE FIRST: %s", printable(problem.Problem, 1000))
		if problem.Missing != "" {
			say("  missing permission: %s, for this mailbox", problem.Missing)
		}
		if problem.Remedy != "" {
			say("  what to do: %s", printable(problem.Remedy, 2000))
		}
		for i, step := range problem.Steps {
			if i == 0 {
				say("  in PowerShell 7, with the modules of docs/exchange-online.md, which has the way by the portal too:")
			}
			say("    %s", step)
		}
	}
	if p.Diff != "" {
		say("\nthe change of %s", p.File)
		fmt.Fprint(out, p.Diff)
	}
	if !p.Written {
		say("\nnothing was changed")
		return
	}
	say("\nwritten; the file as it was is %s", p.Backup)
	say("a running postroom takes it up by itself, and what has been filed is recognised; back: postroom migrate --undo %s", p.Name)
}

// owed says what is still to be done on the old server.
func (p *migratePlan) owed(say func(string, ...any)) {
	if p.Owed > 0 {
		what := fmt.Sprintf("that is done in Exchange Online once a run has recognised them, of which %d were found", p.OwedThere)
		if p.disposition == sources.Delete {
			what = "in Exchange Online they are kept: what is not recognised by identical bytes is never deleted"
		}
		say("  owed           %d are filed, and after_filing: %s is not done; %s", p.Owed, p.disposition, what)
	}
	if p.Unfinished > 0 {
		say("  unfinished     %d were listed on the old server and not filed yet; what of them is in Exchange Online is new there", p.Unfinished)
	}
	if p.InQuarantine > 0 {
		say("  in quarantine  %d, which stay there: postroom quarantine list", p.InQuarantine)
	}
	if p.Forgotten > 0 {
		say("  forgotten      %d documents, whose messages count as new here and are not filed again", p.Forgotten)
	}
}

// list prints the first messages of a kind.
func (p *migratePlan) list(say func(string, ...any), kind string, n int, all []migrateMessage) {
	for i, m := range all {
		if i == 0 {
			say("\n%s", kind)
		}
		if i == maxShown {
			say("  and %d more: --json has them", n-maxShown)
			return
		}
		say("  %s  %s  from %s  %q", printable(m.Folder, 60), m.Received.Format(time.RFC3339), printable(m.From, 60), printable(m.Subject, 80))
		if m.Reason != "" {
			say("    because %s", m.Reason)
		}
	}
}
