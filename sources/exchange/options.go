package exchange

import "postroom/sources"

// Options are the keys of a source of type exchange in the configuration.
type Options struct {
	Folders        []string `yaml:"folders" default:"Inbox" kind:"pattern" doc:"Folders to read. * matches within one level, X/** everything below X."`
	ExcludeFolders []string `yaml:"exclude_folders" kind:"pattern" doc:"Folders to leave out, each with all below it."`
	FiledFolder    string   `yaml:"filed_folder" kind:"folder" doc:"Folder that filed messages are moved to, with after_filing: move. Created when missing, never read."`
	FailedFolder   string   `yaml:"failed_folder" kind:"folder" doc:"Folder that quarantined messages are moved to. Created when missing, never read."`
}

// CheckOptions implements [sources.Checker].
func (o *Options) CheckOptions() []sources.Problem {
	return sources.CheckFolders(o.Folders, o.ExcludeFolders, o.FiledFolder, o.FailedFolder)
}

// selection returns which folders are read.
func (o *Options) selection() (sources.Selection, error) {
	var s sources.Selection
	folders := o.Folders
	if len(folders) == 0 {
		folders = []string{sources.Inbox}
	}
	for _, part := range []struct {
		texts []string
		to    *[]sources.Pattern
	}{{folders, &s.Include}, {o.ExcludeFolders, &s.Exclude}} {
		for _, text := range part.texts {
			pattern, err := sources.ParsePattern(text)
			if err != nil {
				return s, err
			}
			*part.to = append(*part.to, pattern)
		}
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
