package imaptest_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
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

// TestMoveOfNothing: to copy or move what is not there is answered as real servers
// do, with an OK.
func TestMoveOfNothing(t *testing.T) {
	s, err := imaptest.Start(imaptest.Options{Folders: []string{"Filed"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for range 2 {
		if err := s.Deliver("INBOX", []byte("Subject: x\r\n\r\n"), time.Now()); err != nil {
			t.Fatal(err)
		}
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
	if err := client.Login(s.Username(), s.Password()).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	gone, first := goimap.UIDSetNum(7), goimap.UIDSetNum(1)
	if data, err := client.Copy(gone, "Filed").Wait(); err != nil || len(data.DestUIDs) > 0 {
		t.Errorf("COPY of nothing: %+v, %v", data, err)
	}
	if data, err := client.Move(gone, "Filed").Wait(); err != nil || data.DestUIDs != nil {
		t.Errorf("MOVE of nothing: %+v, %v", data, err)
	}
	if _, err := client.Move(gone, "None").Wait(); err == nil {
		t.Error("moved to a folder that is not there")
	}
	for range 2 {
		data, err := client.Move(first, "Filed").Wait()
		if err != nil {
			t.Errorf("MOVE: %+v, %v", data, err)
		}
	}
	if data, err := client.Status("Filed", &goimap.StatusOptions{NumMessages: true}).Wait(); err != nil || *data.NumMessages != 1 {
		t.Errorf("%+v, %v", data, err)
	}
}
