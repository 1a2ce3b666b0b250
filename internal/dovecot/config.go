package dovecot

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mailUser owns the mailboxes when Dovecot runs as root; it refuses to serve
// mail as root.
const mailUser = "nobody"

// config returns the text of dovecot.conf.
func (s *Server) config() string {
	var b strings.Builder
	set := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s = %s\n", key, value)
		}
	}
	set("base_dir", filepath.Join(s.dir, "run"))
	set("state_dir", filepath.Join(s.dir, "state"))
	set("log_path", s.logPath())
	set("protocols", "imap pop3")
	set("listen", "127.0.0.1")
	set("ssl", "yes")
	set("ssl_cert", "<"+filepath.Join(s.dir, "cert.pem"))
	set("ssl_key", "<"+filepath.Join(s.dir, "key.pem"))
	set("ssl_min_protocol", s.options.MinTLS)
	set("ssl_cipher_list", s.options.Ciphers)
	set("ssl_dh", "")
	set("disable_plaintext_auth", "no")
	set("mail_location", "maildir:"+filepath.Join(s.dir, "mail", "%u"))
	set("mail_home", filepath.Join(s.dir, "home", "%u"))
	set("mail_fsync", "never")
	set("mail_max_userip_connections", "100")
	set("imap_capability", s.options.Capability)
	if mechanisms := s.options.Mechanisms; mechanisms != "" {
		set("auth_mechanisms", mechanisms)
	} else if s.tokens != nil {
		set("auth_mechanisms", "plain login xoauth2 oauthbearer")
	}
	set("auth_failure_delay", "0")
	if os.Getuid() == 0 {
		set("mail_uid", mailUser)
		set("mail_gid", "nogroup")
		set("first_valid_uid", "1")
		set("first_valid_gid", "1")
	} else {
		set("default_internal_user", fmt.Sprint(os.Getuid()))
		set("default_login_user", fmt.Sprint(os.Getuid()))
		set("default_internal_group", fmt.Sprint(os.Getgid()))
	}
	b.WriteString("namespace inbox {\n  inbox = yes\n")
	fmt.Fprintf(&b, "  separator = %s\n", s.options.Separator)
	if s.options.Prefix != "" {
		fmt.Fprintf(&b, "  prefix = %s\n", s.options.Prefix)
	}
	var folders []string
	for folder := range s.options.SpecialUse {
		folders = append(folders, folder)
	}
	slices.Sort(folders)
	for _, folder := range folders {
		fmt.Fprintf(&b, "  mailbox \"%s\" {\n    special_use = %s\n    auto = create\n  }\n", folder, s.options.SpecialUse[folder])
	}
	b.WriteString("}\n")
	if s.tokens != nil {
		fmt.Fprintf(&b, "passdb {\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = %s\n}\n", filepath.Join(s.dir, "oauth2.conf"))
	}
	fmt.Fprintf(&b, "passdb {\n  driver = passwd-file\n  args = scheme=PLAIN username_format=%%u %s\n}\n", filepath.Join(s.dir, "users"))
	fmt.Fprintf(&b, "userdb {\n  driver = static\n  args = home=%s\n}\n", filepath.Join(s.dir, "home", "%u"))
	listener := func(service, name string, port int, tls bool) {
		fmt.Fprintf(&b, "  inet_listener %s {\n    port = %d\n    ssl = %s\n  }\n", name, port, yesNo(tls))
	}
	for _, login := range []struct {
		service    string
		plain, tls int
	}{{"imap", s.ports.imap, s.ports.imaps}, {"pop3", s.ports.pop3, s.ports.pop3s}} {
		fmt.Fprintf(&b, "service %s-login {\n", login.service)
		if os.Getuid() != 0 {
			b.WriteString("  chroot =\n")
		}
		listener(login.service, login.service, login.plain, false)
		listener(login.service, login.service+"s", login.tls, true)
		b.WriteString("}\n")
	}
	// Without this a refused password delays every later sign-in of the machine.
	b.WriteString("service anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n")
	if os.Getuid() != 0 {
		b.WriteString("  chroot =\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
