package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"postroom/cmd/postroom/config"
)

// settings are those of the process: where the configuration is and how to
// log. Each is taken from its flag, else from the environment
// (POSTROOM_CONFIG, POSTROOM_LOG_LEVEL, …), else from the configuration file.
type settings struct {
	config string
	viper  *viper.Viper
	warned bool // the warnings of the configuration were printed
}

func addSettings(flags *pflag.FlagSet) {
	flags.String("config", "", "configuration `FILE` (default ./config.yaml, then "+systemConfig()+")")
	flags.String("log-level", "", "debug, info, warn or error")
	flags.String("log-format", "", "text or json")
	flags.String("log-file", "", "`FILE` to log to instead of standard error")
}

// systemConfig is where a configuration is looked for last.
func systemConfig() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("ProgramData"), "postroom", "config.yaml")
	}
	return "/etc/postroom/config.yaml"
}

func readSettings(cmd *cobra.Command) (*settings, error) {
	v := viper.New()
	v.SetEnvPrefix("POSTROOM")
	v.SetEnvKeyReplacer(strings.NewReplacer(".", "_"))
	v.AutomaticEnv()
	for key, flag := range map[string]string{
		"config": "config", "log.level": "log-level", "log.format": "log-format", "log.file": "log-file",
	} {
		if err := v.BindPFlag(key, cmd.Flags().Lookup(flag)); err != nil {
			return nil, fmt.Errorf("bind --%s: %w", flag, err)
		}
	}
	s := &settings{viper: v, config: v.GetString("config")}
	if s.config != "" {
		return s, nil
	}
	v.SetConfigName("config")
	v.SetConfigType("yaml")
	v.AddConfigPath(".")
	v.AddConfigPath(filepath.Dir(systemConfig()))
	// Only the place matters here; what is wrong with the file is said, with
	// lines and columns, when it is loaded.
	err := v.ReadInConfig()
	if errors.As(err, new(viper.ConfigFileNotFoundError)) {
		return nil, usage("no configuration: there is neither ./config.yaml nor %s; write one after config.example.yaml, or name it with --config", systemConfig())
	}
	s.config = v.ConfigFileUsed()
	if rel, err := filepath.Rel(workingDir(), s.config); err == nil && !strings.HasPrefix(rel, "..") {
		s.config = rel
	}
	return s, nil
}

func workingDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return "/"
	}
	return dir
}

// load reads the configuration that the settings name, and prints its warnings.
func (s *settings) load(warnings io.Writer) (*config.Config, error) {
	return s.loadWith(config.Load, warnings)
}

func (s *settings) loadWith(load func(string, []config.Driver) (*config.Config, error), warnings io.Writer) (*config.Config, error) {
	c, err := load(s.config, configDrivers())
	if err != nil {
		var problems config.Problems
		if errors.As(err, &problems) {
			for _, p := range problems {
				fmt.Fprintln(warnings, p)
			}
			return nil, usage("%s has %s", s.config, count(len(problems), "error", "errors"))
		}
		return nil, usage("%w", err)
	}
	for _, w := range c.Warnings {
		if !s.warned {
			fmt.Fprintf(warnings, "warning: %v\n", w)
		}
	}
	s.warned = true
	return c, nil
}

// loadConfig reads the settings of a command and the configuration they name.
func loadConfig(cmd *cobra.Command) (*settings, *config.Config, error) {
	s, err := readSettings(cmd)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.load(cmd.ErrOrStderr())
	return s, c, err
}

// loadWithoutSecrets is loadConfig for a command that signs in nowhere, and so
// needs no secret to be there.
func loadWithoutSecrets(cmd *cobra.Command) (*settings, *config.Config, error) {
	s, err := readSettings(cmd)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.loadWith(config.LoadWithoutSecrets, cmd.ErrOrStderr())
	return s, c, err
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
