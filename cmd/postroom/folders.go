package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/sources"
)

func newFolders() *cobra.Command {
	var name string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "folders --source NAME", Short: "The folder tree of a mailbox, as it is to be written in the configuration", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usage("folders needs --source NAME")
			}
			return folders(cmd, name, asJSON)
		},
	}
	cmd.Flags().StringVar(&name, "source", "", "the source of this `NAME`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// folderLine is one folder of a mailbox.
type folderLine struct {
	Path     string `json:"path"`
	Messages *int   `json:"messages,omitempty"`
	Use      string `json:"use,omitempty"`
	Read     bool   `json:"read"` // by the configuration as it is
	NoMail   bool   `json:"no_mail,omitempty"`
	// Problem says why no configuration can name the folder.
	Problem string `json:"problem,omitempty"`
}

func folders(cmd *cobra.Command, name string, asJSON bool) error {
	_, c, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	of, err := chosen(c, []string{name})
	if err != nil {
		return err
	}
	lines, err := folderLines(cmd.Context(), of[0])
	if err != nil {
		return failed(explained(err))
	}
	if asJSON {
		return failed(printJSON(cmd.OutOrStdout(), map[string]any{"source": name, "folders": emptyNotNull(lines)}))
	}
	tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FOLDER\tMESSAGES\tUSE\tREAD")
	for _, f := range lines {
		messages, read := "", ""
		if f.Messages != nil {
			messages = fmt.Sprint(*f.Messages)
		}
		if f.Read {
			read = "yes"
		}
		path := sources.YAML(f.Path)
		if f.Problem != "" {
			path, read = "# "+printable(f.Path, 500), "cannot be named: "+printable(f.Problem, 200)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", path, messages, f.Use, read)
	}
	return failed(tw.Flush())
}

func folderLines(ctx context.Context, s *config.Source) (lines []folderLine, err error) {
	src, err := drivers()[s.Type].open(s, zap.NewNop())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	lister, ok := src.(sources.Lister)
	if !ok {
		return nil, fmt.Errorf("source %s: a mailbox of type %s has no folders", s.Name, s.Type)
	}
	tree, err := lister.Tree(ctx)
	if err != nil {
		return nil, err
	}
	// What cannot be resolved is for check to say; here it only is not read.
	chosen, _ := src.Folders(ctx)
	read := make(map[string]bool)
	for _, f := range chosen {
		read[f.ID] = true
	}
	for _, f := range tree {
		l := folderLine{Path: f.Path, Use: f.Use, Read: read[f.ID], NoMail: !f.Selectable}
		if path, err := sources.InConfiguration(f.Path); err != nil {
			l.Problem = err.Error()
		} else {
			l.Path = path
		}
		if f.Messages >= 0 && f.Selectable {
			l.Messages = &f.Messages
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// explained adds the remedy to an error.
func explained(err error) error {
	if r := sources.RemedyOf(err); r != "" {
		return fmt.Errorf("%w\n  what to do: %s", err, r)
	}
	return err
}
