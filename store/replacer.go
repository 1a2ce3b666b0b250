package store

import "context"

// Replacer is implemented by a repository that can put a document in the place of
// one that it holds.
type Replacer interface {
	// Replace puts d in the place of the document with its Key, and returns the
	// receipt of d, which differs from that of the other one unless both are the
	// same in all they describe: then nothing changes.
	//
	// Nil means that all of d survives a loss of power and nothing of the other
	// one is visible any more. After an error the one or the other is there, as
	// Find says, whole. So it is, once the repository is opened again, after a
	// process that dies, or a loss of power, at any moment: never both, never
	// none, never files of both.
	//
	// Like Put it begins with Check and reads every file of d once; ErrRefused
	// and ErrContent mean what they mean there, and that nothing has changed. So
	// does ErrNotFound, if there is no document with that Key. ErrRefused is also
	// wrapped if the document that is there is not whole, or something lies with it
	// that is no part of it: that would be lost. A Put, Find or Replace of the same
	// document that is under way is waited for. When the context ends before
	// anything has changed, Replace returns its error.
	//
	// A file of the other document that somebody has open stays readable, or
	// makes Replace fail.
	Replace(ctx context.Context, d *Document) (Receipt, error)
}
