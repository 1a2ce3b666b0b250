package mailgen

import (
	"bytes"
	"fmt"
)

// pdf returns a PDF 1.4 of one page that has the title, which is ASCII without
// parentheses or backslashes, and below it the points of a grey picture.
func pdf(title string, points []byte) []byte {
	const width = 64
	points = points[:len(points)/width*width]
	page := fmt.Sprintf("BT /F1 14 Tf 60 780 Td (%s) Tj ET\nq 480 0 0 640 60 100 cm /Scan Do Q\n", title)

	var b bytes.Buffer
	var offsets []int
	object := func(dictionary string, stream []byte) {
		offsets = append(offsets, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\n", len(offsets), dictionary)
		if stream != nil {
			b.WriteString("stream\n")
			b.Write(stream)
			b.WriteString("\nendstream\n")
		}
		b.WriteString("endobj\n")
	}

	b.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	object("<< /Type /Catalog /Pages 2 0 R >>", nil)
	object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>", nil)
	object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R "+
		"/Resources << /Font << /F1 4 0 R >> /XObject << /Scan 6 0 R >> >> >>", nil)
	object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>", nil)
	object(fmt.Sprintf("<< /Length %d >>", len(page)), []byte(page))
	object(fmt.Sprintf("<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 8 /Length %d >>",
		width, len(points)/width, len(points)), points)

	table := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(offsets)+1)
	for _, offset := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", offset)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(offsets)+1, table)
	return b.Bytes()
}
