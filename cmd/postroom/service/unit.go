package service

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// stateDirectory is what systemd makes of StateDirectory=postroom.
const stateDirectory = "/var/lib/postroom"

// UnitOptions says what the systemd service is to run. All paths are absolute.
type UnitOptions struct {
	Binary string
	Config string
	// User is the user that the service runs as. If empty, systemd allots one
	// that exists only while the service runs; then every path in Writable must
	// be in /var/lib/postroom, the only place such a user owns.
	User string
	// Writable are the directories that the service writes to: those of the
	// repository, the state, the spool and the log.
	Writable []string
}

// Unit returns the text of a systemd service unit, for systemd 247 and newer.
func Unit(o UnitOptions) (string, error) {
	for _, p := range append([]string{o.Binary, o.Config}, o.Writable...) {
		if err := checkPath(p); err != nil {
			return "", fmt.Errorf("write systemd unit: path %q %w", p, err)
		}
	}
	if strings.ContainsAny(o.Binary, "\"'\\") {
		return "", fmt.Errorf("write systemd unit: path %q has a quote or backslash, which systemd refuses in a command", o.Binary)
	}
	if err := checkUser(o.User); err != nil {
		return "", fmt.Errorf("write systemd unit: user %q %w", o.User, err)
	}

	v := unitValues{User: o.User, PrivateTmp: true}
	v.ExecStart = strings.Join([]string{
		quote(o.Binary), // systemd expands no variables in the command itself
		"service", "run", "--config",
		quoteArgument(o.Config),
	}, " ")
	for _, p := range o.Writable {
		p = path.Clean(p)
		if within(p, stateDirectory) {
			continue
		}
		if o.User == "" {
			return "", fmt.Errorf("write systemd unit: %s is outside %s: name the user who owns it", p, stateDirectory)
		}
		if within(p, "/tmp") || within(p, "/var/tmp") {
			v.PrivateTmp = false
		}
		if slices.Contains(v.Mounts, quote(p)) {
			continue
		}
		v.Writable = append(v.Writable, quote("-"+p))
		v.Mounts = append(v.Mounts, quote(p))
	}

	return v.unit(), nil
}

type unitValues struct {
	ExecStart  string
	User       string
	PrivateTmp bool
	Writable   []string // quoted; "-": of a directory that is missing postroom speaks itself, see Missing
	Mounts     []string // quoted
}

// unit returns the text. It does without text/template, which calls methods by
// name: the linker would keep every method there is, those of the Graph SDK as well,
// and the program be twice as large.
//
// The exit statuses that a new try would only repeat are 2, wrong usage or
// configuration, and 78, EX_CONFIG.
func (v *unitValues) unit() string {
	lines := func(key string, values []string) string {
		var b strings.Builder
		for _, value := range values {
			b.WriteString(key + "=" + value + "\n")
		}
		return b.String()
	}
	user, privateTmp := "DynamicUser=yes", "no"
	if v.User != "" {
		user = "User=" + v.User
	}
	if v.PrivateTmp {
		privateTmp = "yes"
	}
	return `[Unit]
Description=postroom: files mail from mailboxes as documents
Wants=network-online.target
After=network-online.target
` + lines("RequiresMountsFor", v.Mounts) + `
[Service]
Type=notify
ExecStart=` + v.ExecStart + `
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 78
WatchdogSec=60
TimeoutStopSec=20
` + user + `
StateDirectory=postroom
StateDirectoryMode=0700
UMask=0077

ProtectSystem=strict
` + lines("ReadWritePaths", v.Writable) + `ProtectHome=read-only
PrivateTmp=` + privateTmp + `
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
CapabilityBoundingSet=
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`
}

// within reports whether the clean path p is dir or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func checkPath(p string) error {
	if !path.IsAbs(p) {
		return errors.New("is not absolute")
	}
	if strings.ContainsFunc(p, isControl) {
		return errors.New("contains a control character")
	}
	if !utf8.ValidString(p) {
		return errors.New("is not UTF-8")
	}
	return nil
}

// userName matches the names that systemd takes (sysusers.d(5)), and those of
// directories, such as user@example.com. An id will do too.
var userName = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.@-]*\$?|[0-9]+)$`)

func checkUser(name string) error {
	if name != "" && !userName.MatchString(name) {
		return errors.New("is no user name; allowed: letters, digits, _ . @ and -, beginning with a letter or _, or a number")
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// quoteArgument writes s as one argument of a command, in which systemd expands
// variables.
func quoteArgument(s string) string { return strings.ReplaceAll(quote(s), "$", "$$") }

// quote writes s as one word of a unit file (systemd.syntax(7), "Quoting") and
// protects it from the expansion of specifiers.
func quote(s string) string {
	s = strings.ReplaceAll(s, "%", "%%")
	if !strings.ContainsAny(s, " \"'\\;") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
