package message

import (
	"strings"
	"testing"
)

func TestParseAddresses(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"RFC 5322 3.4", `John Doe <john@example.com>, mary@example.com`, "John Doe <john@example.com>|mary@example.com"},
		{"quoted name", `"Doe, John" <john@example.com>`, "Doe, John <john@example.com>"},
		{"quoted pairs", `"John \"J\" Doe \\ Co" <john@example.com>`, `John "J" Doe \ Co <john@example.com>`},
		{"comma without quotes", `Doe, John <john@example.com>, Roe, Mary <mary@example.com>`, "Doe, John <john@example.com>|Roe, Mary <mary@example.com>"},
		{"comma without quotes after an address", `a@example.com, Doe, John <john@example.com>`, "a@example.com|Doe, John <john@example.com>"},
		{"group (RFC 5322 3.4)", `staff: a@example.com, "B" <b@example.com>;, c@example.com`, "staff:a@example.com|staff:B <b@example.com>|c@example.com"},
		{"group without its end", `staff: a@example.com, b@example.com`, "staff:a@example.com|staff:b@example.com"},
		{"empty group", `undisclosed-recipients:;`, ""},
		{"two groups", `a: x@example.com; b: y@example.com;`, "a:x@example.com|b:y@example.com"},
		{"semicolons", `a@example.com; b@example.com;`, "a@example.com|b@example.com"},
		{"route (RFC 5322 4.4)", `Mary <@one.example,@two.example:mary@example.com>, x@example.com`, "Mary <mary@example.com>|x@example.com"},
		{"comment as the name (RFC 822)", `john@example.com (John (the) Doe)`, "John (the) Doe <john@example.com>"},
		{"comment after the name", `John Doe <john@example.com> (home)`, "John Doe <john@example.com>"},
		{"obsolete spaces", `john . doe @ example . com`, "john.doe@example.com"},
		{"no brackets", `John Doe john@example.com`, "John Doe <john@example.com>"},
		{"no closing bracket", `John Doe <john@example.com, mary@example.com`, "John Doe <john@example.com>|mary@example.com"},
		{"no opening bracket", `john@example.com>, mary@example.com`, "john@example.com|mary@example.com"},
		{"two brackets", `John <<john@example.com>>`, "John <john@example.com>"},
		{"only a quoted address", `"john@example.com"`, "john@example.com"},
		{"address as its own name", `"john@example.com" <john@example.com>`, "john@example.com"},
		{"quoted local part", `"john doe"@example.com, <"a b"@example.com>`, `"john doe"@example.com|"a b"@example.com`},
		{"empty list elements", `, a@example.com,, ,b@example.com,`, "a@example.com|b@example.com"},
		{"empty", ``, ""},
		{"empty brackets", `Mailer <>`, "Mailer"},
		{"null path", `<>`, ""},
		{"mailto", `<mailto:a@example.com>, mailto:b@example.com`, "a@example.com|b@example.com"},
		{"no address", `not an address`, "not an address"},
		{"encoded word (RFC 2047 5)", `=?utf-8?Q?K=C3=A4ufer?= <buyer@example.com>`, "Käufer <buyer@example.com>"},
		{"encoded word with a comma", `=?utf-8?Q?Doe,_John?= <john@example.com>`, "Doe, John <john@example.com>"},
		{"encoded comma", `=?utf-8?Q?Doe=2C_John?= <john@example.com>, b@example.com`, "Doe, John <john@example.com>|b@example.com"},
		{"encoded word in quotes", `"=?utf-8?Q?K=C3=A4ufer?=" <buyer@example.com>`, "Käufer <buyer@example.com>"},
		{"encoded words", `=?utf-8?Q?K=C3=A4?= =?utf-8?Q?ufer?= GmbH <buyer@example.com>`, "Käufer GmbH <buyer@example.com>"},
		{"the whole mailbox encoded", `=?utf-8?Q?John_Doe_=3Cjohn=40example.com=3E?=`, "John Doe <john@example.com>"},
		{"raw UTF-8 (RFC 6532)", "K\xc3\xa4ufer <k\xc3\xa4ufer@ex\xc3\xa4mple.com>", "Käufer <käufer@exämple.com>"},
		{"raw windows-1252", "K\xe4ufer <buyer@example.com>", "Käufer <buyer@example.com>"},
		{"no comma between brackets", `A <a@example.com> B <b@example.com>`, "A <a@example.com>|B <b@example.com>"},
		{"no comma between addresses", `a@example.com b@example.com`, "a@example.com|b@example.com"},
		{"address in the name", `a@b.example via List <list@example.com>`, "a@b.example via List <list@example.com>"},
		{"quote without its end", `"John <john@example.com>, mary@example.com`, `John <john@example.com>|mary@example.com`},
		{"parenthesis without its end", `John (Doe <john@example.com>, mary@example.com`, "John (Doe <john@example.com>|mary@example.com"},
		{"apostrophes", `'John' <john@example.com>`, "'John' <john@example.com>"},
		{"X.400", `"/G=John/S=Doe/O=Example/"@example.com`, `"/G=John/S=Doe/O=Example/"@example.com`},
		{"domain literal", `john@[192.0.2.1]`, "john@[192.0.2.1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, a := range ParseAddresses(tt.raw) {
				s := a.String()
				if a.Group != "" {
					s = a.Group + ":" + s
				}
				if a.Raw == "" || !strings.Contains(tt.raw, strings.Trim(a.Raw, ", ")) {
					t.Errorf("raw %q", a.Raw)
				}
				got = append(got, s)
			}
			if s := strings.Join(got, "|"); s != tt.want {
				t.Errorf("%q, want %q", s, tt.want)
			}
		})
	}
}

func TestMessageIDs(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"<a@b> <c@d>", "<a@b> <c@d>"},
		{"<a@b><c@d>", "<a@b> <c@d>"},
		{"<a @ b>", "<a@b>"},
		{"a@b", "<a@b>"},
		{"Your message of Monday <a@b>", "<a@b>"},
		{"Your message of Monday", ""},
		{"<a@b", "<a@b>"},
		{"<a@b <c@d>", "<a@b> <c@d>"},
		{"<>", ""},
		{"", ""},
	} {
		h := read(t, "References: "+tt.raw+"\r\n\r\n")
		if got := strings.Join(h.MessageIDs("references"), " "); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.raw, got, tt.want)
		}
	}
}

func TestDecodeText(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"RFC 2047 2", "=?iso-8859-1?Q?a=E4_b?=", "aä b"},
		{"white space between words (6.2)", "=?utf-8?Q?a?=  \t=?utf-8?Q?b?= c", "ab c"},
		{"no white space between words", "=?utf-8?Q?a?==?utf-8?Q?b?=", "ab"},
		{"within a word", "x=?utf-8?Q?a?=y (=?utf-8?Q?b?=)", "xay (b)"},
		{"lower case", "=?UTF-8?q?a=c3=a4?= =?utf-8?b?w6Q=?=", "aää"},
		{"language (RFC 2231 5)", "=?iso-8859-2*hu?Q?=F5?=", "ő"},
		{"spaces in Q", "=?utf-8?Q?a b c?=", "a b c"},
		{"spaces in B", "=?utf-8?B?w6TD pA==?=", "ää"},
		{"question mark in Q", "=?utf-8?Q?what??= x", "what? x"},
		{"question mark before an encoded byte", "=?utf-8?Q?what?=20now?=", "what? now"},
		{"broken escapes", "=?utf-8?Q?100=_=4g=?=", "100= =4g="},
		{"no padding", "=?utf-8?B?w6Q?=", "ä"},
		{"too much padding", "=?utf-8?B?w6Q====?=", "ä"},
		{"padding in the middle", "=?utf-8?B?w6Q=w6Q=?=", "ää"},
		{"noise in B", "=?utf-8?B?w6-Q=?=", "ä"},
		{"a character split over words", "=?utf-8?Q?a=C3?= =?utf-8?Q?=A4?=", "aä"},
		{"a character split over words in B", "=?utf-8?B?YcM=?=\r\n =?utf-8?B?pA==?=", "aä"},
		{"words of two charsets", "=?utf-8?Q?=C3=A4?= =?iso-8859-1?Q?=E4?=", "ää"},
		{"no end", "=?utf-8?Q?a=C3=A4", "aä"},
		{"no end before another", "=?utf-8?Q?a =?utf-8?Q?b?=", "ab"},
		{"no end in a text", "=?utf-8?Q?a b", "=?utf-8?Q?a b"},
		{"no charset", "=??Q?a=C3=A4?=", "aä"},
		{"unknown charset", "=?x-none?Q?=E4?=", "ä"},
		{"wrong charset", "=?us-ascii?Q?=C3=A4?=", "ä"},
		{"wrong charset, not UTF-8", "=?utf-8?Q?=E4?=", "ä"},
		{"unknown encoding", "=?utf-8?X?a?=", "=?utf-8?X?a?="},
		{"no encoded word", "a =? b ?= c", "a =? b ?= c"},
		{"empty", "=?utf-8?Q??=", ""},
		{"iso-2022-jp in two words", "=?ISO-2022-JP?B?GyRCQ20bKEI=?= =?ISO-2022-JP?B?GyRCSjgbKEI=?=", "注文"},
		{"utf-7", "=?utf-7?Q?Gr+APw-?=", "Grü"},
		{"raw 8-bit beside a word", "=?utf-8?Q?a?= \xc3\xa4", "a ä"},
		{"raw iso-2022-jp", "\x1b$BCm\x1b(B", "注"},
		{"raw Shift_JIS", "\x82\xb1\x82\xf1\x82\xc9\x82\xbf\x82\xcd", "こんにちは"},
		{"raw EUC-JP", "\xa4\xb3\xa4\xf3\xa4\xcb\xa4\xc1\xa4\xcf", "こんにちは"},
		{"raw EUC-KR", "\xbe\xc8\xb3\xe7\xc7\xcf\xbc\xbc\xbf\xe4", "안녕하세요"},
		{"raw GBK", "\xc4\xe3\xba\xc3\xca\xc0\xbd\xe7", "你好世界"},
		{"raw KOI8-R", "\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Decode(tt.raw); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestParseDate(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"Fri, 2 Jan 2026 03:04:05 +0100", "2026-01-02T02:04:05Z"},
		{"Fri, 2 Jan 2026 03:04 +0100", "2026-01-02T02:04:00Z"},
		{"2 Jan 2026 03:04:05 -0000", "2026-01-02T03:04:05Z"},
		{"Fri, 02 Jan 2026 03:04:05 EST", "2026-01-02T08:04:05Z"},
		{"Fri, 02 Jan 2026 03:04:05 GMT", "2026-01-02T03:04:05Z"},
		{"Fri, 02 Jan 2026 03:04:05 +0100 (CET)", "2026-01-02T02:04:05Z"},
		{"Fri (day), 02 (of) Jan 2026 03:04:05 +0100", "2026-01-02T02:04:05Z"},
		{"Fri, 02 Jan 26 03:04:05 +0000", "2026-01-02T03:04:05Z"},
		{"Fri, 02 Jan 97 03:04:05 +0000", "1997-01-02T03:04:05Z"},
		{"Fri, 02 Jan 126 03:04:05 +0000", "2026-01-02T03:04:05Z"},
		{"Mon, 02 Jan 2026 03:04:05 +0000", "2026-01-02T03:04:05Z"},
		{"Fri, 02 January 2026 03:04:05 +01:00", "2026-01-02T02:04:05Z"},
		{"Fri, 02 Jan 2026 03:04:05 GMT+0100", "2026-01-02T02:04:05Z"},
		{"Fri,02 Jan 2026 03:04:05+0100", "2026-01-02T02:04:05Z"},
		{"Fri, 02-Jan-2026 03:04:05 +0000", "2026-01-02T03:04:05Z"},
		{"Fri Jan  2 03:04:05 2026", "2026-01-02T03:04:05Z"},
		{"Fri Jan  2 03:04:05 EST 2026", "2026-01-02T08:04:05Z"},
		{"2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"},
		{"2026-01-02T03:04:05.123+01:00", "2026-01-02T02:04:05Z"},
		{"2026-01-02 03:04:05 +0100", "2026-01-02T02:04:05Z"},
		{"2026/01/02 03:04:05", "2026-01-02T03:04:05Z"},
		{"Fri, 2 Jan 2026 3:04:05 PM +0000", "2026-01-02T15:04:05Z"},
		{"Fri, 2 Jan 2026 12:04:05 AM", "2026-01-02T00:04:05Z"},
		{"Fri, 2 Jan 2026 03.04.05 +0000", "2026-01-02T03:04:05Z"},
		{"Fri, 2 Jan 2026", "2026-01-02T00:00:00Z"},
		{"Fri, 2 Jan 2026 24:00:00 +0000", "2026-01-03T00:00:00Z"},
		{"Fri, 2 Jan 2026 23:59:60 +0000", "2026-01-02T23:59:59Z"},
		{"Fri, 002 Jan 2026 03:04:05 +0000", "2026-01-02T03:04:05Z"},
		{"Fri, 2 Jan 2026 03:04:05 XYZ", "2026-01-02T03:04:05Z"},
		{"Fri, 2 Jan 2026 25:00:00 +0000", ""},
		{"Tue, 31 Feb 2026 03:04:05 +0000", ""},
		{"Fri, 2 Jan", ""},
		{"yesterday", ""},
		{"", ""},
	} {
		got := ""
		if d, ok := ParseDate(tt.raw); ok {
			got = d.Format("2006-01-02T15:04:05Z07:00")
		}
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.raw, got, tt.want)
		}
	}
	h := read(t, "Received: from a by b with c, Fri, 2 Jan 2026 03:04:05 +0000\r\n\r\n")
	if got := h.Arrived().Format("2006-01-02"); got != "2026-01-02" {
		t.Errorf("no semicolon: %s", got)
	}
}
