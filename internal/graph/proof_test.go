package graph

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postroom/internal/secret"
)

// registration answers for the application's registration.
func registration(t *testing.T, credentials string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		if want := "/v1.0/applications(appId='" + app + "')?$select=passwordCredentials"; r.URL.RequestURI() != want || r.Header.Get("Authorization") == "" {
			t.Errorf("asked %s, want %s", r.URL.RequestURI(), want)
		}
		fmt.Fprintf(w, `{"passwordCredentials":[%s]}`, credentials)
	}
}

func credential(name, hint string, end time.Time) string {
	return fmt.Sprintf(`{"displayName":%s,"hint":%s,"endDateTime":%q,"secretText":null}`, name, hint, end.UTC().Format(time.RFC3339Nano))
}

// Of the secrets that an application has, its own is the one that begins like it.
func TestOwnSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		day := 24 * time.Hour
		now := time.Now()
		in := func(days int) time.Time { return now.Add(time.Duration(days) * day) }
		for name, row := range map[string]struct {
			credentials []string
			expires     int // in days; 0: not known
			name        string
		}{
			"none":             {nil, 0, ""},
			"one":              {[]string{credential(`"a"`, `"cor"`, in(20))}, 20, "a"},
			"of others":        {[]string{credential(`"a"`, `"xyz"`, in(2)), credential(`"b"`, `"cor"`, in(20)), credential(`"c"`, `null`, in(1))}, 20, "b"},
			"only others":      {[]string{credential(`"a"`, `"xyz"`, in(2))}, 0, ""},
			"soonest alike":    {[]string{credential(`"a"`, `"cor"`, in(50)), credential(`"b"`, `"cor"`, in(20))}, 20, "b"},
			"ended alike":      {[]string{credential(`"a"`, `"cor"`, in(-1)), credential(`"b"`, `"cor"`, in(20))}, 20, "b"},
			"all ended":        {[]string{credential(`"a"`, `"cor"`, in(-1)), credential(`"b"`, `"cor"`, in(-3))}, -1, "a"},
			"no hint":          {[]string{credential(`null`, `null`, in(9)), credential(`"a"`, `"xyz"`, in(2)), credential(`null`, `""`, in(7))}, 7, ""},
			"letter case":      {[]string{credential(`"a"`, `"COR"`, in(9))}, 0, ""},
			"odd":              {[]string{"null", `{"hint":"cor"}`, `{"hint":"cor","endDateTime":"soon"}`, credential(`"a"`, `"cor"`, in(3))}, 3, "a"},
			"secret as a name": {[]string{credential(`"my `+hidden+`"`, `"cor"`, in(3))}, 3, "my ***"},
		} {
			f := &world{graph: registration(t, strings.Join(row.credentials, ","))}
			c := f.open(t, new(Clients), settings())
			p, err := c.Proof(t.Context())
			want := Proof{Kind: "client secret", Name: row.name, Expires: in(row.expires)}
			if row.expires == 0 {
				want = Proof{}
			}
			if err != nil || !p.Expires.Equal(want.Expires) || p.Kind != want.Kind || p.Name != want.Name {
				t.Errorf("%s: %+v, %v; want %+v", name, p, err, want)
			}
		}
	})
}

// Who may not read the registration is not told so, and it is asked once a day.
func TestSecretIsAskedForOnceADay(t *testing.T) {
	for name, row := range map[string]struct {
		status   int
		known    bool
		failure  bool
		requests int // the second time, two hours later
	}{
		"allowed":    {200, true, false, 0},
		"denied":     {403, false, false, 0},
		"not there":  {404, false, false, 0},
		"in trouble": {503, false, true, maxTries},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &world{graph: func(w http.ResponseWriter, r *http.Request) {
					if row.status != 200 {
						refuse(w, row.status, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
						return
					}
					registration(t, credential(`"a"`, `"cor"`, time.Now().Add(40*24*time.Hour)))(w, r)
				}}
				c := f.open(t, new(Clients), settings())
				ask := func() {
					t.Helper()
					if p, err := c.Proof(t.Context()); (err != nil) != row.failure || p.Expires.IsZero() == row.known {
						t.Errorf("%+v, %v", p, err)
					}
				}
				ask()
				before := f.requests()
				if p, err := c.Proof(t.Context()); err != nil || p.Expires.IsZero() == row.known || f.requests() != before {
					t.Errorf("at once: %+v, %v, %d requests", p, err, f.requests()-before)
				}
				time.Sleep(2 * time.Hour)
				ask()
				if n := f.requests() - before; n != row.requests {
					t.Errorf("two hours later: %d requests, want %d", n, row.requests)
				}
				time.Sleep(25 * time.Hour)
				before = f.requests()
				ask()
				if f.requests() == before {
					t.Error("a day later it is not asked again")
				}
			})
		})
	}
}

// A directory that says nothing holds up nothing for long, and no mailbox.
func TestSecretOfASilentDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &world{graph: func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}
		c := f.open(t, new(Clients), settings())
		began := time.Now()
		if p, err := c.Proof(t.Context()); !errors.Is(err, errNoAnswer) || p != (Proof{}) || time.Since(began) != askPatience {
			t.Errorf("%+v, %v after %v", p, err, time.Since(began))
		}
		f.answers(func(w http.ResponseWriter, r *http.Request) {
			refuse(w, 429, "TooManyRequests", "Too many requests.")
		})
		time.Sleep(2 * time.Hour)
		if _, err := c.Proof(t.Context()); err == nil {
			t.Error("no error")
		}
		turn, err := c.Mailbox("a@contoso.example").lane.take(t.Context(), 0)
		if err != nil {
			t.Fatalf("a mailbox waits for the directory: %v", err)
		}
		turn.done()
	})
}

// Only of a secret the directory is asked, and it is said once a day that it ends
// soon.
func TestSecretExpiresSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		day := 24 * time.Hour
		f := &world{graph: registration(t, credential(`"a"`, `"cor"`, time.Now().Add(31*day)))}
		c := f.open(t, new(Clients), settings())
		for i, want := range []bool{false, false, true, false, true} {
			p, soon, err := c.ExpiresSoon(t.Context(), 30*day)
			if err != nil || soon != want || p.Name != "a" {
				t.Errorf("after %d half days: %+v, %v, %v; want %v", i, p, soon, err, want)
			}
			time.Sleep(12 * time.Hour)
		}
		for _, s := range []Settings{
			{Flow: ManagedIdentity}, {TenantID: tenant, ClientID: app, Flow: WorkloadIdentity}, {TenantID: tenant, ClientID: "not an id", ClientSecret: secret.New(hidden)},
		} {
			before := f.requests()
			if p, err := f.open(t, new(Clients), s).Proof(t.Context()); err != nil || p != (Proof{}) || f.requests() != before {
				t.Errorf("%+v: %+v, %v", s, p, err)
			}
		}
	})
}
