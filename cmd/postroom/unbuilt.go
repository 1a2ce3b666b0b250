package main

import "github.com/spf13/cobra"

// notBuilt returns the commands that are not built yet. None of them is in the
// help.
func notBuilt() []string {
	return []string{"status"}
}

// addNotBuilt makes the commands say so that are not built.
func addNotBuilt(root *cobra.Command) {
	for _, name := range notBuilt() {
		root.AddCommand(&cobra.Command{
			Use: name, Hidden: true, DisableFlagParsing: true,
			RunE: func(cmd *cobra.Command, _ []string) error { return usage("%s: not built yet", cmd.Name()) },
		})
	}
}
