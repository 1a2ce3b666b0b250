package service

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A unit is a parsed unit file: the values of "Section.Key" in order.
type unit map[string][]string

func parseUnit(t *testing.T, text string) unit {
	t.Helper()
	u := unit{}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch key, value, ok := strings.Cut(line, "="); {
		case line == "":
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = line[1 : len(line)-1]
		case ok && section != "":
			u[section+"."+key] = append(u[section+"."+key], value)
		default:
			t.Fatalf("not a line of a unit: %q", line)
		}
	}
	return u
}

// words reads a value as systemd does: words, quotes, backslashes, specifiers.
func words(t *testing.T, value string) []string {
	t.Helper()
	var all []string
	var word strings.Builder
	begun, quoted := false, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted:
			if begun {
				all = append(all, word.String())
			}
			word.Reset()
			begun = false
		case c == '\\' || c == '%':
			i++
			if i == len(value) || c == '%' && value[i] != '%' || c == '\\' && !strings.ContainsRune(`\"`, rune(value[i])) {
				t.Fatalf("bad escape in %q", value)
			}
			word.WriteByte(value[i])
		default:
			begun = true
			word.WriteByte(c)
		}
	}
	if quoted {
		t.Fatalf("quote does not end: %q", value)
	}
	if begun {
		all = append(all, word.String())
	}
	return all
}

func TestUnit(t *testing.T) {
	text, err := Unit(UnitOptions{
		Binary:   "/usr/bin/postroom",
		Config:   "/etc/postroom/config.yaml",
		User:     "postroom",
		Writable: []string{"/srv/documents", "/var/lib/postroom", "/var/lib/postroom/spool/", "/srv/state", "/srv/state", "/srv/state/"},
	})
	if err != nil {
		t.Fatal(err)
	}
	u := parseUnit(t, text)
	for key, want := range map[string][]string{
		"Unit.RequiresMountsFor":           {"/srv/documents", "/srv/state"},
		"Service.Type":                     {"notify"},
		"Service.ExecStart":                {"/usr/bin/postroom service run --config /etc/postroom/config.yaml"},
		"Service.ExecReload":               {"/bin/kill -HUP $MAINPID"},
		"Service.Restart":                  {"on-failure"},
		"Service.RestartPreventExitStatus": {"2 78"},
		"Service.WatchdogSec":              {"60"},
		"Service.TimeoutStopSec":           {"20"},
		"Service.User":                     {"postroom"},
		"Service.DynamicUser":              nil,
		"Service.StateDirectory":           {"postroom"},
		"Service.ProtectSystem":            {"strict"},
		"Service.ReadWritePaths":           {"-/srv/documents", "-/srv/state"},
		"Service.PrivateTmp":               {"yes"},
		"Service.NoNewPrivileges":          {"yes"},
		"Service.CapabilityBoundingSet":    {""},
		"Install.WantedBy":                 {"multi-user.target"},
	} {
		if !slices.Equal(u[key], want) {
			t.Errorf("%s is %q, want %q", key, u[key], want)
		}
	}
}

func TestUnitWithoutUser(t *testing.T) {
	o := UnitOptions{Binary: "/b", Config: "/c", Writable: []string{"/var/lib/postroom/documents"}}
	text, err := Unit(o)
	if err != nil {
		t.Fatal(err)
	}
	u := parseUnit(t, text)
	if !slices.Equal(u["Service.DynamicUser"], []string{"yes"}) || u["Service.User"] != nil || u["Service.ReadWritePaths"] != nil {
		t.Errorf("unit:\n%s", text)
	}

	o.Writable = append(o.Writable, "/var/lib/postroom-documents")
	if _, err := Unit(o); err == nil || !strings.Contains(err.Error(), "name the user") {
		t.Errorf("a directory outside: error %v, want one that asks for the user", err)
	}
}

func TestUnitThatWritesToTmp(t *testing.T) {
	text, err := Unit(UnitOptions{Binary: "/b", Config: "/c", User: "u", Writable: []string{"/tmp/spool"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := parseUnit(t, text)["Service.PrivateTmp"]; !slices.Equal(got, []string{"no"}) {
		t.Errorf("PrivateTmp %q would hide the spool", got)
	}
}

func TestUnitRefuses(t *testing.T) {
	good := UnitOptions{Binary: "/b", Config: "/c", User: "u"}
	for _, tt := range []struct {
		name   string
		change func(*UnitOptions)
		want   string
	}{
		{"relative binary", func(o *UnitOptions) { o.Binary = "postroom" }, "not absolute"},
		{"relative configuration", func(o *UnitOptions) { o.Config = "./c" }, "not absolute"},
		{"relative directory", func(o *UnitOptions) { o.Writable = []string{""} }, "not absolute"},
		{"second line", func(o *UnitOptions) { o.Config = "/c\nUser=root" }, "control character"},
		{"bytes that are no text", func(o *UnitOptions) { o.Config = "/c\xff" }, "not UTF-8"},
		{"binary that systemd refuses", func(o *UnitOptions) { o.Binary = `/it's` }, "quote"},
		{"user of two lines", func(o *UnitOptions) { o.User = "u\nType=oneshot" }, "no user name"},
		{"user with a command", func(o *UnitOptions) { o.User = "root;x" }, "no user name"},
		{"user that begins with a dash", func(o *UnitOptions) { o.User = "-x" }, "no user name"},
		{"two users", func(o *UnitOptions) { o.User = "a b" }, "no user name"},
		{"user with specifier", func(o *UnitOptions) { o.User = "%u" }, "no user name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := good
			tt.change(&o)
			if _, err := Unit(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that contains %q", err, tt.want)
			}
		})
	}
}

const (
	// hostile is a path of everything that means something in a unit.
	hostile = `/a b/50%/it's "quoted"/back\slash\/; $HOME/ü`
	// awkward is one of everything that a command may have.
	awkward = `/a b/50%/; $HOME/ü`
)

func TestUnitQuotes(t *testing.T) {
	text, err := Unit(UnitOptions{Binary: awkward, Config: hostile, User: "u", Writable: []string{hostile}})
	if err != nil {
		t.Fatal(err)
	}
	u := parseUnit(t, text)
	// Variables are expanded in arguments, not in the command: there alone "$$"
	// stands for "$".
	command := words(t, u["Service.ExecStart"][0])
	want := []string{awkward, "service", "run", "--config", strings.ReplaceAll(hostile, "$", "$$")}
	if !slices.Equal(command, want) {
		t.Errorf("command\n%q, want\n%q", command, want)
	}
	if got := words(t, u["Service.ReadWritePaths"][0]); !slices.Equal(got, []string{"-" + hostile}) {
		t.Errorf("writable %q", got)
	}
	if got := words(t, u["Unit.RequiresMountsFor"][0]); !slices.Equal(got, []string{hostile}) {
		t.Errorf("mounts %q", got)
	}
}

// TestSystemdAcceptsTheUnit asks systemd itself, on machines that have it; the
// tests above hold everywhere.
func TestSystemdAcceptsTheUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Logf("not asked: %v", err)
		return
	}
	dir := filepath.Join(t.TempDir(), awkward)
	binary, file := filepath.Join(dir, "postroom"), filepath.Join(dir, "postroom.service")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, []byte("#!/bin/true\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"daemon", ""} {
		o := UnitOptions{Binary: binary, Config: hostile, User: user}
		if user != "" {
			o.Writable = []string{hostile}
		}
		text, err := Unit(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		// A fault of this very unit is reported with the path of its file.
		out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
		if err != nil || strings.Contains(string(out), file) || strings.Contains(string(out), "postroom.service") {
			t.Errorf("systemd-analyze verify: %v\n%s\nunit:\n%s", err, out, text)
		}
	}
}
