package verify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// authorizer answers the challenges of a registry with a user's credentials, as clients
// do: with Basic, or with a Bearer token for the requested scope.
type authorizer struct {
	username, password string
	client             *http.Client

	mu     sync.Mutex
	basic  bool              // the registry has challenged for Basic
	tokens map[string]string // Bearer tokens by purpose
}

// prepare adds the credentials that earlier challenges required.
func (a *authorizer) prepare(req *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if token := a.tokens[purpose(req)]; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	} else if a.basic {
		req.SetBasicAuth(a.username, a.password)
	}
}

// purpose is a key for requests that share a token.
func purpose(req *http.Request) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(req.URL.EscapedPath(), "/v2/"), "/blobs/")
	name, _, _ = strings.Cut(name, "/manifests/")
	return req.Method + " " + name + " " + req.URL.Query().Get("from")
}

// answer adds the credentials that the challenge requires. It reports false if there are
// none, or if the challenge is not supported.
func (a *authorizer) answer(req *http.Request, challenge http.Header) (bool, error) {
	if a.username == "" && a.password == "" {
		return false, nil
	}
	scheme, params := ParseChallenge(challenge.Values("WWW-Authenticate"))
	switch scheme {
	case "basic":
		a.mu.Lock()
		a.basic = true
		a.mu.Unlock()
		req.SetBasicAuth(a.username, a.password)
		return true, nil
	case "bearer":
		token, err := a.token(req.Context(), params, false)
		if err != nil {
			return false, err
		}
		a.mu.Lock()
		a.tokens[purpose(req)] = token
		a.mu.Unlock()
		req.Header.Set("Authorization", "Bearer "+token)
		return true, nil
	}
	return false, nil
}

var challengeParam = regexp.MustCompile(`([A-Za-z_]+)=(?:"([^"]*)"|([^\s",]+))`)

// ParseChallenge returns the first supported challenge, with its scheme in lower case, or
// an empty scheme (RFC 9110, section 11.6.1).
func ParseChallenge(headers []string) (scheme string, params map[string]string) {
	for _, h := range headers {
		scheme, rest, _ := strings.Cut(h, " ")
		scheme = strings.ToLower(scheme)
		if scheme != "basic" && scheme != "bearer" {
			continue
		}
		params = map[string]string{}
		for _, m := range challengeParam.FindAllStringSubmatch(rest, -1) {
			params[strings.ToLower(m[1])] = m[2] + m[3] // quoted or not
		}
		return scheme, params
	}
	return "", nil
}

// token requests a token from the service of a challenge.
func (a *authorizer) token(ctx context.Context, params map[string]string, anonymous bool) (string, error) {
	realm, err := url.Parse(params["realm"])
	if err != nil || realm.Host == "" {
		return "", fmt.Errorf("the realm %q of the challenge is not a URL", params["realm"])
	}
	q := realm.Query()
	for _, name := range []string{"service", "scope"} {
		if params[name] != "" {
			q.Set(name, params[name])
		}
	}
	realm.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err != nil {
		return "", err
	}
	if !anonymous {
		req.SetBasicAuth(a.username, a.password)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the token server answered %s", resp.Status)
	}
	var got struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := cmp.Or(got.Token, got.AccessToken)
	if token == "" {
		return "", errors.New("the response of the token server has no token")
	}
	return token, nil
}
