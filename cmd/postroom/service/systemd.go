package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"postroom/internal/durable"
)

// unitName is the service under systemd.
const unitName = "postroom.service"

var (
	// ErrNoManager: this machine runs no service manager that postroom knows.
	ErrNoManager = errors.New("this machine does not run systemd")
	// ErrNotInstalled: the service manager has no service for the configuration.
	ErrNotInstalled = errors.New("the service is not installed")
)

// Systemd is the service manager of this machine (systemctl(1)). Its methods
// are for the service of one configuration; a unit that runs another is left
// alone, with an error that wraps ErrNotInstalled.
type Systemd struct {
	// units is the folder of the administrator's units (systemd.unit(5)).
	units string
	run   func(ctx context.Context, args ...string) (string, error)
}

// FindSystemd returns the systemd that runs this machine (sd_booted(3)), or an
// error that wraps ErrNoManager.
func FindSystemd() (*Systemd, error) {
	info, err := os.Lstat("/run/systemd/system")
	if err != nil || !info.IsDir() {
		return nil, ErrNoManager
	}
	program, err := exec.LookPath("systemctl")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoManager, err)
	}
	return &Systemd{units: "/etc/systemd/system", run: func(ctx context.Context, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, program, args...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
		}
		return string(out), nil
	}}, nil
}

func (s *Systemd) path() string { return filepath.Join(s.units, unitName) }

// Installed returns nil if there is a unit for the configuration, whose path is
// absolute.
func (s *Systemd) Installed(config string) error {
	text, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotInstalled
	}
	if err != nil {
		return fmt.Errorf("read the unit: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "ExecStart=") && strings.HasSuffix(strings.TrimSpace(line), " --config "+quoteArgument(config)) {
			return nil
		}
	}
	return fmt.Errorf("%w for this configuration: %s is for another", ErrNotInstalled, s.path())
}

// Active reports whether the service runs, starts or ends.
func (s *Systemd) Active(ctx context.Context, config string) (bool, error) {
	if err := s.Installed(config); err != nil {
		return false, err
	}
	out, err := s.run(ctx, "show", "--property=ActiveState", "--value", unitName)
	if err != nil {
		return false, err
	}
	state := strings.TrimSpace(out)
	return state != "" && state != "inactive" && state != "failed", nil
}

// Start starts the service, and returns when it is ready.
func (s *Systemd) Start(ctx context.Context, config string) error { return s.do(ctx, config, "start") }

// Stop stops the service, and returns when it has ended.
func (s *Systemd) Stop(ctx context.Context, config string) error { return s.do(ctx, config, "stop") }

func (s *Systemd) do(ctx context.Context, config, verb string) error {
	if err := s.Installed(config); err != nil {
		return err
	}
	_, err := s.run(ctx, verb, unitName)
	return err
}

// Install writes the unit, makes the folders that the service writes to, and has
// systemd start it whenever the machine starts. It does not start it now. A unit
// that is there and differs is left as it is, with an error.
func (s *Systemd) Install(ctx context.Context, o UnitOptions) error {
	text, err := Unit(o)
	if err != nil {
		return err
	}
	switch before, err := os.ReadFile(s.path()); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("read the unit: %w", err)
	case string(before) != text:
		return fmt.Errorf("%s is there and differs: remove it first (postroom service uninstall, with its configuration)", s.path())
	}
	if err := makeFolders(o); err != nil {
		return err
	}
	if err := durable.WriteFile(s.path(), strings.NewReader(text), 0o644); err != nil {
		return fmt.Errorf("write the unit: %w", err)
	}
	if _, err := s.run(ctx, "daemon-reload"); err != nil {
		return err
	}
	_, err = s.run(ctx, "enable", unitName)
	return err
}

// Uninstall stops the service and removes its unit. What it has written stays.
func (s *Systemd) Uninstall(ctx context.Context, config string) error {
	if err := s.Installed(config); err != nil {
		return err
	}
	if _, err := s.run(ctx, "disable", "--now", unitName); err != nil {
		return err
	}
	if err := os.Remove(s.path()); err != nil {
		return fmt.Errorf("remove the unit: %w", err)
	}
	_, err := s.run(ctx, "daemon-reload")
	return err
}

// Missing returns the folders outside the state directory of systemd that the
// service writes to and that are not there: with ProtectSystem=strict it cannot
// make them itself.
func Missing(o UnitOptions) []string {
	var missing []string
	for _, dir := range o.Writable {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && !within(filepath.Clean(dir), stateDirectory) {
			missing = append(missing, dir)
		}
	}
	return missing
}

// makeFolders makes the folders that are missing, for the user of the service.
// Their parents, which need not be the user's, are made for root.
func makeFolders(o UnitOptions) error {
	missing := Missing(o)
	if len(missing) == 0 {
		return nil
	}
	uid, gid, err := idsOf(o.User)
	if err != nil {
		return err
	}
	for _, dir := range missing {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return fmt.Errorf("make the folder above %s: %w", dir, err)
		}
		// One may be in another, which was just made.
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make %s: %w", dir, err)
		}
		if err := os.Lchown(dir, uid, gid); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	return nil
}

func idsOf(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		if _, notNumber := strconv.Atoi(name); notNumber == nil {
			u, err = user.LookupId(name)
		}
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look up the user of the service: %w", err)
	}
	if uid, err = strconv.Atoi(u.Uid); err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	return uid, gid, err
}
