package document

import (
	"slices"
	"strings"
	"testing"
)

// der writes an element of BER of a definite length, or with tag 0x100 more, of
// an indefinite one.
func der(tag int, content ...string) string {
	c := strings.Join(content, "")
	if tag > 0xff {
		return string([]byte{byte(tag), 0x80}) + c + "\x00\x00"
	}
	switch n := len(c); {
	case n < 0x80:
		return string([]byte{byte(tag), byte(n)}) + c
	default:
		return string([]byte{byte(tag), 0x82, byte(n >> 8), byte(n)}) + c
	}
}

const (
	oidSigned    = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
	oidEnveloped = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"
	oidData      = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
)

// signedData writes CMS; more is 0x100 for indefinite lengths.
func signedData(more int, content string) string {
	return der(0x30+more, oidSigned, der(0xa0+more, der(0x30+more, "\x02\x01\x01", der(0x31, "\x30\x00"), der(0x30+more, oidData, der(0xa0+more, content)), der(0x31))))
}

func opaque(cms string) string {
	return "Subject: a\r\n" + encoded("Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m", cms)
}

func TestOpaqueSigned(t *testing.T) {
	inner := multi("mixed", plain, scan)
	files := []string{"smime.txt text/plain Text", "scan.pdf application/pdf %PDF-1.7"}
	for _, tt := range []struct {
		name, mail string
		want       []string
	}{
		{"DER", opaque(signedData(0, der(4, inner))), files},
		{"BER", opaque(signedData(0x100, der(0x124, der(4, inner[:50]), der(4), der(4, inner[50:])))), files},
		{"pieces of a definite length", opaque(signedData(0, der(0x24, der(4, inner[:50]), der(4, inner[50:])))), files},
		{"without saying so", strings.Replace(opaque(signedData(0, der(4, inner))), "smime-type=signed-data; ", "", 1), files},
		{"HTML", opaque(signedData(0, der(4, multi("related", htmlPart, logo)))), []string{"smime.html text/html " + strings.SplitN(htmlPart, "\r\n\r\n", 2)[1]}},
		{"signed twice", opaque(signedData(0, der(4, opaque(signedData(0, der(4, inner)))))), files},
		{"encrypted", opaque(der(0x30, oidEnveloped, der(0xa0, der(0x30)))), nil},
		{"another element", opaque(strings.Replace(signedData(0, der(4, inner)), "\x31\x02\x30\x00", "\x30\x02\x30\x00", 1)), nil},
		{"without content", opaque(signedData(0, "")), nil},
		{"cut off", opaque(signedData(0, der(4, inner))[:100]), nil},
		{"pieces without an end", opaque(signedData(0, "\x24\x80"+der(4, inner))), nil},
		{"a length beyond the end", opaque("\x30\x84\x7f\xff\xff\xff" + oidSigned), nil},
		{"a length beyond all bounds", opaque("\x30\x89\xff\xff\xff\xff\xff\xff\xff\xff\xff"), nil},
		{"nothing", opaque(""), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := whole(t, []byte(tt.mail))
			var got []string
			for _, f := range d.Files[1 : len(d.Files)-1] {
				got = append(got, f.Name+" "+f.MediaType+" "+string(contentOf(t, f)))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q\nwant %q", got, tt.want)
			}
		})
	}
}
