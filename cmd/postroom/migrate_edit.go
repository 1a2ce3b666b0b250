package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"postroom/cmd/postroom/config"
	"postroom/internal/secret"
	"postroom/internal/yamledit"
	"postroom/sources"
)

// newSource is a source that is to be moved to Exchange Online, and what is to be
// changed of it.
type newSource struct {
	mailbox, credentials string
	// folders are the values of folders, exclude_folders, filed_folder and
	// failed_folder that change: by key, the new values by the old ones.
	folders map[string]map[string]string
}

// edit is a change of the file that holds a source.
type edit struct {
	file     string // absolute
	old, new []byte
	diff     string
	// added are the environment variables that credentials which were added refer
	// to.
	added []string
	// config is the configuration with the change.
	config *config.Config
}

// source returns the source as it will be.
func (e *edit) source(name string) *config.Source {
	i := slices.IndexFunc(e.config.Sources, func(s *config.Source) bool { return s.Name == name })
	return e.config.Sources[i]
}

// editSource makes the change in the text of the file that holds the source, and
// makes sure that the configuration then says what it is to say, and nothing else.
// Nothing is written.
func editSource(path string, c *config.Config, s *config.Source, n newSource) (*edit, error) {
	file, err := filepath.Abs(s.Position.File)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, failed(fmt.Errorf("read %s: %w", file, err))
	}
	return editText(path, file, data, c, s, n)
}

// editText is editSource of a file that holds data.
func editText(path, file string, data []byte, c *config.Config, s *config.Source, n newSource) (_ *edit, err error) {
	e := &edit{file: file, old: data}
	text, err := yamledit.Parse(e.old)
	if err == nil {
		err = e.change(text, c, s, n)
	}
	if err == nil {
		e.new, err = text.Bytes()
	}
	byHand := func(err error) error {
		return fmt.Errorf("%s: source %s cannot be changed in place: %w; write type: exchange, mailbox and credentials there yourself", s.Position, s.Name, err)
	}
	if err != nil {
		return nil, failed(byHand(err))
	}
	e.config, err = config.LoadEdited(path, configDrivers(), map[string][]byte{file: e.new})
	if err != nil {
		return nil, usage("source %s would not be valid on Exchange Online, where the file is as it would be:\n%w", s.Name, err)
	}
	if err := e.check(c, s, n); err != nil {
		return nil, failed(byHand(err))
	}
	return e, nil
}

// change notes the changes of the text.
func (e *edit) change(text *yamledit.Text, c *config.Config, s *config.Source, n newSource) error {
	m, err := text.Mapping(s.Position.Line, s.Position.Column)
	if err != nil {
		return err
	}
	spans := m.Shown(hiding(c))
	set := func(key, after, value string) error {
		if m.Has(key) {
			return m.Set(key, value)
		}
		return m.Insert(after, key, value)
	}
	mailbox := n.mailbox
	if !plainAddress.MatchString(mailbox) {
		mailbox = sources.YAML(mailbox)
	}
	errs := []error{set("type", "name", "exchange"), set("credentials", "name", sources.YAML(n.credentials))}
	if m.Has("mailbox") {
		errs = append(errs, m.Set("mailbox", mailbox))
	} else {
		after := "credentials"
		if !m.Has(after) { // it comes from the defaults
			after = "name"
		}
		errs = append(errs, m.Insert(after, "mailbox", mailbox))
	}
	for _, key := range folderKeys() {
		if !m.Has(key) {
			continue
		}
		for i, value := range folderValues(s, key) {
			mapped, ok := n.folders[key][value]
			switch {
			case !ok || mapped == value:
			case key == "folders" || key == "exclude_folders":
				errs = append(errs, m.SetItem(key, i, sources.YAML(escaped(mapped))))
			default:
				errs = append(errs, m.Set(key, sources.YAML(escaped(mapped))))
			}
		}
	}
	errs = append(errs, m.Remove(foreignKeys(s.Type)...))
	if c.Credentials[n.credentials] == nil {
		errs = append(errs, e.addCredentials(text, n.credentials))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	e.diff, err = text.Diff(e.file, spans)
	return err
}

// plainAddress matches an address that is YAML text as it stands.
var plainAddress = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*@[A-Za-z0-9.-]*[A-Za-z0-9]$`)

// escaped returns the value with what would be a reference written out.
func escaped(value string) string { return strings.ReplaceAll(value, "${", "$${") }

// folderKeys are the keys of a source that name folders.
func folderKeys() []string {
	return []string{"folders", "exclude_folders", "filed_folder", "failed_folder"}
}

// folderValues are those of a key of folderKeys, as the source's driver has them.
func folderValues(s *config.Source, key string) []string {
	value := optionOf(s.Options, key)
	switch {
	case !value.IsValid():
		return nil
	case value.Kind() == reflect.String:
		if value.String() == "" {
			return nil
		}
		return []string{value.String()}
	}
	return value.Interface().([]string)
}

// optionOf returns the field of a driver's options that has the key; the zero Value
// if none has.
func optionOf(options any, key string) reflect.Value {
	v := reflect.ValueOf(options).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == key {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

// foreignKeys are the keys of the options of a type that those of Exchange Online
// do not have.
func foreignKeys(typ string) []string {
	var keys []string
	there := drivers()["exchange"].options()
	old := reflect.TypeOf(drivers()[typ].options()).Elem()
	for i := range old.NumField() {
		if key := old.Field(i).Tag.Get("yaml"); key != "" && !optionOf(there, key).IsValid() {
			keys = append(keys, key)
		}
	}
	return keys
}

// credentialVariables are the environment variables from which credentials are taken
// that the configuration does not have, by key.
func credentialVariables(name string) [][2]string {
	upper := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
	if upper == "" || upper[0] >= '0' && upper[0] <= '9' {
		upper = "_" + upper
	}
	return [][2]string{{"tenant_id", upper + "_TENANT_ID"}, {"client_id", upper + "_CLIENT_ID"}, {"client_secret", upper + "_SECRET"}}
}

// addCredentials adds credentials that refer to the environment.
func (e *edit) addCredentials(text *yamledit.Text, name string) error {
	root, err := text.Root()
	if err != nil {
		return err
	}
	item := []yamledit.Pair{{Key: "name", Value: sources.YAML(name)}, {Key: "type", Value: "entra"}}
	for _, v := range credentialVariables(name) {
		e.added = append(e.added, v[1])
		item = append(item, yamledit.Pair{Key: v[0], Value: `"${env:` + v[1] + `}"`})
	}
	if root.Has("credentials") {
		return root.AppendTo("credentials", item)
	}
	return root.InsertList("sources", "credentials", item)
}

var (
	// secretKey matches a key whose value is a secret.
	secretKey = regexp.MustCompile(`(?i)(password|secret|ledger|proxy)$`)
	// secretNote matches a comment that may have such a key.
	secretNote = regexp.MustCompile(`(?i)(password|secret|ledger|proxy)["']?\s*[:=]`)
	// reference matches a value that is one reference and nothing else.
	reference = regexp.MustCompile(`^\$\{(env|file|secret):[^${}]*\}$`)
)

// longSecret is the size in bytes from which a secret is told within other text.
const longSecret = 6

// hiding returns what hides, of a source that is shown, the secrets of configurations
// and what stands where secrets do.
func hiding(all ...*config.Config) func(key, text string) bool {
	known := make(map[string]bool)
	for _, c := range all {
		gather(reflect.ValueOf(c), known)
	}
	return func(key, text string) bool {
		for s := range known {
			if text == s || len(s) >= longSecret && strings.Contains(text, s) {
				return true
			}
		}
		if key == "" {
			return secretNote.MatchString(text)
		}
		return secretKey.MatchString(key) && !reference.MatchString(text)
	}
}

// gather notes the secrets that a value of a configuration holds.
func gather(v reflect.Value, known map[string]bool) {
	if !v.IsValid() {
		return
	}
	if v.CanInterface() {
		if s, ok := v.Interface().(secret.Value); ok {
			if !s.Empty() {
				known[s.Reveal()] = true
			}
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		gather(v.Elem(), known)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				gather(v.Field(i), known)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			gather(v.Index(i), known)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			gather(v.MapIndex(key), known)
		}
	}
}

// checkOthers makes sure that the configuration differs in the source alone.
func (e *edit) checkOthers(c *config.Config, s *config.Source) error {
	if len(e.config.Sources) != len(c.Sources) {
		return errors.New("other sources would be read")
	}
	for i, old := range c.Sources {
		was, is := *old, *e.config.Sources[i]
		was.Entra, is.Entra = "", "" // what is advised
		if old != s && !same(reflect.ValueOf(was), reflect.ValueOf(is)) {
			return fmt.Errorf("source %s would change too", old.Name)
		}
	}
	for name, old := range c.Credentials {
		if !same(reflect.ValueOf(old), reflect.ValueOf(e.config.Credentials[name])) {
			return fmt.Errorf("credentials %s would change too", name)
		}
	}
	rest := func(c *config.Config) reflect.Value {
		settings := *c
		settings.Credentials, settings.Sources, settings.Warnings = nil, nil, nil
		return reflect.ValueOf(settings)
	}
	if !same(rest(c), rest(e.config)) {
		return errors.New("other settings would change too")
	}
	return nil
}

// check makes sure that the configuration differs in the source alone, and in that
// as it is to.
func (e *edit) check(c *config.Config, s *config.Source, n newSource) error {
	if err := e.checkOthers(c, s); err != nil {
		return err
	}
	got := *e.source(s.Name)
	switch {
	case got.Type != "exchange", got.Mailbox != n.mailbox, got.Credentials == nil, got.Credentials.Name != n.credentials:
		return errors.New("it would not say what it is to")
	}
	for _, key := range folderKeys() {
		want := slices.Clone(folderValues(s, key))
		for i, value := range want {
			if mapped, ok := n.folders[key][value]; ok {
				want[i] = mapped
			}
		}
		if have := folderValues(&got, key); optionOf(s.Options, key).IsValid() && !slices.Equal(have, want) {
			return fmt.Errorf("%s would not be what it is to", key)
		}
	}
	old := *s
	got.Type, got.Mailbox, got.Credentials, got.Options = old.Type, old.Mailbox, old.Credentials, old.Options
	got.Entra = old.Entra // what is advised
	if !same(reflect.ValueOf(old), reflect.ValueOf(got)) {
		return errors.New("other keys of it would change too")
	}
	return nil
}

// same reports whether two values of a configuration mean the same: positions do
// not count.
func same(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() {
		return false
	}
	if !a.IsValid() {
		return true
	}
	if a.Type() != b.Type() {
		return false
	}
	if a.CanInterface() {
		switch x := a.Interface().(type) {
		case config.Position:
			return true
		case secret.Value:
			return x.Reveal() == b.Interface().(secret.Value).Reveal()
		case time.Time:
			return x.Equal(b.Interface().(time.Time))
		case *regexp.Regexp:
			y := b.Interface().(*regexp.Regexp)
			return x == nil && y == nil || x != nil && y != nil && x.String() == y.String()
		}
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).IsExported() && !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, key := range a.MapKeys() {
			if !same(a.MapIndex(key), b.MapIndex(key)) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}
