package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	jose "github.com/go-jose/go-jose/v4"
)

// How long an issuer is not asked again.
const (
	keepKeys  = time.Hour       // for its keys: one that it has withdrawn counts for that long
	keepKnown = time.Minute     // for a key that it did not have
	keepFault = 5 * time.Second // after it has failed
)

// errForm refuses a text that is not a JWT. It does not show the text.
var errForm = errors.New("malformed JWT")

// errUnknownKey refuses a token that is signed by a key that the issuer does not publish.
var errUnknownKey = errors.New("the issuer does not publish the key of the signature")

// issuer has the keys of an OIDC issuer.
type issuer struct {
	url    string
	client *http.Client
	now    func() time.Time

	fetch sync.Mutex // held during requests
	mu    sync.Mutex
	keys  []jose.JSONWebKey
	read  time.Time // when keys were read
	fault error     // of the last request
	tried time.Time // when it failed
}

// find returns the keys with an id, or all if it is empty. The error is errUnknownKey, or that of
// the request for the keys.
func (i *issuer) find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	if keys, known, err := i.cached(id); known {
		return keys, err
	}
	i.fetch.Lock()
	defer i.fetch.Unlock()
	if keys, known, err := i.cached(id); known { // another login has fetched them
		return keys, err
	}
	// The fetch is for all logins that wait, so it does not end with the client of this one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	keys, err := i.request(ctx)
	i.mu.Lock()
	if i.fault = err; err == nil {
		i.keys, i.read = keys, i.now()
	} else {
		i.tried = i.now()
	}
	i.mu.Unlock()
	keys, _, err = i.cached(id)
	return keys, err
}

// cached answers without a request; known is false if one is due.
func (i *issuer) cached(id string) (keys []jose.JSONWebKey, known bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	age := i.now().Sub(i.read)
	if age < keepKeys {
		for _, key := range i.keys {
			if id == "" || key.KeyID == id {
				keys = append(keys, key)
			}
		}
	}
	switch {
	case len(keys) > 0:
		return keys, true, nil
	case i.fault != nil:
		return nil, i.now().Sub(i.tried) < keepFault, i.fault
	}
	return nil, age < keepKnown, errUnknownKey
}

// request reads the keys: it asks the issuer for their URL, and then for the keys.
func (i *issuer) request(ctx context.Context) ([]jose.JSONWebKey, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, i.client), i.url)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	var metadata struct {
		URL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&metadata); err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, metadata.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	resp, err := i.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("keys: status %d", resp.StatusCode)
	}
	return decodeKeys(body)
}

// decodeKeys leaves out keys of unknown forms (RFC 7517, section 5), and those that are not for
// signatures.
func decodeKeys(body []byte) (keys []jose.JSONWebKey, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) == nil && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("keys: there is no public key")
	}
	return keys, nil
}

// signature is the oidc.KeySet for one token. It keeps the error of the issuer, which go-oidc
// does not pass on.
type signature struct {
	issuer *issuer
	err    error
}

// algorithms are those of signatures. Symmetric ones and "none" must never be added.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384}
}

// VerifySignature implements oidc.KeySet.
func (s *signature) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	jws, err := jose.ParseSigned(token, algorithms())
	if err != nil {
		return nil, err
	}
	header := jws.Signatures[0].Header
	keys, err := s.issuer.find(ctx, header.KeyID)
	if err != nil {
		if !errors.Is(err, errUnknownKey) {
			s.err = err
		}
		return nil, err
	}
	for _, key := range keys {
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(&key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the issuer has made the signature")
}
