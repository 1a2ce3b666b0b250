// Package config reads the configuration: YAML in, checked settings out.
//
// [Load] finds everything that is wrong in one go, each with its place and what
// is allowed instead. What it returns needs no further checks.
//
// Every mapping of a configuration is a struct, and every key a field with tags.
// The decoder, the defaults, the checks and the JSON Schema all go by them:
//
//	yaml:"server"        the key; a field without it is no key
//	doc:"One sentence."  what the key is for; required
//	required:"true"      the key may not be left out
//	default:"implicit"   the value when it is, written as in YAML; for a list, its one item
//	enum:"a,b,c"         the values allowed
//	min:"1" max:"10"     the bounds of a number or a duration
//	empty:"true"         "" is a value; elsewhere it is refused
//	allowed:"a list"     what the value may be, in words, of a key that is read later
//	kind:"hostport"      what the text must be, one of:
//
//	address   a bare mail address                certificates  a file of PEM certificates
//	guid      an id of Entra
//	date      a date or an RFC 3339 time         hostport  a host name, with or without :PORT
//	folder    the path of a folder               https     an https URL
//	glob      a pattern of files                 ledger    a ledger
//	listen    an address with a port             mask      a glob for a text of a message
//	name      the name of a source               path      a file or folder; made absolute
//	pattern   a pattern of folder paths          read      a word for a part of a message
//	regexp    an RE2 expression                  size      a number of bytes, with a unit
//	template  text with words in braces          text      any text without control characters
//	url       an http, https or socks5 URL
//
// Without one the type of the field decides: string (text), bool, int,
// [time.Duration], [time.Time] (date), *[regexp.Regexp], [secret.Value] (a
// secret, with a warning when it is written in clear). A field may be a slice of
// these, a struct, or a slice of structs. A size goes into an int64.
//
// A driver brings the keys of its type of source as such a struct, its Options,
// which may implement [sources.Checker] to check what tags cannot say. A type
// whose Options have the key "folders" is taken to keep messages in folders and
// to mark them as read; to one without, no message can be moved or marked.
package config

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"postroom/internal/secret"
	"postroom/internal/vault"
)

// version is the version of the configuration that is understood.
const version = 1

// Config is a configuration.
type Config struct {
	// File is the absolute path of the configuration file, Dir its folder, from
	// which relative paths start.
	File, Dir string

	Repository Repository `yaml:"repository" required:"true" doc:"Where documents are kept."`
	// StateDir is absolute.
	StateDir string `yaml:"state_dir" default:"./state" kind:"path" doc:"Folder of the ledger, the quarantine and tokens: what must be backed up."`
	// Ledger is "sqlite:" and an absolute path, or a URL of PostgreSQL, which may
	// hold a password.
	Ledger secret.Value `yaml:"ledger" kind:"ledger" doc:"The record of what has been filed: sqlite:PATH, or postgres://USER:PASSWORD@HOST/DATABASE to share it. Default: postroom.db in state_dir."`
	// Spool is absolute.
	Spool string `yaml:"spool" kind:"path" doc:"Folder of temporary files, which may be wiped while postroom is stopped. Default: spool in state_dir."`
	// Proxy is a URL, which may hold a password; empty for that of the
	// environment.
	Proxy secret.Value `yaml:"proxy" kind:"url" empty:"true" doc:"Proxy for HTTPS. Default: that of the environment."`

	Credentials map[string]*Credential
	// Sources are in the order of the files and, within one, as written.
	Sources  []*Source
	Outgoing Outgoing

	Status Status `yaml:"status" doc:"The status page."`
	Log    Log    `yaml:"log" doc:"The log."`

	// Warnings are what is allowed but should not be, sorted by file and
	// position.
	Warnings []Problem

	// files are those that the configuration names.
	files []usedFile
}

// Repository is where documents are kept.
type Repository struct {
	Type string `yaml:"type" required:"true" enum:"filesystem,s3,mfiles" doc:"The kind of repository."`
	// Path is absolute.
	Path string `yaml:"path" kind:"path" doc:"Folder of the documents, for type filesystem. Nothing else may be in it."`
}

// Status is where the status page is served.
type Status struct {
	Listen string `yaml:"listen" default:"127.0.0.1:8460" kind:"listen" doc:"Address and port of the page."`
	SignIn string `yaml:"sign_in" default:"none" enum:"none,entra" doc:"Who may see it: anyone on this machine, or people who sign in."`
}

// Log is how the log is written.
type Log struct {
	Level  string `yaml:"level" default:"info" enum:"debug,info,warn,error" doc:"The least level that is written."`
	Format string `yaml:"format" default:"text" enum:"text,json" doc:"Text for people, JSON for machines."`
	// File is absolute; empty for standard error.
	File string `yaml:"file" kind:"path" empty:"true" doc:"File that the log is appended to. Default: standard error."`
}

// header has the keys of the main file that are not settings.
type header struct {
	Version  int      `yaml:"version" required:"true" enum:"1" doc:"The version of this grammar."`
	Include  []string `yaml:"include" kind:"glob" doc:"Further files, which hold only credentials and sources; * and ? stand for any characters of a name."`
	Defaults *node    `yaml:"defaults" allowed:"a mapping with keys of a source" doc:"Keys for every source that does not have them itself and whose type knows them. A key in a source replaces the one here whole."`
	Outgoing *node    `yaml:"outgoing" allowed:"a mapping with the keys global, system, notify" doc:"Mail that postroom sends; each entry has credentials of its own."`
}

// entities has the keys that an included file may hold too.
type entities struct {
	Credentials *node `yaml:"credentials" allowed:"a list of mappings" doc:"How to sign in, each under a name."`
	Sources     *node `yaml:"sources" allowed:"a list of mappings" doc:"The mailboxes that are read."`
}

// Load reads the configuration in the file at path and in the files that it
// includes. Drivers are the types of source that are built; whatever else is
// not built yet is an error where it is used, and a warning in a source that is
// disabled or in credentials that no enabled source has. The error is [Problems] if what
// the files hold is not valid, and another if the file cannot be read.
func Load(path string, drivers []Driver) (*Config, error) {
	return loadFile(path, drivers, func(*loader) {})
}

// LoadWithoutSecrets is Load for a command that signs in nowhere: it does not
// resolve the references in passwords and other secrets, and so needs none, nor
// does it read files of certificates. What stands in their place is of no use.
func LoadWithoutSecrets(path string, drivers []Driver) (*Config, error) {
	return loadFile(path, drivers, func(l *loader) { l.withoutSecrets = true })
}

// LoadEdited is Load of files that hold something else: texts, by their absolute
// paths, in the place of what is on disk.
func LoadEdited(path string, drivers []Driver, texts map[string][]byte) (*Config, error) {
	return loadFile(path, drivers, func(l *loader) { l.texts = texts })
}

func loadFile(path string, drivers []Driver, option func(*loader)) (*Config, error) {
	g, err := newGrammar(drivers)
	if err != nil {
		return nil, err
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return load(g, path, full, data, option)
}

// load reads a configuration whose main file, at the absolute path full, holds
// data.
func load(g *grammar, path, full string, data []byte, options ...func(*loader)) (*Config, error) {
	l := &loader{
		grammar:     g,
		file:        path,
		full:        full,
		dir:         filepath.Dir(full),
		credentials: make(map[string]*Credential),
		named:       make(map[string]Position),
		notBuilt:    make(map[*Credential][]Problem),
		used:        make(map[*Credential]bool),
		people:      make(map[*Credential]*Source),
		seen:        make(map[looked]error),
	}
	for _, option := range options {
		option(l)
	}
	if text, ok := l.texts[full]; ok {
		data = text
	}
	c := &Config{File: full, Dir: l.dir, Credentials: l.credentials}
	l.config(c, data)
	if problems := l.errors.sorted(); len(problems) > 0 {
		return nil, problems
	}
	c.Warnings = l.warnings.sorted()
	return c, nil
}

// loader reads one configuration.
type loader struct {
	grammar *grammar
	// file is the path of the main file as it was given, full the absolute one.
	file, full, dir string
	errors          report
	warnings        report
	credentials     map[string]*Credential
	// named are the places of the credentials, also of those that are wrong.
	named map[string]Position
	// shown are the names of those whose name is written without a reference,
	// sorted once all are read.
	shown []string
	// notBuilt is what of the credentials is not built yet.
	notBuilt map[*Credential][]Problem
	// used are the credentials of enabled sources.
	used map[*Credential]bool
	// files are the files and folders that the configuration names.
	files []usedFile
	// claims are the names of the sources, old ones included.
	claims []claim
	// incomplete: a file or the name of credentials could not be read, so that
	// what others refer to may be missing for that reason alone.
	incomplete bool
	// defaultsOpen: which keys the defaults have is not known.
	defaultsOpen bool
	// withoutSecrets: references in secrets are not resolved, and files that are
	// for signing in not read.
	withoutSecrets bool
	// vault is where ${secret:NAME} is kept; nil until that is known, and noVault
	// if it cannot be.
	vault   *vault.Vault
	noVault bool
	// people are the sources that sign in as a person, by the credentials.
	people map[*Credential]*Source
	// texts are what files hold in the place of what is on disk, by their absolute
	// paths.
	texts map[string][]byte
	// seen is what is wrong with the files that were read, nil if nothing is.
	seen map[looked]error
}

// looked is a file that was read, for what a key allows.
type looked struct{ allowed, path string }

func (l *loader) config(c *Config, data []byte) {
	root := l.parse(l.file, data)
	if root == nil {
		return
	}
	if root.kind != mappingNode {
		l.errors.add(root.pos, "the file holds no mapping (%s); allowed: the keys %s", root.kind, strings.Join(l.grammar.main.names(), ", "))
		return
	}
	if newer(root) {
		l.errors.add(root.entry("version").value.pos, "the version is newer; this postroom understands version %d", version)
		return
	}
	var head header
	var own entities
	l.findVault(root)
	s := l.scope()
	read := s.object(root, l.grammar.main, &head, c, &own)
	for _, problem := range s.notBuilt(unbuiltInFile(), root) {
		l.errors.put(problem)
	}
	files := []entities{own}
	if e := root.entry("include"); e != nil {
		files = append(files, l.include(e.value, head.Include)...)
	}
	l.incomplete = l.incomplete || read.bad["include"] || read.bad["credentials"] || root.open
	for _, file := range files {
		l.readCredentials(file.Credentials)
	}
	slices.Sort(l.shown)
	l.defaultsOpen = root.open && root.entry("defaults") == nil || read.bad["defaults"] && root.entry("defaults") != nil
	defaults := l.readDefaults(head.Defaults)
	for _, file := range files {
		c.Sources = append(c.Sources, l.readSources(file.Sources, defaults)...)
	}
	var modern []string
	for name, credentials := range l.credentials {
		if credentials.Entra != nil {
			credentials.Entra.Proxy, credentials.Entra.StateDir = c.Proxy, c.StateDir
			credentials.Entra.SignIn = l.command("sign-in --credentials " + shownCredentials(credentials.Name))
			modern = append(modern, name)
		}
	}
	if len(modern) == 1 {
		for _, s := range c.Sources {
			s.Entra = modern[0]
		}
	}
	l.checkNames()
	l.readOutgoing(head.Outgoing, &c.Outgoing)
	l.checkStatus(c.Status, read)
	l.place(c, read)
	l.warn(c, root)
}

// checkStatus reports a page that anybody on the network could see.
func (l *loader) checkStatus(s Status, r reading) {
	listen := r.node.find("status.listen")
	if listen == nil || r.bad["status"] || s.SignIn != "none" {
		return
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if ip := net.ParseIP(host); err != nil || !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
		l.errors.add(listen.value.pos, "listen: others on the network can reach it, and sign_in is none; allowed: an address of this machine alone, such as 127.0.0.1:8460")
	}
}

// warn notes what is allowed but should not be.
func (l *loader) warn(c *Config, root *node) {
	enabled := func(s *Source) bool { return s.Enabled }
	switch {
	case len(c.Sources) == 0:
		l.warnings.add(root.pos, "no sources; nothing will be filed")
	case !slices.ContainsFunc(c.Sources, enabled):
		l.warnings.add(root.pos, "no source is enabled; nothing will be filed")
	}
	for credentials, problems := range l.notBuilt {
		for _, problem := range problems {
			if !l.used[credentials] {
				l.warnings.put(problem)
			}
		}
	}
	if e := root.entry("status"); e != nil {
		l.warnings.add(e.pos, "status: not built yet; it does nothing")
	}
	for _, key := range []string{"ledger", "proxy"} {
		e := root.entry(key)
		if e == nil {
			continue
		}
		u, err := url.Parse(e.value.text)
		if err != nil || u.User == nil {
			continue
		}
		if _, ok := u.User.Password(); ok && !strings.Contains(e.value.text, "${") {
			l.warnings.add(e.value.pos, "%s: secret written in clear; better ${secret:NAME}, ${env:NAME} or ${file:PATH}", key)
		}
	}
}

// parse reads the text of a file into a tree, or returns nil and reports why it
// cannot.
func (l *loader) parse(file string, data []byte) *node {
	text, damaged, ok := decodeText(file, data, &l.errors)
	if !ok {
		return nil
	}
	return parseTree(file, text, damaged, &l.errors)
}

// newer reports whether the file is of a version that came after this one.
func newer(root *node) bool {
	e := root.entry("version")
	if e == nil || e.value.kind != numberNode {
		return false
	}
	n, err := strconv.Atoi(e.value.text)
	return err == nil && n > version
}
