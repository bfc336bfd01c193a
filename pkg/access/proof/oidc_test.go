package proof_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/prooftest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/access/proof"
	"github.com/pierless/pierless/pkg/oci"
)

const (
	host     = "registry.example:5000"
	audience = "https://" + host
)

// site is an issuer with a rule, and a verifier with a clock of its own.
type site struct {
	t        *testing.T
	net      *prooftest.Internet
	issuer   *prooftest.Issuer
	verifier *proof.Verifier
	ahead    atomic.Int64 // of the verifier's clock, in nanoseconds
}

func newSite(t *testing.T, issuers ...string) *site {
	t.Helper()
	s := &site{t: t, net: prooftest.NewInternet(t)}
	s.issuer = prooftest.NewIssuer(t, s.net, "issuer.example")
	settings := access.Settings{}
	for _, issuer := range append(issuers, s.issuer.URL) {
		settings.Logins = append(settings.Logins, access.Rule{Issuer: issuer})
	}
	s.verifier = proof.New(proof.Options{
		Settings:  func(context.Context) (access.Settings, error) { return settings, nil },
		Transport: s.net.Transport(),
		Now:       func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) },
	})
	return s
}

func (s *site) prove(token string) (access.Identity, error) {
	return s.verifier.Prove(s.t.Context(), host, access.Proof{OIDC: token})
}

// refused checks that a token is refused with a code, and that neither the message nor its cause
// contains the token.
func (s *site) refused(token string, want oci.Code) {
	s.t.Helper()
	id, err := s.prove(token)
	checkRefusal(s.t, id, err, want, token)
}

func checkRefusal(t *testing.T, id access.Identity, err error, want oci.Code, secret string) {
	t.Helper()
	if !errors.Is(err, &oci.Error{Code: want}) || id.Subject != "" || id.Claims != nil {
		t.Errorf("got %+v, %v; want %s", id, err, want)
		return
	}
	for part := range strings.FieldsFuncSeq(secret, func(c rune) bool { return strings.ContainsRune(".&=?", c) }) {
		if len(part) > 40 && strings.Contains(err.Error(), part) {
			t.Errorf("the error shows a part of the proof: %v", err)
		}
	}
}

func TestIDTokens(t *testing.T) {
	s := newSite(t)
	for _, key := range []string{"rsa", "es256", "es384"} {
		claims := s.issuer.Claims(audience, "repo:acme/app:ref:refs/heads/main")
		claims["run_id"], claims["protected"], claims["groups"], claims["nested"] = 12345678901234567, true, []string{"a"}, prooftest.Claims{"a": "b"}
		claims["email"], claims["nothing"], claims["big"] = "a@b.example", nil, 1e30
		id, err := s.prove(s.issuer.Token(key, claims))
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		for name, want := range map[string]string{
			"run_id": "12345678901234567", "protected": "true", "email": "a@b.example", "sub": "repo:acme/app:ref:refs/heads/main",
			"groups": "", "nested": "", "nothing": "", "iss": "", "aud": "", "exp": "", "iat": "", "nbf": "",
		} {
			if got, found := id.Claims[name]; got != want || found != (want != "") {
				t.Errorf("%s: the claim %s is %q, want %q", key, name, got, want)
			}
		}
		if id.Issuer != s.issuer.URL || id.Subject != "repo:acme/app:ref:refs/heads/main" || len(id.Proof) != 64 || !id.Once.IsZero() {
			t.Errorf("%s: %+v", key, id)
		}
	}
	if d, f := s.issuer.Discoveries.Load(), s.issuer.Fetches.Load(); d != 1 || f != 1 {
		t.Errorf("%d discoveries and %d fetches of keys for three tokens, want one of each", d, f)
	}
}

// TestProofHash: a proof has one hash, also if its signature or its header is another one.
func TestProofHash(t *testing.T) {
	s := newSite(t)
	claims := s.issuer.Claims(audience, "s")
	var seen []string
	for _, token := range []string{s.issuer.Token("es256", claims), s.issuer.Token("es256", claims)} {
		id, err := s.prove(token)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, id.Proof)
	}
	claims["jti"] = "2"
	id, err := s.prove(s.issuer.Token("es256", claims))
	if err != nil || seen[0] != seen[1] || id.Proof == seen[0] {
		t.Errorf("hashes %v and %s, %v", seen, id.Proof, err)
	}
}

func TestForgedTokens(t *testing.T) {
	s := newSite(t)
	good := s.issuer.Claims(audience, "s")
	stranger := prooftest.NewIssuer(t, s.net, "stranger.example")
	header := func(alg, kid string) prooftest.Claims { return prooftest.Claims{"alg": alg, "kid": kid} }
	token := s.issuer.Token("rsa", good)
	if _, err := s.prove(token); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	withKey := header("RS256", "mine")
	withKey["jwk"] = stranger.Keys()["keys"].([]any)[2]
	withURL := header("RS256", "mine")
	withURL["jku"] = stranger.URL + "/keys"
	critical := header("RS256", "rsa")
	critical["crit"], critical["exp"] = []string{"exp"}, 1
	for name, token := range map[string]string{
		"changed signature":               prooftest.Forged(token),
		"changed signature, ES256":        prooftest.Forged(s.issuer.Token("es256", good)),
		"changed claims":                  parts[0] + "." + strings.Split(s.issuer.Token("rsa", s.issuer.Claims(audience, "other")), ".")[1] + "." + parts[2],
		"alg none":                        s.issuer.TokenWith("rsa", header("none", "rsa"), good),
		"alg none without kid":            s.issuer.TokenWith("rsa", prooftest.Claims{"alg": "none"}, good),
		"alg None":                        s.issuer.TokenWith("rsa", header("None", "rsa"), good),
		"no alg":                          s.issuer.TokenWith("rsa", prooftest.Claims{"kid": "rsa"}, good),
		"no signature":                    parts[0] + "." + parts[1] + ".",
		"HS256 with the public key":       s.issuer.TokenWith("rsa", header("HS256", "rsa"), good),
		"PS256":                           s.issuer.TokenWith("rsa", header("PS256", "rsa"), good),
		"ES256 named RS256":               s.issuer.TokenWith("es256", header("RS256", "rsa"), good),
		"ES256 under the kid of ES384":    s.issuer.TokenWith("es256", header("ES256", "es384"), good),
		"key of another issuer":           stranger.TokenWith("rsa", header("RS256", "rsa"), good),
		"key of another issuer, no kid":   stranger.TokenWith("rsa", prooftest.Claims{"alg": "RS256"}, good),
		"key in the header":               stranger.TokenWith("rsa", withKey, good),
		"URL of a key in the header":      stranger.TokenWith("rsa", withURL, good),
		"unknown kid":                     s.issuer.TokenWith("rsa", header("RS256", "lost"), good),
		"unknown critical header":         s.issuer.TokenWith("rsa", critical, good),
		"an issuer that no rule names":    stranger.Token("rsa", stranger.Claims(audience, "s")),
		"an issuer that differs by slash": s.issuer.Token("rsa", with(good, "iss", s.issuer.URL+"/")),
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.refused(token, oci.Denied)
		})
	}
	if n := stranger.Discoveries.Load() + stranger.Fetches.Load(); n != 0 {
		t.Errorf("%d requests to an issuer that no rule names", n)
	}
}

func with(claims prooftest.Claims, name string, value any) prooftest.Claims {
	changed := prooftest.Claims{}
	for n, v := range claims {
		changed[n] = v
	}
	if changed[name] = value; value == nil {
		delete(changed, name)
	}
	return changed
}

func TestWrongClaims(t *testing.T) {
	s := newSite(t)
	good, now := s.issuer.Claims(audience, "s"), time.Now().Unix()
	for _, c := range []struct {
		claim string
		value any
		want  oci.Code
	}{
		{"aud", []string{audience}, ""},
		{"aud", audience + "/", oci.Denied},
		{"aud", "http://" + host, oci.Denied},
		{"aud", host, oci.Denied},
		{"aud", "https://registry.example", oci.Denied},
		{"aud", "https://github.com/acme", oci.Denied},
		{"aud", []string{audience, "https://other.example"}, oci.Denied},
		{"aud", []string{}, oci.Denied},
		{"aud", nil, oci.Denied},
		{"sub", nil, oci.Denied},
		{"sub", "", oci.Denied},
		{"sub", 7, oci.Denied},
		{"exp", now - 30, ""},
		{"exp", now - 90, oci.Denied},
		{"exp", now + 12*3600, ""},
		{"exp", now + 12*3600 + 100, oci.Denied},
		{"exp", 1e300, oci.Denied},
		{"exp", -1, oci.Denied},
		{"exp", "tomorrow", oci.Denied},
		{"exp", nil, oci.Denied},
		{"nbf", now + 30, ""},
		{"nbf", now + 90, oci.Denied},
		{"nbf", "now", oci.Denied},
		{"nbf", nil, ""},
		{"iat", now + 30, ""},
		{"iat", now + 90, oci.Denied},
		{"iat", nil, ""},
	} {
		_, err := s.prove(s.issuer.Token("rsa", with(good, c.claim, c.value)))
		if c.want == "" && err != nil || c.want != "" && !errors.Is(err, &oci.Error{Code: c.want}) {
			t.Errorf("%s %v: %v, want %q", c.claim, c.value, err, c.want)
		}
	}
	if _, err := s.prove(s.issuer.Token("rsa", with(good, "sub", nil))); err == nil || !strings.Contains(err.Error(), "sub") {
		t.Errorf("without sub: %v", err)
	}
}

// TestDefaultPort: the port of https is not part of the audience.
func TestDefaultPort(t *testing.T) {
	s := newSite(t)
	token := s.issuer.Token("rsa", s.issuer.Claims("https://registry.example", "s"))
	for named, want := range map[string]bool{"registry.example": true, "registry.example:443": true, host: false} {
		_, err := s.verifier.Prove(t.Context(), named, access.Proof{OIDC: token})
		if (err == nil) != want {
			t.Errorf("%s: %v, want accepted: %v", named, err, want)
		}
	}
}

func TestMalformedProofs(t *testing.T) {
	s := newSite(t)
	payload := base64.RawURLEncoding.EncodeToString
	for _, token := range []string{
		"x", "a.b.c", "..", "e30.e30.e30", "e30." + payload([]byte(`{"iss":7}`)) + ".AA", "e30." + payload([]byte(`[]`)) + ".AA",
		"e30.e30", "plr_secret", strings.Repeat("x", 20<<10), s.issuer.Token("rsa", s.issuer.Claims(audience, strings.Repeat("s", 20<<10))),
	} {
		s.refused(token, oci.AccessInvalid)
	}
	for name, p := range map[string]access.Proof{"none": {}, "two": {OIDC: "a", STS: "b"}} {
		if _, err := s.verifier.Prove(t.Context(), host, p); !errors.Is(err, &oci.Error{Code: oci.AccessInvalid}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	token := s.issuer.Token("rsa", s.issuer.Claims("https://", "s"))
	if _, err := s.verifier.Prove(t.Context(), "", access.Proof{OIDC: token}); !errors.Is(err, &oci.Error{Code: oci.AccessInvalid}) {
		t.Errorf("without a host: %v", err)
	}
}

// TestUnknownKeys: a token with an unknown key makes the verifier ask for the keys once a minute,
// and does not disturb logins with known keys.
func TestUnknownKeys(t *testing.T) {
	s := newSite(t)
	good := s.issuer.Claims(audience, "s")
	lost := s.issuer.TokenWith("rsa", prooftest.Claims{"alg": "RS256", "kid": "lost"}, good)
	for range 5 {
		s.refused(lost, oci.Denied)
		s.refused(prooftest.Forged(s.issuer.Token("rsa", good)), oci.Denied)
	}
	if n := s.issuer.Fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	s.issuer.AddRSA("new")
	rotated := s.issuer.Token("new", good)
	s.refused(rotated, oci.Denied)
	s.ahead.Store(int64(61 * time.Second))
	if _, err := s.prove(rotated); err != nil {
		t.Errorf("a minute later the new key is unknown: %v", err)
	}
	for range 5 {
		s.refused(lost, oci.Denied)
	}
	if n := s.issuer.Fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

// TestWithdrawnKeys: an hour after an issuer has withdrawn a key, it does not count.
func TestWithdrawnKeys(t *testing.T) {
	s := newSite(t)
	token := func() string {
		claims := s.issuer.Claims(audience, "s")
		claims["exp"] = time.Now().Add(time.Duration(s.ahead.Load()) + time.Minute).Unix()
		return s.issuer.Token("rsa", claims)
	}
	if _, err := s.prove(token()); err != nil {
		t.Fatal(err)
	}
	others := prooftest.NewIssuer(t, s.net, "others.example")
	s.issuer.ServeKeys(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		rec.Body.WriteString(`{"keys":[` + strings.ReplaceAll(jsonOf(t, others.Keys()["keys"].([]any)[2]), `"kid":"rsa"`, `"kid":"x"`) + `]}`)
		_, _ = w.Write(rec.Body.Bytes())
	})
	s.ahead.Store(int64(59 * time.Minute))
	if _, err := s.prove(token()); err != nil {
		t.Errorf("within the hour: %v", err)
	}
	s.ahead.Store(int64(61 * time.Minute))
	s.refused(token(), oci.Denied)
}
