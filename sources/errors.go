package sources

import (
	"errors"
	"fmt"
	"time"
)

// Class says what an error means for what the engine does next.
type Class int

const (
	// Temporary: try again after a while (lost connection, server busy). The
	// class of every error that is not an *Error.
	Temporary Class = iota
	// Throttled: the server asks to be left alone until Error.Until.
	Throttled
	// SignIn: the credentials are refused.
	SignIn
	// Permission: signed in, but not allowed.
	Permission
	// NotFound: a configured folder or mailbox does not exist.
	NotFound
	// Gone: the message is no longer in its folder.
	Gone
	// Permanent: trying again will not help.
	Permanent
)

// String returns the class as one lower-case word or two.
func (c Class) String() string {
	switch c {
	case Throttled:
		return "throttled"
	case SignIn:
		return "sign-in"
	case Permission:
		return "permission"
	case NotFound:
		return "not found"
	case Gone:
		return "gone"
	case Permanent:
		return "permanent"
	default:
		return "temporary"
	}
}

// Error is an error of a source with its class and, where a person can do
// something about it, the remedy.
type Error struct {
	Class Class
	// Until is when to try again, only with Throttled; zero if the server did
	// not say.
	Until time.Time
	// Remedy says what to do, in a sentence for an administrator; may be empty.
	Remedy string
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an error of the class. The format is that of [fmt.Errorf].
func Errorf(class Class, format string, args ...any) *Error {
	return &Error{Class: class, Err: fmt.Errorf(format, args...)}
}

// WithRemedy sets the remedy and returns e.
func (e *Error) WithRemedy(format string, args ...any) *Error {
	e.Remedy = fmt.Sprintf(format, args...)
	return e
}

// ClassOf returns the class of err.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Temporary
}

// RemedyOf returns the remedy of err, or the empty string.
func RemedyOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Remedy
	}
	return ""
}

// UntilOf returns when a throttled err may be tried again, or the zero time.
func UntilOf(err error) time.Time {
	var e *Error
	if errors.As(err, &e) && e.Class == Throttled {
		return e.Until
	}
	return time.Time{}
}
