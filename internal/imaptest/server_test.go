package imaptest_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"go.uber.org/goleak"

	"postroom/internal/imaptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServer(t *testing.T) {
	s, err := imaptest.Start(imaptest.Options{Folders: []string{"Projects/Größe"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Deliver("Projects/Größe", []byte("Subject: x\r\n\r\n"), time.Now()); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.CAPEM()) {
		t.Fatal("CAPEM is no certificate")
	}
	client, err := imapclient.DialTLS(s.Addr(), &imapclient.Options{TLSConfig: &tls.Config{RootCAs: roots}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Login(s.Username(), "wrong").Wait(); err == nil {
		t.Error("any password is accepted")
	}
	if err := client.Login(s.Username(), s.Password()).Wait(); err != nil {
		t.Fatal(err)
	}
	data, err := client.Select("Projects/Größe", nil).Wait()
	if err != nil || data.NumMessages != 1 {
		t.Errorf("%+v, %v", data, err)
	}
}
