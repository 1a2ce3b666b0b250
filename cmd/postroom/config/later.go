package config

import "postroom/sources"

// laterDrivers are the types of source whose keys are known although their
// drivers are not built yet. A driver of the same type takes the place of the
// one here.
func laterDrivers() []Driver {
	return []Driver{
		{"gmail", func() any { return new(gmailOptions) }},
		{"pop3", func() any { return new(pop3Options) }},
	}
}

type gmailOptions struct {
	Folders        []string `yaml:"folders" default:"Inbox" kind:"pattern" doc:"Labels to read. * matches within one level, X/** everything below X."`
	ExcludeFolders []string `yaml:"exclude_folders" kind:"pattern" doc:"Labels to leave out, each with all below it."`
	FiledFolder    string   `yaml:"filed_folder" kind:"folder" doc:"Label that filed messages are moved to, with after_filing: move. Created when missing, never read."`
	FailedFolder   string   `yaml:"failed_folder" kind:"folder" doc:"Label that quarantined messages are moved to. Created when missing, never read."`
}

// CheckOptions implements [sources.Checker].
func (o *gmailOptions) CheckOptions() []sources.Problem {
	return sources.CheckFolders(o.Folders, o.ExcludeFolders, o.FiledFolder, o.FailedFolder)
}

type pop3Options struct {
	Server         string `yaml:"server" required:"true" kind:"hostport" doc:"Host name of the POP3 server, with :PORT unless it is 995 (tls: implicit) or 110."`
	TLS            string `yaml:"tls" default:"implicit" enum:"implicit,starttls,none" doc:"How the connection is encrypted: TLS from the first byte, the STLS command, or not at all."`
	AllowPlaintext bool   `yaml:"allow_plaintext" doc:"Permits tls: none, which sends the password and the mail readable by anyone on the way."`
	CAFile         string `yaml:"ca_file" kind:"certificates" doc:"File of PEM certificates trusted besides those of the system."`
	Connections    int    `yaml:"connections" default:"2" min:"1" max:"10" doc:"The most connections to this server at a time."`
}

// CheckOptions implements [sources.Checker].
func (o *pop3Options) CheckOptions() []sources.Problem {
	return checkPlaintext(o.TLS, o.AllowPlaintext)
}

func checkPlaintext(tls string, allowed bool) []sources.Problem {
	if tls != "none" || allowed {
		return nil
	}
	return []sources.Problem{{Key: "tls", Message: "tls: none sends the password unencrypted; use implicit or starttls, or permit it with allow_plaintext: true"}}
}
