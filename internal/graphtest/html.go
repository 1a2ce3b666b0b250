package graphtest

import (
	"html"
	"regexp"
	"strings"
)

const metaElement = `<meta http-equiv="Content-Type" content="text/html; charset=utf-8">`

var (
	headTag   = regexp.MustCompile(`(?i)<head[^>]*>`)
	htmlTag   = regexp.MustCompile(`(?i)<html[^>]*>`)
	metaTag   = regexp.MustCompile(`(?is)<meta[^>]*(?:charset)[^>]*>\s*`)
	unseen    = regexp.MustCompile(`(?is)<(style|script|head|title)\b.*?</(?:style|script|head|title)\s*>|<!--.*?-->`)
	imageTag  = regexp.MustCompile(`(?is)<img\b[^>]*\bsrc\s*=\s*["']?cid:([^"'>\s]+)[^>]*>`)
	breakTag  = regexp.MustCompile(`(?i)<(?:br|/p|/div|/tr|/h[1-6]|/li)\b[^>]*>\s*`)
	anyTag    = regexp.MustCompile(`(?s)<[^>]*>`)
	blankRuns = regexp.MustCompile(`(\r?\n){3,}`)
)

// withMeta returns the page with the meta element that Exchange puts into every
// one in place of another that tells the charset.
func withMeta(page []byte) []byte {
	text := metaTag.ReplaceAllLiteralString(string(page), "")
	put := func(at []int, before, after string) []byte {
		return []byte(text[:at[1]] + before + metaElement + after + text[at[1]:])
	}
	if at := headTag.FindStringIndex(text); at != nil {
		return put(at, "\r\n", "")
	}
	if at := htmlTag.FindStringIndex(text); at != nil {
		return put(at, "<head>\r\n", "\r\n</head>")
	}
	return []byte("<html><head>\r\n" + metaElement + "</head><body>" + text + "</body></html>")
}

// plainOf returns the text that Exchange makes of a page.
func plainOf(page string) string {
	page = unseen.ReplaceAllString(page, "")
	page = strings.NewReplacer("\r", "", "\n", " ").Replace(page)
	page = imageTag.ReplaceAllString(page, "[cid:$1]")
	page = breakTag.ReplaceAllString(page, "\r\n")
	page = html.UnescapeString(anyTag.ReplaceAllString(page, ""))
	return strings.TrimSpace(blankRuns.ReplaceAllString(page, "\r\n\r\n")) + "\r\n"
}
