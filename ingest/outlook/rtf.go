package outlook

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"postroom/ingest/message/tnef"
	"postroom/ingest/message/tnef/rtf"
)

// errDamagedRTF: a value is no compressed RTF, or damaged.
var errDamagedRTF = errors.New("RTF is damaged")

const (
	rtfHead         = 16
	rtfCompressed   = 0x75465A4C // "LZFu"
	rtfUncompressed = 0x414C454D // "MELA"
)

// soundRTF returns a value of PidTagRtfCompressed as it has to be: its own bytes,
// without what follows them (MS-OXRTFCP 2.1.3.1). It reads it once, as a stream.
// The error is errDamagedRTF, or one of the raw bytes.
func soundRTF(v tnef.Value) (func() io.Reader, error) {
	var head [rtfHead]byte
	if v.Size() < rtfHead {
		return nil, errDamagedRTF
	}
	if _, err := io.ReadFull(v.Open(), head[:]); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	// The size counts what follows it.
	size, raw := int64(le.Uint32(head[:]))-(rtfHead-4), int64(le.Uint32(head[4:]))
	switch le.Uint32(head[8:]) {
	case rtfUncompressed:
		if rtfHead+raw > v.Size() {
			return nil, errDamagedRTF
		}
		// Its size is wrong in some writers.
		le.PutUint32(head[:], uint32(raw)+rtfHead-4)
		le.PutUint32(head[12:], 0)
		size = raw
	case rtfCompressed:
		if size < 0 || rtfHead+size > v.Size() {
			return nil, errDamagedRTF
		}
		sum := &crcWriter{crc: math.MaxUint32}
		if _, err := io.Copy(sum, io.NewSectionReader(v.Open(), rtfHead, size)); err != nil {
			return nil, err
		}
		if ^sum.crc != le.Uint32(head[12:]) {
			return nil, errDamagedRTF
		}
	default:
		return nil, errDamagedRTF
	}
	return func() io.Reader {
		return io.MultiReader(bytes.NewReader(head[:]), io.NewSectionReader(v.Open(), rtfHead, size))
	}, nil
}

// crcWriter is the checksum of MS-OXRTFCP 2.1.3.2 without its last step.
type crcWriter struct{ crc uint32 }

func (c *crcWriter) Write(p []byte) (int, error) {
	c.crc = crc32.Update(c.crc, crc32.IEEETable, p)
	return len(p), nil
}

// rtfText returns the text of RTF: the HTML that it wraps, else its plain text.
// RTF of more than limit bytes has none.
func rtfText(r io.Reader, limit int64) (text string, kind rtf.Kind, ok bool, err error) {
	doc, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return "", rtf.Native, false, fmt.Errorf("read RTF: %w", err)
	}
	if int64(len(doc)) > limit {
		return "", rtf.KindOf(doc), false, nil
	}
	text, kind, err = rtf.Deencapsulate(doc)
	return text, kind, err == nil || text != "", nil
}
