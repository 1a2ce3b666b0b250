package imap_test

import (
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postroom/internal/dovecot"
)

func TestZZ(t *testing.T) {
	server := dovecot.Start(t, dovecot.Options{})
	start := time.Now().Add(-48 * time.Hour)
	for i := range 50_000 {
		if err := server.Deliver("user", "INBOX", []byte("Subject: x\r\n\r\n"), start.Add(time.Duration(i)*time.Second), true); err != nil {
			t.Fatal(err)
		}
	}
	f := func(name string, ro bool, n int) {
		server.Do("user", func(c *imapclient.Client) error {
			for range n {
				b := time.Now()
				_, err := c.Select("INBOX", &goimap.SelectOptions{ReadOnly: ro}).Wait()
				t.Log(name, ro, time.Since(b), err)
				time.Sleep(time.Second)
			}
			return nil
		})
	}
	f("a", true, 20)
	f("b", false, 3)
	f("c", true, 5)
}
