package imap

import (
	"fmt"

	"postroom/internal/mailhost"
	"postroom/sources"
)

// protocol is IMAP (RFC 9051), with TLS from the first byte as in RFC 8314 3.2.
var protocol = mailhost.Protocol{Name: "IMAP", TLSPort: "993", Port: "143"}

// Options are the keys of a source of type imap in the configuration.
type Options struct {
	Server         string   `yaml:"server" required:"true" kind:"hostport" doc:"Host name of the IMAP server, with :PORT unless it is 993 (tls: implicit) or 143."`
	TLS            string   `yaml:"tls" default:"implicit" enum:"implicit,starttls,none" doc:"How the connection is encrypted: TLS from the first byte, the STARTTLS command, or not at all."`
	AllowPlaintext bool     `yaml:"allow_plaintext" doc:"Permits tls: none, which sends the password and the mail readable by anyone on the way."`
	CAFile         string   `yaml:"ca_file" kind:"certificates" doc:"File of PEM certificates trusted besides those of the system."`
	Folders        []string `yaml:"folders" default:"Inbox" kind:"pattern" doc:"Folders to read. * matches within one level, X/** everything below X."`
	ExcludeFolders []string `yaml:"exclude_folders" kind:"pattern" doc:"Folders to leave out, each with all below it."`
	FiledFolder    string   `yaml:"filed_folder" kind:"folder" doc:"Folder that filed messages are moved to, with after_filing: move. Created when missing, never read."`
	FailedFolder   string   `yaml:"failed_folder" kind:"folder" doc:"Folder that quarantined messages are moved to. Created when missing, never read."`
	Watch          bool     `yaml:"watch" doc:"Files mail of the first folder as it arrives (IMAP IDLE); the other folders are polled."`
	Connections    int      `yaml:"connections" default:"2" min:"1" max:"10" doc:"The most connections to this server at a time."`
}

var _ sources.Checker = (*Options)(nil)

// CheckOptions implements [sources.Checker].
func (o *Options) CheckOptions() []sources.Problem {
	var problems []sources.Problem
	add := func(key, format string, args ...any) {
		problems = append(problems, sources.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	if _, _, err := protocol.Address(o.Server, o.TLS); err != nil {
		add("server", "%v", err)
	}
	if o.TLS == mailhost.None && !o.AllowPlaintext {
		add("tls", "tls: none sends the password unencrypted; use implicit or starttls, or permit it with allow_plaintext: true")
	}
	return append(problems, sources.CheckFolders(o.Folders, o.ExcludeFolders, o.FiledFolder, o.FailedFolder)...)
}

// selection returns which folders are read.
func (o *Options) selection() (sources.Selection, error) {
	var s sources.Selection
	folders := o.Folders
	if len(folders) == 0 {
		folders = []string{sources.Inbox}
	}
	for _, text := range folders {
		pattern, err := sources.ParsePattern(text)
		if err != nil {
			return s, err
		}
		s.Include = append(s.Include, pattern)
	}
	for _, text := range o.ExcludeFolders {
		pattern, err := sources.ParsePattern(text)
		if err != nil {
			return s, err
		}
		s.Exclude = append(s.Exclude, pattern)
	}
	for _, text := range []string{o.FiledFolder, o.FailedFolder} {
		if text == "" {
			continue
		}
		path, err := sources.ParsePath(text)
		if err != nil {
			return s, err
		}
		s.Never = append(s.Never, path)
	}
	return s, nil
}
