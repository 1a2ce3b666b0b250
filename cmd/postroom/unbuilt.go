package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// unbuilt is a command that is not built yet, or a flag of one that is.
type unbuilt struct {
	command, flag string
}

// notBuilt is what commands do not do yet: commands, and flags of those that
// there are. None of it is in the help.
func notBuilt() []unbuilt {
	return []unbuilt{
		{command: "convert"},
		{command: "refile"},
		{command: "migrate"},
		{command: "secret"},
		{command: "sign-in"},
		{command: "status"},
		{command: "run", flag: "dry-run"},
	}
}

// addNotBuilt makes the commands say so of what is not built.
func addNotBuilt(root *cobra.Command) {
	for _, part := range notBuilt() {
		if part.flag == "" {
			root.AddCommand(&cobra.Command{
				Use: part.command, Hidden: true, DisableFlagParsing: true,
				RunE: func(cmd *cobra.Command, _ []string) error { return usage("%s: not built yet", cmd.Name()) },
			})
			continue
		}
		for _, cmd := range root.Commands() {
			if cmd.Name() != part.command {
				continue
			}
			run := cmd.RunE
			cmd.Flags().Bool(part.flag, false, "")
			cmd.Flags().Lookup(part.flag).Hidden = true
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if cmd.Flags().Changed(part.flag) {
					return usage("%s --%s: not built yet", strings.TrimPrefix(cmd.CommandPath(), root.Name()+" "), part.flag)
				}
				return run(cmd, args)
			}
		}
	}
}
