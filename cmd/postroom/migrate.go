package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/ingest/document"
	"postroom/ingest/ledger"
	"postroom/ingest/message"
	"postroom/ingest/migrate"
	"postroom/sources"
	"postroom/sources/exchange"
)

func newMigrate() *cobra.Command {
	var o migrateOptions
	cmd := &cobra.Command{
		Use:   "migrate (--source NAME | --all) --mailbox ADDRESS --credentials NAME",
		Short: "Move POP3 and IMAP sources to Exchange Online, with nothing filed twice",
		Long: `Plans the move of a source to Exchange Online: signs in there, finds the
counterpart of each folder, compares the messages by their headers with what has been
filed, and shows the new source. It changes nothing unless --write is given, and then
the configuration file alone, of which it keeps a backup beside it. A running daemon
takes that up by itself. What is filed is decided by what messages hold, in the runs
after that.

See docs/migration.md.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return migrateSources(cmd, o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.source, "source", "", "the source of this `NAME`")
	flags.BoolVar(&o.all, "all", false, "every source of type pop3 or imap")
	flags.StringVar(&o.mailbox, "mailbox", "", "`ADDRESS` of the mailbox in Exchange Online (default, and with --all: the source's mailbox, or its user name)")
	flags.StringVar(&o.credentials, "credentials", "", "`NAME` of the credentials of type entra to sign in with")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	flags.BoolVar(&o.write, "write", false, "make the change")
	flags.StringVar(&o.undo, "undo", "", "undo the change of the source of this `NAME`")
	flags.StringVar(&o.report, "report", "", "write what is printed to this `FILE` too: Markdown, or JSON, by its ending .md or .json")
	return cmd
}

type migrateOptions struct {
	source, mailbox, credentials, undo, report string
	all, write, json                           bool
}

// check says what is wrong with the options.
func (o *migrateOptions) check() error {
	switch {
	case o.undo != "" && (o.report != "" || o.source != "" || o.all || o.mailbox != "" || o.credentials != "" || o.write || o.json):
		return usage("migrate --undo NAME goes with no other option")
	case o.undo != "":
	case (o.source == "") == !o.all:
		return usage("migrate needs --source NAME or --all")
	case o.credentials == "":
		return usage("migrate needs --credentials NAME: credentials of type entra")
	}
	return checkReportName(o.report)
}

// migrateSources prints the plans of sources and, if that is asked for, carries out
// those that are ready.
func migrateSources(cmd *cobra.Command, o migrateOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.undo != "" {
		return undoMigration(cmd, o.undo)
	}
	s, c, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	of, err := toMigrate(c, o)
	if err != nil {
		return err
	}
	if err := checkReportPlace(o.report); err != nil {
		return err
	}
	past, err := openPast(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer past.close()
	all := migrateReport{Made: time.Now().UTC().Truncate(time.Second), Sources: []*migratePlan{}}
	ready := true
	for _, name := range of {
		p, err := migrateSource(cmd, s, name, o, past)
		if err != nil {
			return err
		}
		all.Sources = append(all.Sources, p)
		ready = ready && p.Ready
		if !o.json {
			p.print(cmd.OutOrStdout())
		}
	}
	if o.report != "" {
		if err := all.writeReport(o.report); err != nil {
			return failed(err)
		}
	}
	if o.json {
		if err := printJSON(cmd.OutOrStdout(), all); err != nil {
			return failed(err)
		}
	}
	switch {
	case cmd.Context().Err() != nil:
		return failed(errors.New("stopped before the end; what is not said to be written was not changed"))
	case !ready:
		return failed(errors.New("something is to be done first, see above"))
	}
	return nil
}

// migrateSource plans the move of one source, and writes it if that is asked for.
// The configuration is read anew: that of the source before may have been written.
func migrateSource(cmd *cobra.Command, s *settings, name string, o migrateOptions, past *pastLedger) (*migratePlan, error) {
	c, err := s.load(cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(c.Sources, func(s *config.Source) bool { return s.Name == name })
	if i < 0 {
		return nil, noSource(c, name)
	}
	source := c.Sources[i]
	if source.Type == "exchange" {
		return doneAlready(source), nil
	}
	p, err := planMigration(cmd.Context(), s.config, c, source, o, past)
	if err == nil && o.write && p.Ready {
		p.writePlan(s.config)
	}
	return p, err
}

// doneAlready is the plan of a source that is moved: nothing is to be done.
func doneAlready(s *config.Source) *migratePlan {
	p := newPlan(s, newSource{mailbox: s.Mailbox, credentials: s.Credentials.Name})
	p.Ready, p.Done = true, true
	return p
}

// toMigrate returns the names of the sources that the options name.
func toMigrate(c *config.Config, o migrateOptions) ([]string, error) {
	if o.all {
		var names, nowhere []string
		for _, s := range c.Sources {
			if s.Type != "imap" && s.Type != "pop3" {
				continue
			}
			names = append(names, s.Name)
			if _, err := mailboxOf(s); err != nil {
				nowhere = append(nowhere, s.Name)
			}
		}
		if o.mailbox != "" && len(nowhere) > 1 {
			return nil, usage("migrate --all: sources %s say no address, and one mailbox is not that of all of them: give each its key mailbox, or move them one at a time", strings.Join(nowhere, ", "))
		}
		return names, checkMigrateCredentials(c, o.credentials)
	}
	i := slices.IndexFunc(c.Sources, func(s *config.Source) bool { return s.Name == o.source })
	if i < 0 {
		return nil, noSource(c, o.source)
	}
	s := c.Sources[i]
	switch {
	case s.Type == "imap", s.Type == "pop3":
	case s.Type == "exchange" && s.Credentials.Name == o.credentials && (o.mailbox == "" || o.mailbox == s.Mailbox):
	default:
		return nil, usage("source %s is of type %s: only those of type pop3 and imap are moved to Exchange Online", s.Name, s.Type)
	}
	return []string{s.Name}, checkMigrateCredentials(c, o.credentials)
}

// checkMigrateCredentials makes sure that the credentials are there, or can be
// added.
func checkMigrateCredentials(c *config.Config, name string) error {
	if given := c.Credentials[name]; given != nil {
		if given.Entra == nil {
			return usage("credentials %s are of type %s; Exchange Online needs type entra (docs/exchange-online.md)", name, given.Type)
		}
		return nil
	}
	var missing []string
	for _, v := range credentialVariables(name) {
		if os.Getenv(v[1]) == "" {
			missing = append(missing, v[1])
		}
	}
	if len(missing) > 0 {
		return usage("no credentials are named %q in %s: add them there (docs/exchange-online.md, Configure postroom); or set %s, here and for the service, and they are added with references to these",
			name, c.File, strings.Join(missing, ", "))
	}
	return nil
}

// pastLedger is a copy of the ledger, which is in a room of its own.
type pastLedger struct {
	ledger.Ledger
	room *room
}

// pastPrefix begins the name of the room of a copy.
const pastPrefix = "postroom-migrate-"

// openPast copies the ledger, as it is read for long; beside a daemon or without
// one.
func openPast(ctx context.Context, c *config.Config) (_ *pastLedger, err error) {
	room, err := openRoomNamed(os.TempDir(), pastPrefix)
	if err != nil {
		return nil, failed(explained((&sources.Error{Err: err}).WithRemedy("a plan is made with a copy of the ledger: set TMPDIR to a folder with room for it")))
	}
	p := &pastLedger{room: room}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	at := place{key: "ledger", path: ledgerPath(c)}
	copied := filepath.Join(room.path, "postroom.db")
	if err := ledger.SnapshotSQLite(ctx, at.path, copied); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, failed(explained(at.explain(err)))
	}
	if p.Ledger, err = ledger.OpenSQLite(ctx, copied); err != nil {
		return nil, failed(explained(at.explain(err)))
	}
	return p, nil
}

// close removes the copy. What cannot be removed is in the folder of temporary
// files, and is removed by the next run.
func (p *pastLedger) close() {
	if p.Ledger != nil {
		_ = p.Ledger.Close()
	}
	_ = p.room.close()
}

// migrateReport is what migrate prints as JSON.
type migrateReport struct {
	Made    time.Time      `json:"made"`
	Sources []*migratePlan `json:"sources"`
}

// migratePlan is what would become of one source.
type migratePlan struct {
	Name        string `json:"name"`
	From        string `json:"from"`
	Mailbox     string `json:"mailbox"`
	Credentials string `json:"credentials"`
	// Ready: nothing is left to be done before the change.
	Ready bool `json:"ready"`
	// Provisional is always true: the plan goes by headers.
	Provisional bool `json:"provisional"`
	// Done: the source was moved before. Written: it is moved now, and Backup is the
	// file as it was.
	Done    bool   `json:"done,omitempty"`
	Written bool   `json:"written"`
	Backup  string `json:"backup,omitempty"`

	FiledAlready int `json:"filed_already"`
	New          int `json:"new"`
	Uncertain    int `json:"uncertain"`
	LeftOut      int `json:"left_out"`
	// Owed are messages that are filed and not yet disposed of on the old server,
	// OwedThere those of them that were found in Exchange Online.
	Owed         int `json:"owed"`
	OwedThere    int `json:"owed_found"`
	InQuarantine int `json:"in_quarantine"`
	Unfinished   int `json:"unfinished"`
	Documents    int `json:"documents"`
	Forgotten    int `json:"forgotten"`

	Folders           []migrateFolder   `json:"folders"`
	UncertainMessages []migrateMessage  `json:"uncertain_messages"`
	NewMessages       []migrateMessage  `json:"new_messages"`
	Unlisted          int               `json:"unlisted,omitempty"`
	Problems          []migrateProblem  `json:"problems"`
	Notes             []string          `json:"notes,omitempty"`
	File              string            `json:"file"`
	Diff              string            `json:"diff"`
	Reads             []migrateReadFrom `json:"reads"`

	disposition sources.Verb
	edit        *edit
}

// newPlan returns a plan that says nothing yet.
func newPlan(s *config.Source, n newSource) *migratePlan {
	return &migratePlan{
		Name: s.Name, From: s.Type, Mailbox: n.mailbox, Credentials: n.credentials, Provisional: true, disposition: sources.Verb(s.AfterFiling),
		Folders: []migrateFolder{}, UncertainMessages: []migrateMessage{}, NewMessages: []migrateMessage{}, Problems: []migrateProblem{}, Reads: []migrateReadFrom{},
	}
}

// migrateFolder is a value of a key of the source, and what it will be.
type migrateFolder struct {
	Key     string      `json:"key"`
	Old     string      `json:"old"`
	New     string      `json:"new,omitempty"`
	How     migrate.How `json:"how"`
	Nearest []string    `json:"nearest,omitempty"`
}

// migrateReadFrom is a folder that will be read.
type migrateReadFrom struct {
	Path         string `json:"path"`
	Messages     int    `json:"messages"`
	FiledAlready int    `json:"filed_already"`
	New          int    `json:"new"`
	Uncertain    int    `json:"uncertain"`
	LeftOut      int    `json:"left_out"`
}

// migrateMessage is a message of which a person may want to know.
type migrateMessage struct {
	Folder    string    `json:"folder"`
	ID        string    `json:"id"`
	MessageID string    `json:"message_id,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	From      string    `json:"from,omitempty"`
	Received  time.Time `json:"received"`
	Reason    string    `json:"reason,omitempty"`
	Document  string    `json:"document,omitempty"`
}

// migrateProblem is what is to be done first.
type migrateProblem struct {
	Problem string   `json:"problem"`
	Remedy  string   `json:"remedy,omitempty"`
	Missing string   `json:"missing_permission,omitempty"`
	Steps   []string `json:"steps,omitempty"`
}

// maxListed is how many messages of a kind a plan lists.
const maxListed = 10_000

func (p *migratePlan) problem(err error) {
	for _, err := range each(err) {
		p.Problems = append(p.Problems, migrateProblem{Problem: err.Error(), Remedy: sources.RemedyOf(err)})
	}
}

// planMigration finds out what would become of a source. An error is one of the
// configuration or of this machine; what is wrong in Exchange Online is a problem of
// the plan.
func planMigration(ctx context.Context, path string, c *config.Config, s *config.Source, o migrateOptions, past *pastLedger) (p *migratePlan, err error) {
	n := newSource{mailbox: o.mailbox, credentials: o.credentials}
	if own, err := mailboxOf(s); n.mailbox == "" && err != nil {
		if !o.all {
			return nil, usage("%w: name the mailbox with --mailbox ADDRESS", err)
		}
		p = newPlan(s, n)
		p.Problems = append(p.Problems, migrateProblem{
			Problem: err.Error(), Remedy: fmt.Sprintf("put mailbox: ADDRESS into the source, or use --source %s --mailbox ADDRESS", s.Name),
		})
		return p, nil
	} else if n.mailbox == "" || o.all && err == nil {
		n.mailbox = own
	}
	p = newPlan(s, n)
	e, err := editSource(path, c, s, n)
	if err != nil {
		return nil, err
	}
	p.File, p.Diff = e.file, e.diff
	if len(e.added) > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("the credentials are added; the service needs %s in its environment", strings.Join(e.added, ", ")))
	}
	there, ok := p.look(ctx, e.source(s.Name))
	if !ok {
		return p, nil
	}
	old := oldFolders(ctx, s, p)
	if n.folders, err = p.mapFolders(s, old, there); err != nil {
		return nil, failed(err)
	}
	if err := p.lostPatterns(ctx, s, old, there, past); err != nil {
		return nil, failed(err)
	}
	if e, err = editSource(path, c, s, n); err != nil {
		return nil, err
	}
	p.Diff, p.edit = e.diff, e
	if err := p.compare(ctx, e.source(s.Name), past); err != nil {
		return nil, err
	}
	p.Ready = len(p.Problems) == 0 && ctx.Err() == nil
	return p, nil
}

// mailboxOf returns the mailbox of a source that is one in Exchange Online too.
func mailboxOf(s *config.Source) (string, error) {
	user, _ := signIn(s)
	for _, address := range []string{s.Mailbox, user} {
		if strings.Contains(address, "@") {
			return address, nil
		}
	}
	return "", fmt.Errorf("source %s says no address", s.Name)
}

// openSource opens a source for looking at it.
func openSource(s *config.Source) (sources.Source, error) {
	src, err := drivers()[s.Type].open(s, zap.NewNop())
	return src, explainUnreadable(err)
}

// look returns the folders of the mailbox in Exchange Online. It is false if that
// cannot be looked at, which is then a problem of the plan.
func (p *migratePlan) look(ctx context.Context, s *config.Source) (tree []sources.FolderInfo, ok bool) {
	src, err := openSource(s)
	if err != nil {
		p.problem(err)
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tree, err = src.(sources.Lister).Tree(ctx)
	p.permission(ctx, s, err)
	if closing := src.Close(); closing != nil && err == nil {
		err = closing
	}
	if err != nil && sources.ClassOf(err) != sources.Permission {
		p.problem(err)
	}
	return tree, err == nil
}

// permission finds out which permission the application lacks. Denied is the error
// of a look into the mailbox, which may be nil.
func (p *migratePlan) permission(ctx context.Context, s *config.Source, denied error) {
	need, roles := "Mail.Read", []string{"Mail.Read", "Mail.ReadWrite", "Mail.Read.All", "Mail.ReadWrite.All"}
	if p.disposition != "" && p.disposition != sources.Keep || len(folderValues(s, "failed_folder")) > 0 {
		need, roles = "Mail.ReadWrite", []string{"Mail.ReadWrite", "Mail.ReadWrite.All"}
	}
	lacks := migrateProblem{Missing: need, Steps: grantSteps(s, need)}
	if denied != nil {
		if sources.ClassOf(denied) == sources.Permission {
			lacks.Problem, lacks.Remedy = denied.Error(), sources.RemedyOf(denied)
			p.Problems = append(p.Problems, lacks)
		}
		return
	}
	client, err := graphClients.Open(graphSettings(s))
	if err != nil {
		p.problem(err)
		return
	}
	defer client.Close()
	grant, err := client.SignIn(ctx)
	switch {
	case err != nil:
		p.problem(err)
	case !grant.Known || grant.Has(roles...):
	case len(grant.Roles) > 0 && grant.Has("Mail.Read", "Mail.Read.All"):
		lacks.Problem = fmt.Sprintf("after_filing: %s changes the mailbox, and the token of the application has %s only", p.disposition, strings.Join(grant.Roles, ", "))
		lacks.Remedy = "if Exchange grants Application " + need + " besides (RBAC for Applications), postroom check says so once the source is changed"
		p.Problems = append(p.Problems, lacks)
	default:
		p.Notes = append(p.Notes, fmt.Sprintf("the mailbox can be read by RBAC for Applications; whether %s is granted there, postroom check tells once the source is changed", need))
	}
}

// grantSteps are the steps that grant a permission for the mailbox, of
// docs/exchange-online.md.
func grantSteps(s *config.Source, need string) []string {
	app := graphSettings(s).ClientID
	return []string{
		"Connect-MgGraph -Scopes Application.Read.All; Connect-ExchangeOnline",
		fmt.Sprintf("$sp = Get-MgServicePrincipal -Filter \"appId eq '%s'\"", app),
		fmt.Sprintf("$group = New-DistributionGroup -Name 'postroom mailboxes' -Type Security -Members %s   # or Add-DistributionGroupMember, if it is there", s.Mailbox),
		"New-ManagementScope -Name 'postroom mailboxes' -RecipientRestrictionFilter \"MemberOfGroup -eq '$($group.DistinguishedName)'\"",
		"New-ServicePrincipal -AppId $sp.AppId -ObjectId $sp.Id -DisplayName postroom",
		fmt.Sprintf("New-ManagementRoleAssignment -Name 'postroom mail' -App $sp.Id -Role 'Application %s' -CustomResourceScope 'postroom mailboxes'", need),
		fmt.Sprintf("Test-ServicePrincipalAuthorization -Identity $sp.Id -Resource %s | Format-Table   # InScope must be True; Graph follows within two hours", s.Mailbox),
	}
}

// oldFolders returns the folders of the mailbox as it was, nil if it cannot be
// asked.
func oldFolders(ctx context.Context, s *config.Source, p *migratePlan) []sources.FolderInfo {
	src, err := openSource(s)
	if err == nil {
		lister, ok := src.(sources.Lister)
		var tree []sources.FolderInfo
		if ok {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			tree, err = lister.Tree(ctx)
		}
		if closing := src.Close(); closing != nil && err == nil {
			err = closing
		}
		if err == nil {
			return tree
		}
	}
	p.Notes = append(p.Notes, fmt.Sprintf("the old server could not be asked for its folders (%v): special folders are known by their usual names", err))
	return nil
}

// mapFolders finds the counterpart of each folder that the source names, and
// returns those that change.
func (p *migratePlan) mapFolders(s *config.Source, old, there []sources.FolderInfo) (map[string]map[string]string, error) {
	f := migrate.NewFolders(old, there)
	changed := make(map[string]map[string]string)
	for _, key := range folderKeys() {
		for _, value := range folderValues(s, key) {
			counterpart, err := f.Pattern(value)
			if err != nil {
				return nil, fmt.Errorf("source %s: %s: %w", s.Name, key, err)
			}
			row := migrateFolder{Key: key, Old: value, New: counterpart.New, How: counterpart.How, Nearest: counterpart.Nearest}
			if counterpart.How == migrate.Missing {
				row.New = ""
				if key != "folders" {
					row.Nearest = nil // made when it is needed, or leaves out nothing
				} else if _, literal := literalPath(value); literal {
					p.missing(value, counterpart.Nearest)
				}
			}
			p.Folders = append(p.Folders, row)
			if counterpart.New != value {
				if changed[key] == nil {
					changed[key] = make(map[string]string)
				}
				changed[key][value] = counterpart.New
			}
		}
	}
	if s.Type == "pop3" {
		p.Folders = append(p.Folders, migrateFolder{Key: "folders", Old: "(maildrop)", New: sources.Inbox, How: migrate.ByUse})
	}
	return changed, nil
}

// lostPatterns finds the wildcards that select nothing in Exchange Online, and did
// on the old server, or documents were filed of what they selected.
func (p *migratePlan) lostPatterns(ctx context.Context, s *config.Source, old, there []sources.FolderInfo, past *pastLedger) error {
	was := sources.Selection{}
	for _, key := range folderKeys() {
		for _, value := range folderValues(s, key) {
			pattern, err := sources.ParsePattern(value)
			if err != nil {
				return fmt.Errorf("source %s: %s: %w", s.Name, key, err)
			}
			path, literal := pattern.Literal()
			switch {
			case key == "exclude_folders":
				was.Exclude = append(was.Exclude, pattern)
			case key != "folders" && literal:
				was.Never = append(was.Never, path)
			}
		}
	}
	folders := migrate.NewFolders(old, there)
	var filed []string // the folders that documents were filed from
	for i := range p.Folders {
		row := &p.Folders[i]
		if row.Key != "folders" || s.Type != "imap" {
			continue
		}
		pattern, err := sources.ParsePattern(row.Old)
		if err != nil {
			return err
		}
		if _, literal := pattern.Literal(); literal {
			continue
		}
		if row.How != migrate.Missing {
			fresh, err := sources.ParsePattern(row.New)
			if err != nil {
				return err
			}
			if chosen, _ := (sources.Selection{Include: []sources.Pattern{fresh}}).Choose(there); len(chosen) > 0 {
				continue
			}
		}
		var selected []string
		was.Include = []sources.Pattern{pattern}
		chosen, _ := was.Choose(old)
		for _, f := range chosen {
			selected = append(selected, f.Path)
		}
		if filed == nil {
			if filed, err = filedFrom(ctx, past, s.Name); err != nil {
				return err
			}
		}
		for _, name := range filed {
			if path, err := sources.ParsePath(name); err == nil && pattern.Match(path) && !slices.Contains(selected, name) {
				selected = append(selected, name)
			}
		}
		if len(selected) == 0 {
			continue // as before
		}
		near := row.Nearest
		for _, name := range selected {
			value, err := sources.InConfiguration(name)
			if err != nil {
				continue
			}
			c, err := folders.Pattern(value)
			if err != nil {
				return err
			}
			likely := c.Nearest
			if c.How != migrate.Missing {
				likely = []string{c.New}
			}
			for _, name := range likely {
				if !slices.Contains(near, name) && len(near) < 3 {
					near = append(near, name)
				}
			}
		}
		row.New, row.How, row.Nearest = "", migrate.Missing, near
		p.lost(row.Old, selected, near)
	}
	return nil
}

// filedFrom returns the folders that documents of the source were filed from, as the
// ledger knows them.
func filedFrom(ctx context.Context, l *pastLedger, source string) ([]string, error) {
	met := make(map[string]bool)
	for e, err := range l.Entries(ctx, ledger.Query{Source: source}) {
		if err != nil {
			return nil, fmt.Errorf("read entries of source %s: %w", source, err)
		}
		if e.DocumentID != "" && e.FolderPath != "" {
			met[e.FolderPath] = true
		}
	}
	return append([]string{}, slices.Sorted(maps.Keys(met))...), nil // not nil: it is known
}

// lost notes that a wildcard selects nothing any more.
func (p *migratePlan) lost(value string, selected, near []string) {
	names := make([]string, 0, 4)
	for i, name := range selected {
		if i == 3 {
			names = append(names, fmt.Sprintf("%d more", len(selected)-i))
			break
		}
		names = append(names, sources.YAML(name))
	}
	p.Problems = append(p.Problems, migrateProblem{
		Problem: fmt.Sprintf("%s in folders selects no folder of the mailbox %s, and selected %s before the move", value, p.Mailbox, strings.Join(names, ", ")),
		Remedy:  "make or move the folders there, or change it in folders, or take it out" + didYouMean(near),
	})
}

// didYouMean asks for one of the folders, which are as in a configuration.
func didYouMean(near []string) string {
	if len(near) == 0 {
		return ""
	}
	names := make([]string, len(near))
	for i, name := range near {
		names[i] = sources.YAML(name)
	}
	return "; did you mean " + strings.Join(names, ", or ") + "?"
}

func literalPath(value string) (sources.Path, bool) {
	pattern, err := sources.ParsePattern(value)
	if err != nil {
		return nil, false
	}
	return pattern.Literal()
}

// missing notes that a folder has no counterpart.
func (p *migratePlan) missing(value string, near []string) {
	p.Problems = append(p.Problems, migrateProblem{
		Problem: fmt.Sprintf("folder %s has no counterpart in the mailbox %s", value, p.Mailbox),
		Remedy:  "make the folder there, or take it out of folders" + didYouMean(near),
	})
}

// compare holds the messages of the mailbox against what has been filed.
func (p *migratePlan) compare(ctx context.Context, s *config.Source, l *pastLedger) error {
	past, err := migrate.ReadPast(ctx, l, s.Name)
	if err != nil {
		return failed(err)
	}
	p.Documents, p.Forgotten, p.Owed, p.InQuarantine, p.Unfinished = past.Documents, past.Forgotten, past.Owed, past.InQuarantine, past.Unfinished
	src, err := openSource(s)
	if err != nil {
		return failed(explained(err))
	}
	folders, err := src.Folders(ctx)
	switch {
	case len(p.Problems) > 0:
	case err != nil:
		p.problem(err)
	case len(folders) == 0:
		p.Problems = append(p.Problems, migrateProblem{
			Problem: "no folder of the mailbox " + p.Mailbox + " would be read",
			Remedy:  "name folders that are there in folders, or take them out of exclude_folders; postroom folders shows the tree of a source",
		})
	}
	box := mailbox(s, zap.NewNop())
	var comparing error
	seed, met := maphash.MakeSeed(), make(map[uint64]bool) // messages, by hashes of their keys
	for _, f := range folders {
		read := migrateReadFrom{Path: f.Path}
		err := src.(*exchange.Source).Summaries(ctx, f, func(ref sources.Ref, header []byte) error {
			key := maphash.String(seed, ref.Key)
			if met[key] {
				return nil
			}
			met[key] = true
			read.Messages++
			h, err := message.ReadHeader(bytes.NewReader(header))
			if err != nil {
				return err
			}
			if leftOut, _ := box.Rules.Only.Listed(ref); leftOut == "" {
				leftOut = box.Rules.Only.Delivered(h, max(ref.Size, 0), ref.Received)
				if leftOut == "" {
					return p.judge(ctx, past, box.Rules.Title, box.Address, &read, ref, h)
				}
			}
			p.LeftOut++
			read.LeftOut++
			return nil
		})
		p.Reads = append(p.Reads, read)
		if err != nil {
			comparing = fmt.Errorf("folder %s: %w", f.Path, err)
			break
		}
	}
	if err := src.Close(); err != nil && comparing == nil {
		comparing = err
	}
	if comparing != nil {
		p.problem(comparing)
	}
	return nil
}

// judge counts one message.
func (p *migratePlan) judge(ctx context.Context, past *migrate.Past, title, address string, in *migrateReadFrom, ref sources.Ref, h *message.Header) error {
	made := document.Expand(title, document.Input{Header: h, Mailbox: address, Folder: in.Path})
	j, err := past.Judge(ctx, h, ref.Received, made)
	if err != nil {
		return err
	}
	if j.Owed {
		p.OwedThere++
	}
	in.count(j.Verdict)
	list := &p.NewMessages
	switch j.Verdict {
	case migrate.FiledAlready:
		p.FiledAlready++
		return nil
	case migrate.Uncertain:
		p.Uncertain++
		list = &p.UncertainMessages
	default:
		p.New++
	}
	if len(*list) >= maxListed {
		p.Unlisted++
		return nil
	}
	id := ""
	if ids := h.MessageIDs("Message-ID"); len(ids) > 0 {
		id = ids[0]
	}
	*list = append(*list, migrateMessage{
		Folder: in.Path, ID: ref.Key, MessageID: strings.Clone(id), Subject: strings.Clone(h.Text("Subject")), From: strings.Clone(h.Text("From")),
		Received: ref.Received.UTC(), Reason: j.Reason, Document: j.Document,
	})
	return nil
}
