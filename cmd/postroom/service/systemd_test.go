package service

import (
	"context"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// fakeSystemd is a systemd that keeps what it was asked, and says that the
// service is in the state.
func fakeSystemd(t *testing.T, state string) (s *Systemd, asked *[]string) {
	t.Helper()
	asked = new([]string)
	return &Systemd{units: t.TempDir(), run: func(_ context.Context, args ...string) (string, error) {
		*asked = append(*asked, strings.Join(args, " "))
		if args[0] == "show" {
			return state + "\n", nil
		}
		return "", nil
	}}, asked
}

func TestInstall(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	s, asked := fakeSystemd(t, "active")
	dir := t.TempDir()
	config := dir + `/a b/$HOME 50%.yaml`
	o := UnitOptions{Binary: "/usr/bin/postroom", Config: config, User: me.Uid, Writable: []string{
		dir + "/x/documents", dir + "/x/state", dir + "/x/state/spool",
	}}
	for name, err := range map[string]error{
		"start": s.Start(ctx, config), "stop": s.Stop(ctx, config), "uninstall": s.Uninstall(ctx, config), "installed": s.Installed(config),
	} {
		if !errors.Is(err, ErrNotInstalled) {
			t.Errorf("%s before install: %v", name, err)
		}
	}
	if got := Missing(o); !reflect.DeepEqual(got, o.Writable) {
		t.Errorf("missing: %q", got)
	}
	if err := s.Install(ctx, o); err != nil {
		t.Fatal(err)
	}
	if got := Missing(o); got != nil {
		t.Errorf("missing after install: %q", got)
	}
	want, err := Unit(o)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(s.units, unitName)); err != nil || string(got) != want {
		t.Errorf("the unit is %v\n%s\nwant\n%s", err, got, want)
	}
	if err := s.Install(ctx, o); err != nil {
		t.Errorf("again: %v", err)
	}

	// Another configuration is not that of the service.
	other := o
	other.Config = dir + "/other.yaml"
	if err := s.Install(ctx, other); err == nil || !strings.Contains(err.Error(), "uninstall") {
		t.Errorf("over another: %v", err)
	}
	for _, config := range []string{other.Config, "/$HOME 50%.yaml", "50%.yaml"} {
		if err := errors.Join(s.Stop(ctx, config), s.Uninstall(ctx, config)); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("another configuration, %s: %v", config, err)
		}
	}
	if active, err := s.Active(ctx, config); err != nil || !active {
		t.Errorf("active: %v, %v", active, err)
	}
	if err := errors.Join(s.Start(ctx, config), s.Stop(ctx, config), s.Uninstall(ctx, config)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.units, unitName)); !os.IsNotExist(err) {
		t.Errorf("after uninstall: %v", err)
	}
	if want := []string{
		"daemon-reload", "enable postroom.service", "daemon-reload", "enable postroom.service",
		"show --property=ActiveState --value postroom.service",
		"start postroom.service", "stop postroom.service", "disable --now postroom.service", "daemon-reload",
	}; !reflect.DeepEqual(*asked, want) {
		t.Errorf("asked %q, want %q", *asked, want)
	}
}

func TestActive(t *testing.T) {
	for state, want := range map[string]bool{"active": true, "activating": true, "deactivating": true, "reloading": true, "inactive": false, "failed": false, "": false} {
		s, _ := fakeSystemd(t, state)
		o := UnitOptions{Binary: "/b", Config: "/c"}
		if err := s.Install(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Active(t.Context(), "/c"); err != nil || got != want {
			t.Errorf("%q: %v, %v", state, got, err)
		}
	}
}
