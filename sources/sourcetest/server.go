// Package sourcetest is the test that every driver of package sources passes.
//
// A driver's own test implements [Server] for its kind of mailbox and calls
// [Run]. What a server of that kind cannot do it leaves out of [Abilities], or
// does not implement of the optional interfaces; the tests about it do not run
// then.
package sourcetest

import (
	"strings"
	"testing"
	"time"

	"postroom/sources"
)

// Server is one mailbox on a server, empty at first. Its methods fail the test
// when they cannot do what they are asked. Folders are named by their path as
// in a configuration.
type Server interface {
	Abilities() Abilities
	// Deliver puts a message into the folder, which is created when missing,
	// and returns the bytes that the server hands out for it. Deleted is ignored.
	Deliver(t *testing.T, folder string, mail Mail) []byte
	// Snapshot returns what is in the folder now, oldest first, without going
	// through the driver. A folder that does not exist is empty.
	Snapshot(t *testing.T, folder string) []Mail
	// Remove removes the message at the position, from 0, in the order of
	// delivery, as another program would.
	Remove(t *testing.T, folder string, position int)
	// Open returns the mailbox as a source. The caller closes it.
	Open(t *testing.T, setup Setup) sources.Source
}

// Abilities are what servers of one kind differ in.
type Abilities struct {
	// Folders: there are more folders than the inbox.
	Folders bool
	// Root is the folder below which all others are; empty if there are some beside
	// the inbox.
	Root string
	// Seen: the server keeps whether a message has been read.
	Seen bool
	// Received: the server keeps a date of arrival, to the second.
	Received bool
	// Changes: a listing reports every later change of a message, so that a cursor
	// covers also what is to be listed again.
	Changes bool
	// Verbs are the dispositions besides keep.
	Verbs []sources.Verb
}

// at returns the path of a folder, or a pattern of such, as it is on the server.
func (a Abilities) at(path string) string {
	if top, _, _ := strings.Cut(path, "/"); a.Root == "" || strings.EqualFold(top, sources.Inbox) {
		return path
	}
	return a.Root + "/" + path
}

// all is at for several.
func (a Abilities) all(paths []string) []string {
	var all []string
	for _, path := range paths {
		all = append(all, a.at(path))
	}
	return all
}

// Mail is a message on the server.
type Mail struct {
	Raw      []byte
	Received time.Time
	Seen     bool
	// Deleted is a mark that the message is to be removed, where there is one.
	Deleted bool
}

// Setup is how a source is configured.
type Setup struct {
	// Folders are patterns; empty for the inbox.
	Folders, Exclude          []string
	AfterFiling               sources.Verb
	FiledFolder, FailedFolder string
	// Connections is the most connections; 0 for the driver's default.
	Connections int
}

// Renumberer is a server that can forget the identity of its messages.
type Renumberer interface {
	// Renumber gives every message of the folder a new key.
	Renumber(t *testing.T, folder string)
}

// Cutter is a server whose connections can be cut.
type Cutter interface {
	// OpenCut is Open with connections that end after the server has sent that
	// many bytes, until heal is called.
	OpenCut(t *testing.T, setup Setup, bytes int64) (source sources.Source, heal func())
}

// Withholder is a server that can list a message and not hand it out.
type Withholder interface {
	// Withhold holds back the message at the position until release is called.
	Withhold(t *testing.T, folder string, position int) (release func())
}

// Refuser is a server that can refuse credentials.
type Refuser interface {
	// OpenRefused is Open with credentials that the server refuses. No error of
	// the source may hold secret.
	OpenRefused(t *testing.T, setup Setup) (source sources.Source, secret string)
}

// Marker is a server on which a message can be marked as deleted and stay.
type Marker interface {
	// MarkDeleted marks the message at the position.
	MarkDeleted(t *testing.T, folder string, position int)
}
