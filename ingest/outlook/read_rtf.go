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

// rtf returns the text of the message in RTF, nil if there is none, and what the
// text was before it became RTF (MS-OXRTFCP, MS-OXRTFEX): HTML or plain text, in
// UTF-8, or nothing else. With an error it is what could be read.
func (it *item) rtf() (doc []byte, text string, kind rtf.Kind, err error) {
	b, cut, err := readAll(it.entries[pidTagCompressedRTF], maxCompressed)
	switch {
	case err != nil || len(b) == 0:
		return nil, "", rtf.Native, err
	case cut:
		return nil, "", rtf.Native, errRTF
	}
	doc, err = rtf.Decompress(b, maxRTF)
	if len(doc) == 0 {
		return nil, "", rtf.Native, err
	}
	text, kind, bad := rtf.Deencapsulate(doc)
	if err == nil {
		err = bad
	}
	return doc, text, kind, err
}
