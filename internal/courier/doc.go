// Package courier runs a private Courier mail server, IMAP and POP3, as a second
// real peer in tests: what Dovecot does is not what every server does. The programs
// are those of Debian, which make tools unpacks, as they cannot be installed beside
// Dovecot's.
//
// Each connection is a process of its own. They are started here, as inetd does,
// so that nothing of them is left at the end, and their passwords are checked
// here: the daemon that Courier has for that listens at one place of the machine.
package courier
