package mailhost

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"
)

// SignIn is how somebody signs in to a server with a password.
type SignIn struct {
	// Protocol is the name of the protocol.
	Protocol string
	// Host is the server as it is configured, a host name, and Greeting the line by
	// which it has greeted; either may be empty.
	Host, Greeting string
	// Source is the name of the source, and User who signs in.
	Source, User string
	// Credentials are the name of others, with which the mailbox can be opened by
	// token; it may be empty.
	Credentials string
}

// Retired is what a service has done with passwords.
type Retired struct {
	// What says what was switched off, and when.
	What string
	// Remedy says what to do.
	Remedy string
	// Always: nobody signs in with any password. Otherwise some still do.
	Always bool
}

// hosters are the services that take no password of an account any more, and where
// they are: the domains of their servers.
var hosters = []struct {
	name    hoster
	domains []string
}{
	{outlookCom, []string{"imap-mail.outlook.com", "pop-mail.outlook.com", "hotmail.com", "live.com", "msn.com"}},
	{vianet, []string{"partner.outlook.cn"}},
	{microsoft365, []string{"office365.com", "outlook.com", "outlook.office.com", "office365.us", "webmail.apps.mil"}},
	{google, []string{"gmail.com", "googlemail.com", "imap.google.com", "pop.google.com"}},
}

type hoster int

const (
	nobody hoster = iota
	microsoft365
	vianet
	outlookCom
	google
)

// personal are domains of addresses whose mailboxes are no organization's.
var personal = regexp.MustCompile(`(?i)@(outlook|hotmail|live|msn|passport|windowslive)\.[a-z.]+$`)

// Retired says what the service behind the server has done with passwords, and
// reports whether it has: the services of Microsoft and Google have, and are known by
// the name of the host, or by a greeting that is theirs alone. Exchange on premises
// greets like Exchange Online, but for the name of the server.
func (s SignIn) Retired() (Retired, bool) {
	at := hosterOf(s.Host)
	if at == nobody {
		at = greeter(s.Greeting)
	}
	if at == microsoft365 && personal.MatchString(s.User) {
		at = outlookCom
	}
	switch at {
	case microsoft365:
		return Retired{Always: true, Remedy: s.migrate(), What: fmt.Sprintf("Microsoft 365 lets nobody sign in over %s with a password, nor with an app password: "+
			"basic authentication was switched off in all tenants from 1 October 2022 on, and since January 2023 nobody can switch it on again, Microsoft's support included", s.Protocol)}, true
	case vianet:
		return Retired{Always: true, Remedy: s.migrate(), What: fmt.Sprintf("Microsoft 365 in China (21Vianet) lets nobody sign in over %s with a password, nor with an app password: "+
			"basic authentication was switched off in its tenants too", s.Protocol)}, true
	case outlookCom:
		return Retired{Always: true, What: fmt.Sprintf("Outlook.com lets nobody sign in over %s with a password, nor with an app password: "+
			"basic authentication was switched off for personal accounts (Outlook.com, Hotmail, Live, MSN) on 16 September 2024", s.Protocol),
			Remedy: "an application cannot sign in to a personal account by itself: have its mail forwarded to a mailbox of Microsoft 365, and file that one with type exchange"}, true
	case google:
		return Retired{What: fmt.Sprintf("Google lets nobody sign in over %s with the password of the account: access for less secure apps ended for personal accounts on 30 May 2022, "+
			"and for Google Workspace since; app passwords of accounts with 2-Step Verification still work", s.Protocol),
			Remedy: "turn on 2-Step Verification for the account, make an app password at https://myaccount.google.com/apppasswords " +
				"(an organization may not allow it, nor does Advanced Protection), and set it as password of the credentials; " +
				"a change of the account's password revokes it. OAuth (type gmail) is not built yet"}, true
	}
	return Retired{}, false
}

// String says all of it.
func (r Retired) String() string { return r.What + ". What to do: " + r.Remedy }

// migrate says how to leave passwords behind in Microsoft 365.
func (s SignIn) migrate() string {
	mailbox, credentials := "ADDRESS", "NAME"
	var explained []string
	if address.MatchString(s.User) {
		mailbox = s.User
	} else {
		explained = append(explained, "ADDRESS is that of the mailbox")
	}
	if s.Credentials != "" {
		credentials = shellWord(s.Credentials)
	} else {
		explained = append(explained, "NAME is that of credentials of type entra; docs/exchange-online.md says how to make them")
	}
	text := fmt.Sprintf("read the mailbox as Exchange Online: postroom migrate --source %s --mailbox %s --credentials %s", s.Source, mailbox, credentials)
	if len(explained) > 0 {
		text += " (" + strings.Join(explained, "; ") + ")"
	}
	return text
}

var (
	address  = regexp.MustCompile(`^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$`)
	plain    = regexp.MustCompile(`^[A-Za-z0-9._+@-]+$`)
	googleID = regexp.MustCompile(`^(\* OK Gimap|\+OK Gpop) ready `)
	// exchange is how Exchange greets; Exchange Online adds the name of the server, in
	// base64 of UTF-16.
	exchange = regexp.MustCompile(`^(?:\* OK|\+OK) The Microsoft Exchange (?:IMAP4|POP3) service is ready\. \[([A-Za-z0-9+/]+=*)\]`)
)

func shellWord(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// hosterOf returns whose the host is, by its name.
func hosterOf(host string) hoster {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, h := range hosters {
		for _, domain := range h.domains {
			if host == domain || strings.HasSuffix(host, "."+domain) {
				return h.name
			}
		}
	}
	return nobody
}

// greeter returns whose the greeting is.
func greeter(greeting string) hoster {
	if googleID.MatchString(greeting) {
		return google
	}
	m := exchange.FindStringSubmatch(greeting)
	if m == nil {
		return nobody
	}
	raw, err := base64.StdEncoding.DecodeString(m[1])
	if err != nil {
		return nobody
	}
	var units []uint16
	for i := 0; i+1 < len(raw); i += 2 {
		units = append(units, uint16(raw[i])|uint16(raw[i+1])<<8)
	}
	return hosterOf(string(utf16.Decode(units)))
}

// appPassword is what Google makes.
var appPassword = regexp.MustCompile(`^[a-z]{4} ?[a-z]{4} ?[a-z]{4} ?[a-z]{4}$`)

// MayBeAppPassword reports whether a password looks like an app password of Google.
func MayBeAppPassword(password string) bool { return appPassword.MatchString(password) }
