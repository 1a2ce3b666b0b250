package config

import "postroom/sources"

// laterDrivers are the types of source whose keys are known although their
// drivers are not built yet. A driver of the same type takes the place of the
// one here.
func laterDrivers() []Driver {
	return []Driver{
		{"gmail", func() any { return new(gmailOptions) }},
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

func checkPlaintext(tls string, allowed bool) []sources.Problem {
	if tls != "none" || allowed {
		return nil
	}
	return []sources.Problem{{Key: "tls", Message: "tls: none sends the password unencrypted; use implicit or starttls, or permit it with allow_plaintext: true"}}
}
