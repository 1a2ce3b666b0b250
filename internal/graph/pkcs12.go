package graph

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"hash"
)

// The sign-in library reads only the PKCS #12 files of old, and no key with a
// password. What follows reads those that are made today: encrypted by PBES2 with
// PBKDF2 and AES-CBC (RFC 7292, RFC 8018 6.2). The checksum of the file is not
// looked at: a wrong password does not decrypt anything that can be parsed.

var (
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidEncryptedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6}
	oidKeyBag        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 1}
	oidShroudedBag   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2}
	oidCertBag       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 3}
	oidX509          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 22, 1}
	oidPBES2         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// digests are the pseudo-random functions of PBKDF2, by the last number of their
// identifier, keyLengths the ciphers.
var (
	oidDigest  = asn1.ObjectIdentifier{1, 2, 840, 113549, 2}
	digests    = map[int]func() hash.Hash{7: sha1.New, 9: sha256.New, 10: sha512.New384, 11: sha512.New}
	oidAES     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1}
	keyLengths = map[int]int{2: 16, 22: 24, 42: 32}
)

type algorithm struct {
	Algorithm  asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
}

type pfx struct {
	Version int
	Safe    contentInfo
	MAC     asn1.RawValue `asn1:"optional"`
}

type encryptedData struct {
	Version int
	Info    struct {
		Type      asn1.ObjectIdentifier
		Algorithm algorithm
		Content   asn1.RawValue `asn1:"tag:0,optional"`
	}
}

type safeBag struct {
	ID         asn1.ObjectIdentifier
	Value      asn1.RawValue `asn1:"tag:0,explicit"`
	Attributes asn1.RawValue `asn1:"optional,set"`
}

type certBag struct {
	ID   asn1.ObjectIdentifier
	Data []byte `asn1:"tag:0,explicit"`
}

type encryptedKey struct {
	Algorithm algorithm
	Data      []byte
}

// errPassword: what was decrypted makes no sense.
var errPassword = errors.New("the password is wrong")

// errKind: the file is of a kind that is not supported.
var errKind = errors.New("it is encrypted in a way that is not supported")

// parsePKCS12 returns the certificates and the key of a file.
func parsePKCS12(data []byte, password string) (chain []*x509.Certificate, key crypto.PrivateKey, err error) {
	var file pfx
	var safe []byte
	if err := unmarshal(data, &file); err != nil || !file.Safe.Type.Equal(oidData) || unmarshal(file.Safe.Content.Bytes, &safe) != nil {
		return nil, nil, errors.New("it is no PKCS #12 file")
	}
	var contents []contentInfo
	if err := unmarshal(safe, &contents); err != nil {
		return nil, nil, err
	}
	for _, content := range contents {
		var plain []byte
		switch {
		case content.Type.Equal(oidData):
			err = unmarshal(content.Content.Bytes, &plain)
		case content.Type.Equal(oidEncryptedData):
			var encrypted encryptedData
			if err = unmarshal(content.Content.Bytes, &encrypted); err == nil {
				plain, err = decrypt(encrypted.Info.Algorithm, encrypted.Info.Content.Bytes, password)
			}
		default:
			err = errKind
		}
		if err != nil {
			return nil, nil, err
		}
		var bags []safeBag
		if err := unmarshal(plain, &bags); err != nil {
			return nil, nil, errPassword
		}
		for _, bag := range bags {
			switch {
			case bag.ID.Equal(oidCertBag):
				var c certBag
				if err := unmarshal(bag.Value.Bytes, &c); err != nil || !c.ID.Equal(oidX509) {
					continue
				}
				certificate, err := x509.ParseCertificate(c.Data)
				if err != nil {
					return nil, nil, err
				}
				chain = append(chain, certificate)
			case bag.ID.Equal(oidShroudedBag), bag.ID.Equal(oidKeyBag):
				if key, err = parseKey(bag.Value.Bytes, password, bag.ID.Equal(oidShroudedBag)); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	if len(chain) == 0 || key == nil {
		return nil, nil, errors.New("it does not hold both a certificate and its private key")
	}
	return chain, key, nil
}

// parseKey returns a private key in PKCS #8, which may be encrypted.
func parseKey(der []byte, password string, encrypted bool) (crypto.PrivateKey, error) {
	if !encrypted {
		return x509.ParsePKCS8PrivateKey(der)
	}
	var e encryptedKey
	if err := unmarshal(der, &e); err != nil {
		return nil, err
	}
	plain, err := decrypt(e.Algorithm, e.Data, password)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, errPassword
	}
	return key, nil
}

// decryptPEM returns the PEM with its key decrypted.
func decryptPEM(data []byte, password string) ([]byte, error) {
	var out bytes.Buffer
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" {
			key, err := parseKey(block.Bytes, password, true)
			if err != nil {
				return nil, err
			}
			der, err := x509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				return nil, err
			}
			block = &pem.Block{Type: "PRIVATE KEY", Bytes: der}
		}
		if err := pem.Encode(&out, block); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// maxIterations bounds how long a file can keep us busy: today 600,000 are common.
const maxIterations = 10_000_000

// decrypt undoes PBES2.
func decrypt(a algorithm, data []byte, password string) ([]byte, error) {
	var scheme struct{ KDF, Cipher algorithm }
	if !a.Algorithm.Equal(oidPBES2) || unmarshal(a.Parameters.FullBytes, &scheme) != nil || !scheme.KDF.Algorithm.Equal(oidPBKDF2) {
		return nil, errKind
	}
	var derive struct {
		Salt       []byte
		Iterations int
		KeyLength  int       `asn1:"optional"`
		PRF        algorithm `asn1:"optional"`
	}
	var iv []byte
	if unmarshal(scheme.KDF.Parameters.FullBytes, &derive) != nil || unmarshal(scheme.Cipher.Parameters.FullBytes, &iv) != nil {
		return nil, errKind
	}
	digest := sha1.New
	if len(derive.PRF.Algorithm) > 0 {
		digest = digests[last(derive.PRF.Algorithm, oidDigest)]
	}
	length := keyLengths[last(scheme.Cipher.Algorithm, oidAES)]
	if digest == nil || length == 0 || len(iv) != aes.BlockSize || derive.Iterations < 1 || derive.Iterations > maxIterations {
		return nil, errKind
	}
	key, err := pbkdf2.Key(digest, password, derive.Salt, derive.Iterations, length)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, errPassword
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > aes.BlockSize || !bytes.Equal(plain[len(plain)-padding:], bytes.Repeat([]byte{byte(padding)}, padding)) {
		return nil, errPassword
	}
	return plain[:len(plain)-padding], nil
}

// last returns the last number of an identifier right below another, or 0.
func last(id, below asn1.ObjectIdentifier) int {
	if len(id) != len(below)+1 || !id[:len(below)].Equal(below) {
		return 0
	}
	return id[len(below)]
}

func unmarshal(der []byte, v any) error {
	rest, err := asn1.Unmarshal(der, v)
	if err == nil && len(rest) > 0 {
		err = errors.New("data after the end")
	}
	return err
}
