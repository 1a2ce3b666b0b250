package graph

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// Error is an answer of Graph other than success.
type Error struct {
	Status int
	// Code is that of the innermost error that has one of Exchange's, such as
	// ErrorItemNotFound; "" if the answer was not one of Graph.
	Code    string
	Message string
	// RequestID is what Microsoft's support asks for.
	RequestID string
	// Date is the server's own time; zero if it did not say.
	Date time.Time
}

func (e *Error) Error() string {
	text := fmt.Sprintf("HTTP %d", e.Status)
	if e.Code != "" {
		text += " " + e.Code
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.RequestID != "" {
		text += " (request id " + e.RequestID + ")"
	}
	return text
}

// Has reports whether the error has one of the codes, whatever their case:
// Microsoft's own documents differ in it.
func (e *Error) Has(codes ...string) bool {
	for _, code := range codes {
		if strings.EqualFold(e.Code, code) {
			return true
		}
	}
	return false
}

// ItemGone reports whether err says, in Exchange's own word, that the message is
// not there. A 404 that anything else may have sent does not say so.
func ItemGone(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Has("ErrorItemNotFound")
}

// NotFound reports whether err says that what was asked for is not there.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == 404 && e.Code != "" || e.Has("ErrorItemNotFound", "ErrorFolderNotFound", "ErrorSyncFolderNotFound")) && !e.noMailbox()
}

// noMailbox: it is the mailbox that is not there, or cannot be opened.
func (e *Error) noMailbox() bool {
	return e.Has("MailboxNotEnabledForRESTAPI", "MailboxNotSupportedForRESTAPI", "ErrorInvalidUser", "ResourceNotFound", "Request_ResourceNotFound",
		"ErrorNonExistentMailbox", "ErrorMailboxNotFound", "ErrorMissingEmailAddress", "ErrorMailboxMoveInProgress")
}

// CursorLost reports whether err says that a link of a delta listing is no
// longer known, so that the listing begins anew.
func CursorLost(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == 410 || e.Status >= 400 && e.Status < 500 &&
		e.Has("SyncStateNotFound", "SyncStateInvalid", "ResyncRequired", "ErrorInvalidSyncStateData", "ErrorSyncStateNotFound"))
}

// NoDelta reports whether err says that there is no listing of changes.
func NoDelta(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == 400 || e.Status == 404 || e.Status == 501) && strings.Contains(e.Message, "segment 'delta'")
}

// ErrForeignLink is met when a link leads to another server than the one
// configured. It is not followed.
var ErrForeignLink = errors.New("the link leads to another server than the one configured")

// ThrottledError: no request may be made for the mailbox until then.
type ThrottledError struct {
	Until time.Time
	Err   error
}

func (e *ThrottledError) Error() string {
	text := "the server asks for patience until " + e.Until.UTC().Format(time.RFC3339)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *ThrottledError) Unwrap() error { return e.Err }

// ConnError: there was no answer, or it ended early.
type ConnError struct {
	// Host is the server.
	Host    string
	Summary string
	Remedy  string
	// Lasting: trying again will not help until somebody has changed something.
	Lasting bool
	Err     error

	// broken: an answer began, and was not whole.
	broken bool
}

func (e *ConnError) Error() string {
	if e.Err == nil {
		return e.Host + ": " + e.Summary
	}
	return e.Host + ": " + e.Summary + ": " + e.Err.Error()
}

func (e *ConnError) Unwrap() error { return e.Err }

// maxText bounds what of a server's text is shown.
const maxText = 500

var token = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)*`)

// clean returns a server's text fit to be shown: one line, bounded, without
// anything that looks like a token.
func clean(text string) string {
	text = token.ReplaceAllString(text, "***")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(text); len(runes) > maxText {
		return string(runes[:maxText]) + "…"
	}
	return text
}
