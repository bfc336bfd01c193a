package prooftest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Issuer is an OIDC issuer. It encodes and signs its tokens without a library, so that tests can
// have it make wrong ones.
type Issuer struct {
	URL string
	// Discoveries and Fetches count the requests for metadata and keys.
	Discoveries, Fetches atomic.Int64

	t     *testing.T
	mu    sync.Mutex
	keys  map[string]crypto.Signer
	serve http.HandlerFunc // replaces the keys
	found http.HandlerFunc // replaces the metadata
}

// Claims are the claims of a token.
type Claims = map[string]any

// NewIssuer serves an issuer at a host of the Internet, with the keys "rsa", "es256" and "es384".
func NewIssuer(t *testing.T, n *Internet, host string) *Issuer {
	t.Helper()
	i := &Issuer{URL: "https://" + host, t: t, keys: map[string]crypto.Signer{}}
	for name, curve := range map[string]elliptic.Curve{"es256": elliptic.P256(), "es384": elliptic.P384()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		i.keys[name] = key
	}
	i.AddRSA("rsa")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.discovery)
	mux.HandleFunc("GET /keys", i.jwks)
	n.Handle(host, mux)
	return i
}

// rsaKeys has the keys by the issuer's URL and their name, for all tests of a process: it takes
// tenths of a second to make one.
var rsaKeys sync.Map

// AddRSA publishes another key.
func (i *Issuer) AddRSA(name string) {
	i.t.Helper()
	made, _ := rsaKeys.LoadOrStore(i.URL+" "+name, sync.OnceValues(func() (*rsa.PrivateKey, error) {
		return rsa.GenerateKey(rand.Reader, 2048)
	}))
	key, err := made.(func() (*rsa.PrivateKey, error))()
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[name] = key
}

// ServeKeys replaces the answer to requests for keys; nil restores it.
func (i *Issuer) ServeKeys(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.serve = h
}

// ServeMetadata replaces the answer to requests for metadata; nil restores it.
func (i *Issuer) ServeMetadata(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.found = h
}

func (i *Issuer) discovery(w http.ResponseWriter, r *http.Request) {
	i.Discoveries.Add(1)
	i.mu.Lock()
	replaced := i.found
	i.mu.Unlock()
	if replaced != nil {
		replaced(w, r)
		return
	}
	writeJSON(w, Claims{
		"issuer": i.URL, "jwks_uri": i.URL + "/keys", "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256", "ES256", "ES384", "HS256", "none"},
	})
}

func (i *Issuer) jwks(w http.ResponseWriter, r *http.Request) {
	i.Fetches.Add(1)
	i.mu.Lock()
	replaced := i.serve
	i.mu.Unlock()
	if replaced != nil {
		replaced(w, r)
		return
	}
	writeJSON(w, i.Keys())
}

// Keys returns the published keys (RFC 7517).
func (i *Issuer) Keys() Claims {
	i.mu.Lock()
	defer i.mu.Unlock()
	// Verifiers must skip keys that they do not know.
	set := []any{Claims{"kty": "OKP", "crv": "Ed448", "x": "AA", "kid": "unknown"}, Claims{"kty": "new", "kid": "new"}}
	for name, key := range i.keys {
		jwk := Claims{"kid": name, "use": "sig"}
		switch key := key.(type) {
		case *rsa.PrivateKey:
			maps.Copy(jwk, Claims{"kty": "RSA", "alg": "RS256", "n": encode(key.N.Bytes()), "e": "AQAB"})
		case *ecdsa.PrivateKey:
			point, err := key.PublicKey.Bytes()
			if err != nil {
				i.t.Error(err)
			}
			half := len(point) / 2
			maps.Copy(jwk, Claims{"kty": "EC", "crv": key.Params().Name, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:])})
		}
		set = append(set, jwk)
	}
	return Claims{"keys": set}
}

// Claims returns those of a good token for an audience, which lives for five minutes.
func (i *Issuer) Claims(audience, subject string) Claims {
	now := time.Now().Unix()
	return Claims{"iss": i.URL, "aud": audience, "sub": subject, "iat": now, "nbf": now, "exp": now + 300}
}

// Token returns a token signed by a key.
func (i *Issuer) Token(key string, claims Claims) string {
	alg := map[string]string{"es256": "ES256", "es384": "ES384"}[key]
	if alg == "" {
		alg = "RS256"
	}
	return i.TokenWith(key, Claims{"alg": alg, "kid": key, "typ": "JWT"}, claims)
}

// TokenWith returns a token with any header. The algorithm in it decides how a key signs: HS256
// uses the PEM of the public key as the secret, none does not sign.
func (i *Issuer) TokenWith(key string, header, claims Claims) string {
	i.t.Helper()
	input := encodeJSON(i.t, header) + "." + encodeJSON(i.t, claims)
	i.mu.Lock()
	signer := i.keys[key]
	i.mu.Unlock()
	return input + "." + encode(sign(i.t, signer, header["alg"], []byte(input)))
}

func sign(t *testing.T, signer crypto.Signer, alg any, input []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(input)
	switch alg {
	case "none":
		return nil
	case "HS256":
		der, err := x509.MarshalPKIXPublicKey(signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write(input)
		return mac.Sum(nil)
	case "ES384":
		sum := sha512.Sum384(input)
		return signECDSA(t, signer, sum[:])
	case "ES256":
		return signECDSA(t, signer, sum[:])
	case "PS256":
		return must(signer.Sign(rand.Reader, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}))(t)
	}
	return must(signer.Sign(rand.Reader, sum[:], crypto.SHA256))(t)
}

// signECDSA returns the two numbers in their fixed length (RFC 7518, section 3.4).
func signECDSA(t *testing.T, signer crypto.Signer, sum []byte) []byte {
	t.Helper()
	key, is := signer.(*ecdsa.PrivateKey)
	if !is {
		t.Fatalf("%T cannot sign with ECDSA", signer)
	}
	r, s, err := ecdsa.Sign(rand.Reader, key, sum)
	if err != nil {
		t.Fatal(err)
	}
	size := (key.Params().BitSize + 7) / 8
	return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
}

func must(b []byte, err error) func(*testing.T) []byte {
	return func(t *testing.T) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encodeJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return encode(b)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// Forged returns a token with its signature changed.
func Forged(token string) string {
	at := strings.LastIndex(token, ".")
	signature, _ := base64.RawURLEncoding.DecodeString(token[at+1:])
	signature[0] ^= 1
	return token[:at+1] + encode(signature)
}
