package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Source is one mailbox and what is done with its messages.
type Source struct {
	Position Position
	Name     string `yaml:"name" required:"true" kind:"name" doc:"The source's identity, unique without regard to case; a new name starts anew."`
	Type     string `yaml:"type" required:"true" doc:"The kind of server."`
	Enabled  bool   `yaml:"enabled" default:"true" doc:"Whether the source is read."`
	// Formerly are names that were this source's, and are no source's now.
	Formerly    []string    `yaml:"formerly" kind:"name" doc:"Names that this source had before; what was filed under them is known."`
	Credentials *Credential `yaml:"credentials" required:"true" doc:"The name of the credentials to sign in with."`
	// Entra is the name of the credentials of type entra, if there is one only: those
	// that the source could have instead of a password.
	Entra        string
	Mailbox      string        `yaml:"mailbox" doc:"The address of the mailbox; with entra and google also the user to sign in as."`
	PollInterval time.Duration `yaml:"poll_interval" default:"1m" min:"1s" max:"365d" doc:"How often the folders are looked at."`
	Format       string        `yaml:"format" default:"eml" enum:"eml,msg" doc:"The format of the message in the repository: as received, or Outlook's."`
	// SeparateAttachments and KeepOriginal add files to a document.
	SeparateAttachments bool `yaml:"separate_attachments" doc:"Files the message and its attachments as one multi-file document."`
	KeepOriginal        bool `yaml:"keep_original" doc:"Files the unaltered message too."`
	// AfterFiling is one of the verbs of package sources.
	AfterFiling string        `yaml:"after_filing" default:"keep" enum:"keep,mark_read,move,delete" doc:"What is done with the message on its server once its document is safe."`
	Permanent   bool          `yaml:"permanent" doc:"With after_filing: delete, past the deleted items."`
	Duplicates  string        `yaml:"duplicates" default:"skip" enum:"skip,file" doc:"What is done with a message that was filed already."`
	Only        Only          `yaml:"only" doc:"Which messages are filed."`
	Document    DocumentRules `yaml:"document" doc:"What the documents look like."`
	// Options is what the driver of the type returned, filled in.
	Options any
}

// Only says which messages are filed: those that fit all that is set.
type Only struct {
	Unread bool `yaml:"unread" doc:"Only unread messages."`
	// Since is in UTC; zero for no bound.
	Since time.Time `yaml:"since" doc:"Only messages received on this day or later, UTC."`
	// MaxSize is in bytes; 0 for no bound.
	MaxSize int64 `yaml:"max_size" kind:"size" doc:"Only messages of at most this size."`
	// From and Subject are globs of * and ?, of which one must match the whole
	// text, regardless of case; those of From the bare address.
	From    []string `yaml:"from" kind:"mask" doc:"Only messages from an address that one of these matches; * stands for any characters, ? for one."`
	Subject []string `yaml:"subject" kind:"mask" doc:"Only messages with a subject that one of these matches; * stands for any characters, ? for one."`
}

// DocumentRules say what the documents of a source look like.
type DocumentRules struct {
	Class string `yaml:"class" doc:"The class of the documents."`
	// Title holds words of document.TitleWords in braces, and {{ and }} for braces.
	Title       string     `yaml:"title" default:"{subject}" kind:"template" doc:"The title of the documents; {subject} and other words in braces stand for what the message says."`
	Permissions string     `yaml:"permissions" doc:"The permissions of the documents, in the repository's terms."`
	Properties  []Property `yaml:"properties" doc:"Properties of the documents: a fixed value, or one read from the message."`
}

// Property is a property of a document. One of Value and Read is set.
type Property struct {
	Name  string `yaml:"name" required:"true" doc:"The name of the property."`
	Value string `yaml:"value" doc:"A fixed value."`
	// Read is one of document.Words, or "header:" and a field's name.
	Read string `yaml:"read" kind:"read" doc:"The part of the message that is the value."`
	// Match is nil for all of what was read. Its first group, if any, is the value.
	Match    *regexp.Regexp `yaml:"match" doc:"An RE2 expression; its first group, or what it matches, is the value."`
	Required bool           `yaml:"required" doc:"Whether a message without a value goes to quarantine."`
	Default  string         `yaml:"default" doc:"The value when the message has none."`
}

// undefaulted are the keys of a source that cannot have a default: what makes
// it this source and no other.
func undefaulted() []string { return []string{"name", "type", "mailbox", "folders", "formerly"} }

// withoutFolders are the dispositions on a server that keeps neither folders nor
// a mark of what was read.
func withoutFolders() []string { return []string{"keep", "delete"} }

// readDefaults checks the defaults and returns them, without what cannot be one.
func (l *loader) readDefaults(n *node) []entry {
	if n == nil {
		return nil
	}
	l.defaultsOpen = l.defaultsOpen || n.kind != mappingNode || n.open
	if n.kind != mappingNode {
		l.errors.add(n.pos, "defaults: wrong type (%s); allowed: a mapping with keys of a source", n.kind)
		return nil
	}
	v := l.grammar.sources
	var names []string
	for name := range v.fits {
		if !slices.Contains(undefaulted(), name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var defaults []entry
	s := l.scope()
	seen := make(map[string]Position)
	for _, e := range n.entries {
		first, twice := seen[e.key]
		seen[e.key] = e.pos
		switch types := v.fits[e.key]; {
		case twice:
			l.errors.add(e.pos, "duplicate key%s; it is already at %s", shownKey(e.key, nil), first)
		case slices.Contains(undefaulted(), e.key):
			l.errors.add(e.pos, "key %q has no default; write it in each source", e.key)
		case len(types) == 0:
			l.errors.add(e.pos, "unknown key%s%s; allowed: %s", shownKey(e.key, nil), suggest(e.key, names), strings.Join(names, ", "))
		default:
			k := v.objects[types[0]].byName[e.key]
			typ := k.typ
			if k.list {
				typ = reflect.SliceOf(typ)
			}
			s.value(e.value, k, reflect.New(typ).Elem())
			e.inherited = true
			defaults = append(defaults, e)
		}
	}
	return defaults
}

func (l *loader) readSources(n *node, defaults []entry) []*Source {
	var found []*Source
	for _, item := range l.mappings(n, "sources") {
		s := sourceReader{scope: l.scope(), source: &Source{Position: item.pos}}
		s.read(item, defaults)
		found = append(found, s.source)
	}
	return found
}

// sourceReader reads one source.
type sourceReader struct {
	*scope
	source *Source
	keys   *object
	reading
}

func (s *sourceReader) read(n *node, defaults []entry) {
	v := s.grammar.sources
	s.keys = v.common
	if typ := s.typeOf(n, v); typ != "" {
		s.keys = v.objects[typ]
	}
	s.source.Options, s.reading = s.variant(s.inherit(n, defaults), v, s.source)
	s.claim()
	s.checkDisposition()
	s.checkSignIn()
	s.checkFilter()
	s.checkProperties()
	s.checkBuilt()
}

// inherit returns the source's mapping with those defaults that it does not
// have itself and that mean something to it.
func (s *sourceReader) inherit(n *node, defaults []entry) *node {
	whole := *n
	whole.entries = slices.Clone(n.entries)
	whole.defaultsOpen = s.defaultsOpen
	for _, e := range defaults {
		if s.keys.byName[e.key] != nil && n.entry(e.key) == nil {
			whole.entries = append(whole.entries, e)
		}
	}
	after := "keep"
	if e := whole.entry("after_filing"); e != nil {
		after = s.expand(e.value).text
	}
	whole.entries = slices.DeleteFunc(whole.entries, func(e entry) bool {
		return e.inherited && (e.key == "filed_folder" && after != "move" || e.key == "permanent" && after != "delete")
	})
	return &whole
}

// has reports whether the source's type has the key.
func (s *sourceReader) has(key string) bool { return s.keys.byName[key] != nil }

// refuse reports that the value at a path of keys does not go with the rest of
// the source.
func (s *sourceReader) refuse(path, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	key, _, _ := strings.Cut(path, ".")
	if s.node.entry(key).inherited {
		of := "the source at " + s.source.Position.String()
		if e := s.node.entry("name"); e != nil && nameExpression.MatchString(e.value.text) {
			of = "source " + e.value.text
		}
		message = fmt.Sprintf("%s: %s; set %s in the source itself", of, message, key)
	}
	s.errors.add(s.node.find(path).value.pos, "%s", message)
}

func (s *sourceReader) checkDisposition() {
	if s.source.Type == "" || s.bad["type"] {
		return
	}
	folders := s.has("folders")
	switch verb := s.source.AfterFiling; {
	case !s.good("after_filing"):
	case !folders && !slices.Contains(withoutFolders(), verb):
		s.refuse("after_filing", "after_filing: %s cannot be done on %s; allowed: %s", verb, s.source.Type, strings.Join(withoutFolders(), ", "))
	case verb == "move" && s.node.entry("filed_folder") == nil && !s.bad["filed_folder"]:
		s.refuse("after_filing", "after_filing: move needs the key \"filed_folder\"; allowed: a folder such as Inbox/Filed")
	}
	if s.has("filed_folder") && s.good("filed_folder") && s.source.AfterFiling != "move" && !s.bad["after_filing"] {
		s.refuse("filed_folder", "filed_folder is only for after_filing: move; leave it out")
	}
	if s.source.Permanent && s.source.AfterFiling != "delete" && !s.bad["after_filing"] {
		s.refuse("permanent", "permanent is only for after_filing: delete; leave it out")
	}
	if !folders && s.node.find("only.unread") != nil {
		s.refuse("only.unread", "only.unread cannot be told on %s; leave it out", s.source.Type)
	}
}

func (s *sourceReader) checkSignIn() {
	c := s.source.Credentials
	if c == nil || !s.grammar.knows(s.source.Type) {
		return
	}
	switch allowed := fitting(s.source.Type); {
	case !slices.Contains(s.grammar.credentials.types, c.Type):
	case !slices.Contains(allowed, c.Type):
		s.refuse("credentials", "credentials of type %s do not fit type %s; allowed: %s", c.Type, s.source.Type, strings.Join(allowed, ", "))
	case c.Type != "password":
		if s.node.entry("mailbox") == nil && !s.bad["mailbox"] {
			s.errors.add(s.source.Position, "missing key \"mailbox\", which credentials of type %s need; allowed: the address of the mailbox", c.Type)
		}
		if e := s.node.entry("tls"); e != nil && s.has("tls") && s.expand(e.value).text == "none" {
			s.refuse("tls", "tls: none does not go with credentials of type %s: a token that opens mailboxes is never sent without encryption; allowed: implicit, starttls", c.Type)
		}
		s.checkPerson(c)
	}
}

// checkPerson reports a source that has the credentials of a person with another
// mailbox. They open that person's own and no other.
func (s *sourceReader) checkPerson(c *Credential) {
	if c.Entra == nil || c.Entra.Flow != "device_code" || !s.good("mailbox") {
		return
	}
	first := s.people[c]
	if first == nil {
		s.people[c] = s.source
		return
	}
	if !strings.EqualFold(first.Mailbox, s.source.Mailbox) {
		s.refuse("mailbox", "mailbox: another than that of the source at %s, which has the same credentials; allowed: one mailbox, as credentials with flow: device_code open that of the person alone who signed in; add credentials for this one", first.Position)
	}
}

func (s *sourceReader) checkFilter() {
	for _, path := range []string{"only.from", "only.subject"} {
		e := s.node.find(path)
		if e == nil || e.value.kind != listNode {
			continue
		}
		if len(e.value.items) == 0 {
			s.errors.add(e.value.pos, "%s: empty list, which no message fits; allowed: at least one pattern; or leave the key out", path)
		}
	}
	e := s.node.find("only.from")
	if e == nil || len(s.source.Only.From) != len(e.value.items) {
		return
	}
	for i, pattern := range s.source.Only.From {
		if pattern != "" && !strings.ContainsAny(pattern, "@*?") {
			s.warnings.add(e.value.items[i].pos, "only.from: fits no address with @, since it has neither @ nor * nor ?; for all addresses of a domain write *@ before it")
		}
	}
}

func (s *sourceReader) checkProperties() {
	e := s.node.find("document.properties")
	if e == nil {
		return
	}
	for i, item := range e.value.items {
		value, read := item.entry("value"), item.entry("read")
		switch {
		case item.kind != mappingNode:
		case value != nil && read != nil:
			s.errors.add(read.pos, "a property has both value and read; allowed: one of them")
		case value == nil && read == nil:
			s.errors.add(item.pos, "a property has neither value nor read; allowed: one of them")
		case read == nil:
			for _, key := range []string{"match", "required", "default"} {
				if e := item.entry(key); e != nil {
					s.errors.add(e.pos, "%s is only for a property with read; leave it out", key)
				}
			}
		case i < len(s.source.Document.Properties) && s.source.Document.Properties[i].Required && item.entry("default") != nil:
			s.warnings.add(item.entry("required").pos, "required has no effect beside default, which is a value; leave one of them out")
		}
	}
}

// checkBuilt reports what the source needs that is not built yet; of a source
// that is disabled it only warns.
func (s *sourceReader) checkBuilt() {
	to := &s.warnings
	if s.source.Enabled {
		to = &s.errors
	}
	if s.grammar.knows(s.source.Type) && !s.grammar.built[s.source.Type] {
		to.add(s.node.entry("type").value.pos, "type: %s: not built yet", s.source.Type)
	}
	if s.source.Enabled && s.source.Credentials != nil {
		s.use(s.source.Credentials)
	}
}

// claim is a name that a source has or had.
type claim struct {
	name   string
	former bool
	at     Position
}

// claim notes the names of the source.
func (s *sourceReader) claim() {
	if s.good("name") {
		s.claims = append(s.claims, claim{s.source.Name, false, s.node.entry("name").value.pos})
	}
	if s.good("formerly") {
		for i, name := range s.source.Formerly {
			item := s.node.entry("formerly").value.items[i]
			s.claims = append(s.claims, claim{name, true, item.pos})
		}
	}
}

// checkNames reports names that two sources have.
func (l *loader) checkNames() {
	first := make(map[string]claim)
	for _, former := range []bool{false, true} {
		for _, c := range l.claims {
			if c.former != former {
				continue
			}
			key := strings.ToLower(c.name)
			other, taken := first[key]
			switch {
			case !taken:
				first[key] = c
			case !c.former:
				l.errors.add(c.at, "name: already the name of the source at %s; names are unique without regard to case", other.at)
			case other.former:
				l.errors.add(c.at, "formerly: the name is already claimed at %s; allowed: a name that only one source had", other.at)
			default:
				l.errors.add(c.at, "formerly: the name of the source at %s; allowed: a name that no source has now", other.at)
			}
		}
	}
}
