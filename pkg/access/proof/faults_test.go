package proof_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/prooftest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/access/proof"
	"github.com/pierless/pierless/pkg/oci"
)

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// answers are wrong answers of an issuer.
func answers() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"500 with keys": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"issuer":"https://issuer.example","jwks_uri":"https://issuer.example/keys",` +
				`"keys":[{"kty":"RSA","kid":"rsa","n":"` + strings.Repeat("A", 341) + `E","e":"AQAB"}]}`))
		},
		"404":   http.NotFound,
		"empty": func(http.ResponseWriter, *http.Request) {},
		"HTML":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no keys": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"rsa"}]}`))
		},
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[],"pad":"` + strings.Repeat("x", 1<<20) + `"}`))
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"keys":`))
		},
		"redirect to http": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://issuer.example/keys", http.StatusFound)
		},
		"redirect for ever": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		},
	}
}

// TestFailingIssuer: a failure is UNAVAILABLE, costs one request in five seconds, and ends with the
// failure.
func TestFailingIssuer(t *testing.T) {
	for name, answer := range answers() {
		for _, part := range []string{"metadata", "keys"} {
			t.Run(name+" for "+part, func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				replace := s.issuer.ServeKeys
				if part == "metadata" {
					replace = s.issuer.ServeMetadata
				}
				replace(answer)
				token := s.issuer.Token("rsa", s.issuer.Claims(audience, "s"))
				s.refused(token, oci.Unavailable)
				before := s.issuer.Discoveries.Load() + s.issuer.Fetches.Load()
				s.refused(token, oci.Unavailable)
				if after := s.issuer.Discoveries.Load() + s.issuer.Fetches.Load(); after != before {
					t.Errorf("%d requests more at once", after-before)
				}
				replace(nil)
				s.ahead.Store(int64(6 * time.Second))
				if _, err := s.prove(token); err != nil {
					t.Errorf("after the failure: %v", err)
				}
			})
		}
	}
}

// TestFailureKeepsKeys: while an issuer fails, the keys that it has published count.
func TestFailureKeepsKeys(t *testing.T) {
	s := newSite(t)
	good := s.issuer.Claims(audience, "s")
	token := s.issuer.Token("rsa", good)
	if _, err := s.prove(token); err != nil {
		t.Fatal(err)
	}
	s.issuer.ServeKeys(http.NotFound)
	s.ahead.Store(int64(2 * time.Minute))
	s.refused(s.issuer.TokenWith("rsa", prooftest.Claims{"alg": "RS256", "kid": "lost"}, good), oci.Unavailable)
	if _, err := s.prove(token); err != nil {
		t.Errorf("a known key after a failure: %v", err)
	}
}

// TestHangingIssuer: a login waits for at most five seconds, and logins with known keys do not wait.
func TestHangingIssuer(t *testing.T) {
	s := newSite(t)
	good := s.issuer.Claims(audience, "s")
	token := s.issuer.Token("rsa", good)
	if _, err := s.prove(token); err != nil {
		t.Fatal(err)
	}
	hanging := make(chan struct{})
	s.issuer.ServeKeys(func(_ http.ResponseWriter, r *http.Request) {
		close(hanging)
		<-r.Context().Done()
	})
	s.ahead.Store(int64(2 * time.Minute))
	began := time.Now()
	var wait sync.WaitGroup
	wait.Go(func() {
		s.refused(s.issuer.TokenWith("rsa", prooftest.Claims{"alg": "RS256", "kid": "lost"}, good), oci.Unavailable)
	})
	<-hanging
	if _, err := s.prove(token); err != nil || time.Since(began) > 2*time.Second {
		t.Errorf("a login with a known key took %v: %v", time.Since(began), err)
	}
	wait.Wait()
	if took := time.Since(began); took < 4*time.Second || took > 8*time.Second {
		t.Errorf("the login took %v, want about 5s", took)
	}
}

// TestMetadataOfAnotherIssuer: an issuer cannot name another one, nor keys that are not on https.
func TestMetadataOfAnotherIssuer(t *testing.T) {
	for name, metadata := range map[string]string{
		"another issuer": `{"issuer":"https://stranger.example","jwks_uri":"https://issuer.example/keys"}`,
		"http":           `{"issuer":"https://issuer.example","jwks_uri":"http://issuer.example/keys"}`,
		"file":           `{"issuer":"https://issuer.example","jwks_uri":"file:///etc/passwd"}`,
		"nothing":        `{"issuer":"https://issuer.example"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.issuer.ServeMetadata(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(metadata)) })
			s.refused(s.issuer.Token("rsa", s.issuer.Claims(audience, "s")), oci.Unavailable)
			if n := s.issuer.Fetches.Load(); n != 0 {
				t.Errorf("%d requests for keys", n)
			}
		})
	}
}

// TestAddresses: the transport of a deployed registry connects to public addresses only.
func TestAddresses(t *testing.T) {
	s := newSite(t)
	reached := make(chan struct{}, 100)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			reached <- struct{}{}
		}
	}
	server.StartTLS()
	defer server.Close()
	try := func(issuer string, private bool) (connected bool) {
		t.Helper()
		v := proof.New(proof.Options{
			Settings: func(context.Context) (access.Settings, error) {
				return access.Settings{Logins: []access.Rule{{Issuer: issuer}}}, nil
			},
			PrivateIssuers: private,
		})
		token := s.issuer.Token("rsa", with(s.issuer.Claims(audience, "s"), "iss", issuer))
		id, err := v.Prove(t.Context(), host, access.Proof{OIDC: token})
		checkRefusal(t, id, err, oci.Unavailable, token)
		select {
		case <-reached:
			return true
		default:
			return false
		}
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	for _, name := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		if try("https://"+name+":"+port, false) {
			t.Errorf("%s was reached", name)
		}
	}
	if !try("https://127.0.0.1:"+port, true) {
		t.Error("with private issuers loopback was not reached")
	}
}
