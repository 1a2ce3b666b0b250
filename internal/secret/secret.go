// Package secret keeps secrets out of logs, errors and pages.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

const mask = "***"

// Value is a secret. However it is printed, logged or encoded, it shows as
// "***"; only Reveal returns it. The zero Value is the empty secret. Values are
// not to be compared with ==.
type Value struct {
	// A pointer, because fmt prints what unexported fields hold without asking
	// their methods: of a pointer it then prints the address.
	s *string
}

// New returns s as a secret.
func New(s string) Value { return Value{&s} }

// Reveal returns the secret itself. Pass it only to what signs in with it.
func (v Value) Reveal() string {
	if v.s == nil {
		return ""
	}
	return *v.s
}

// Empty reports that there is no secret.
func (v Value) Empty() bool { return v.Reveal() == "" }

func (v Value) String() string { return mask }

// Format implements fmt.Formatter, so that no verb prints the secret.
func (v Value) Format(f fmt.State, _ rune) {
	// As with every Formatter, an error of the writer is for the caller of fmt.
	_, _ = io.WriteString(f, mask)
}

// LogValue implements slog.LogValuer.
func (v Value) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (v Value) MarshalText() ([]byte, error) { return []byte(mask), nil }
