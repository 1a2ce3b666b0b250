package message

import (
	"strings"
)

// Protection is how the content of a part is protected against alteration or
// reading. A message that is protected must not be altered: its signature would
// no longer be valid, or its content be lost.
type Protection string

const (
	Unprotected  Protection = ""
	ClearSigned  Protection = "clear-signed"  // multipart/signed: the text can be read (RFC 1847 2.1)
	OpaqueSigned Protection = "opaque-signed" // application/pkcs7-mime with signed data (RFC 8551 3.5.2)
	Encrypted    Protection = "encrypted"     // multipart/encrypted (RFC 1847 2.2), or pkcs7-mime with enveloped data
	Opaque       Protection = "opaque"        // pkcs7-mime that does not say whether it is signed or encrypted
)

// Protection returns how the part itself is protected, by what its header says:
// S/MIME (RFC 8551 3.2) and OpenPGP (RFC 3156), not OpenPGP that stands in a text.
// A detached signature alone, and certificates, are not protected.
func (p *Part) Protection() Protection {
	switch p.Type {
	case "multipart/signed":
		return ClearSigned
	case "multipart/encrypted":
		return Encrypted
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
	case "application/octet-stream", "application/pkcs7", "application/x-pkcs7", "application/pkcs7-signature", "application/x-pkcs7-signature":
		// By its name, as gateways change the type (RFC 8551 3.2.1).
		if name := strings.ToLower(strings.TrimSpace(p.Name)); !strings.HasSuffix(name, ".p7m") {
			return Unprotected
		}
	default:
		return Unprotected
	}
	switch strings.ToLower(p.Params["smime-type"]) {
	case "enveloped-data", "authenveloped-data", "authenveloped":
		return Encrypted
	case "signed-data", "signed-receipt":
		return OpaqueSigned
	case "certs-only":
		return Unprotected
	}
	if strings.HasSuffix(strings.ToLower(p.Name), ".p7c") {
		return Unprotected
	}
	return Opaque
}

// Protected returns the outermost protected part of the message of which the
// part is the root (see Layout), nil if there is none. It does not look into
// messages in it: these are kept as a whole.
func (p *Part) Protected() *Part {
	if p.Protection() != Unprotected {
		return p
	}
	if p.IsMessage() {
		return nil
	}
	for _, c := range p.Parts {
		if found := c.Protected(); found != nil {
			return found
		}
	}
	return nil
}
