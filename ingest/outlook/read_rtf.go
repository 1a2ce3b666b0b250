package outlook

import (
	"errors"

	"postroom/ingest/message/tnef/rtf"
)

const pidTagCompressedRTF tag = 0x10090102

// Bounds of a text in RTF, which is read into memory, in bytes.
const (
	maxCompressed = 16 << 20
	maxRTF        = 64 << 20
)

// errRTF says that a text in RTF exceeds the bounds.
var errRTF = errors.New("the RTF is too large")

// rtfDocument returns the text of the message in RTF (MS-OXRTFCP), nil if there is
// none. With an error it is what could be read.
func (it *item) rtfDocument() ([]byte, error) {
	b, cut, err := readAll(it.entries[pidTagCompressedRTF], maxCompressed)
	switch {
	case err != nil || len(b) == 0:
		return nil, err
	case cut:
		return nil, errRTF
	}
	return rtf.Decompress(b, maxRTF)
}

// rtf returns the text of the message in RTF as what it was before it became that
// (MS-OXRTFEX): HTML or plain text, in UTF-8; else without its formatting. None
// reports that there is nothing that could be read.
func (it *item) rtf() (text string, kind rtf.Kind, none bool, err error) {
	doc, err := it.rtfDocument()
	if len(doc) == 0 {
		return "", rtf.Native, true, err
	}
	text, kind, bad := rtf.Deencapsulate(doc)
	if err == nil {
		err = bad
	}
	return text, kind, false, err
}
