package main

import (
	"fmt"

	"go.uber.org/zap"

	"postroom/cmd/postroom/config"
	"postroom/internal/mailhost"
)

// retiredPassword returns what is to be known of the service in which the source
// signs in with a password, and reports whether that cannot work there, or hardly.
func retiredPassword(s *config.Source) (mailhost.Retired, bool) {
	server := drivers()[s.Type].server
	if server == nil || s.Credentials == nil || s.Credentials.Type != "password" {
		return mailhost.Retired{}, false
	}
	protocol, address := server(s.Options)
	retired, ok := mailhost.SignIn{
		Protocol: protocol, Host: hostOf(address), Source: s.Name, User: s.Credentials.Username, Credentials: s.Entra,
	}.Retired()
	if ok && !retired.Always && mailhost.MayBeAppPassword(s.Credentials.Password.Reveal()) {
		return retired, false
	}
	return retired, ok
}

// passwordWarnings are those of a check about sources whose passwords cannot work.
func passwordWarnings(of []*config.Source) (warnings []string) {
	for _, s := range of {
		if retired, ok := retiredPassword(s); ok {
			warnings = append(warnings, fmt.Sprintf("%s: source %s: %s", s.Position, s.Name, retired))
		}
	}
	return warnings
}

// warnOfPasswords logs the same, for a configuration that is taken up.
func warnOfPasswords(log *zap.Logger, of []*config.Source) {
	for _, s := range of {
		if retired, ok := retiredPassword(s); ok {
			log.Warn("a password cannot sign in there", zap.String("source", s.Name), zap.String("reason", retired.What), zap.String("remedy", retired.Remedy))
		}
	}
}
