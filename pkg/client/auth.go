package client

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Credential authenticates to a registry: user name and password, a refresh token that its
// token service exchanges for access tokens, or an access token. The zero value is anonymous.
type Credential struct {
	Username, Password string
	RefreshToken       string
	AccessToken        string
}

// basic returns the Authorization header with user name and password.
func (c Credential) basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password))
}

// maxTokenAnswer limits the answer of a token service, in bytes: a token must fit into a
// header.
const maxTokenAnswer = 128 << 10

// authorizer answers the challenges of one registry. It asks for the credential once, because
// a helper may be slow or prompt the user, and keeps one Authorization header per set of scopes.
type authorizer struct {
	ask func(context.Context, string) (Credential, error) // nil: anonymous

	mu         sync.Mutex // held while a token is fetched: requests that fail together share it
	asked      bool
	credential Credential
	headers    map[string]string // Authorization, by scopes
}

// sendAuthorized sends a request to the registry, and again after a challenge that it can
// answer. A 401 that it cannot answer is returned. Redirects to another origin never see
// the credential, nor are their challenges answered.
func (c *Client) sendAuthorized(req *http.Request, scopes []string) (*http.Response, error) {
	key := strings.Join(scopes, " ")
	c.auth.mu.Lock()
	sent := c.auth.headers[key]
	c.auth.mu.Unlock()
	if sent != "" {
		req.Header.Set("Authorization", sent)
	}
	resp, err := c.http.Do(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !sameOrigin(resp.Request.URL, req.URL) {
		return resp, err
	}
	header, err := c.answerChallenge(req.Context(), resp.Header.Get("WWW-Authenticate"), scopes, sent)
	if err == nil && header == "" {
		return resp, nil
	}
	drain(resp)
	if err != nil {
		return nil, fmt.Errorf("cannot log in: %w", err)
	}
	again := req.Clone(req.Context())
	again.Header.Set("Authorization", header)
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	return c.http.Do(again)
}

// answerChallenge returns the Authorization header that answers a challenge to a request
// which had the header sent; "" if there is no answer.
func (c *Client) answerChallenge(ctx context.Context, challenge string, scopes []string, sent string) (string, error) {
	a, key := &c.auth, strings.Join(scopes, " ")
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.headers[key] != sent {
		return a.headers[key], nil // another request has just fetched it
	}
	scheme, params := parseChallenge(challenge)
	if scheme != "basic" && scheme != "bearer" {
		return "", nil
	}
	if !a.asked && a.ask != nil {
		var err error
		if a.credential, err = a.ask(ctx, c.base.Host); err != nil {
			return "", err
		}
		a.asked = true
	}
	if scheme == "bearer" {
		token, err := c.fetchToken(ctx, params, mergeScopes(append(strings.Fields(params["scope"]), scopes...)), a.credential)
		if err != nil {
			return "", err
		}
		a.headers[key] = "Bearer " + token
		return a.headers[key], nil
	}
	if a.credential.Username == "" || a.credential.Password == "" {
		return "", nil
	}
	a.headers[key] = a.credential.basic()
	return a.headers[key], nil
}

// fetchToken gets an access token from the token service that a Bearer challenge names: with
// GET for a password or anonymously (distribution, "Token Authentication Specification"),
// with POST for a refresh token (its "OAuth2" part).
func (c *Client) fetchToken(ctx context.Context, params map[string]string, scopes []string, cred Credential) (string, error) {
	if cred.AccessToken != "" {
		return cred.AccessToken, nil
	}
	realm, err := url.Parse(params["realm"])
	if err != nil || realm.Host == "" || realm.User != nil || realm.Scheme != "https" && realm.Scheme != "http" {
		return "", errors.New("the registry's challenge names no token service")
	}
	k := request{
		method: http.MethodGet, url: realm, label: realm.Host + realm.Path, header: http.Header{}, noRetry: true, token: true,
	}
	form := realm.Query()
	if service := params["service"]; service != "" {
		form.Set("service", service)
	}
	if cred.RefreshToken != "" {
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", cred.RefreshToken)
		form.Set("client_id", "pierless")
		form.Set("scope", strings.Join(scopes, " "))
		k.method, k.body, k.size = http.MethodPost, bytesBody([]byte(form.Encode())), int64(len(form.Encode()))
		k.header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		form["scope"] = append(form["scope"], scopes...)
		realm.RawQuery = form.Encode()
		if cred.Username != "" || cred.Password != "" {
			k.header.Set("Authorization", cred.basic())
		}
	}
	page, err := c.read(context.WithValue(ctx, tokenRequestKey{}, true), k, maxTokenAnswer)
	if err != nil {
		return "", err
	}
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"` // the same, from newer services
	}
	err = json.Unmarshal(page.body, &answer)
	if answer.AccessToken == "" {
		answer.AccessToken = answer.Token
	}
	if err != nil || answer.AccessToken == "" {
		return "", fmt.Errorf("the token service %s answered without a token", k.label)
	}
	return answer.AccessToken, nil
}

var challengeParam = regexp.MustCompile(`(\w+)\s*=\s*(?:"([^"]*)"|([^\s",]+))`)

// parseChallenge parses a WWW-Authenticate header (RFC 9110, 11.6.1) of one challenge: scheme
// and names of the parameters in lower case.
func parseChallenge(header string) (scheme string, params map[string]string) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	params = map[string]string{}
	for _, m := range challengeParam.FindAllStringSubmatch(rest, -1) {
		params[strings.ToLower(m[1])] = m[2] + m[3]
	}
	return strings.ToLower(scheme), params
}

// repositoryScope returns the scope of a token that allows actions on a repository.
func repositoryScope(name string, actions ...string) string {
	return "repository:" + name + ":" + strings.Join(actions, ",")
}

// mergeScopes sorts scopes and joins the actions on the same resource: token services differ
// in how they read a resource that is listed twice.
func mergeScopes(scopes []string) []string {
	actions := map[string][]string{}
	for _, s := range scopes {
		resource := s[:strings.LastIndexByte(s, ':')+1]
		actions[resource] = append(actions[resource], strings.Split(s[len(resource):], ",")...)
	}
	merged := make([]string, 0, len(actions))
	for resource, a := range actions {
		slices.Sort(a)
		merged = append(merged, resource+strings.Join(slices.Compact(a), ","))
	}
	slices.Sort(merged)
	return merged
}

// explained adds to a 401 of the registry or its token service the user that was refused,
// and why. Passwords and tokens are never shown.
func (c *Client) explained(e *Error) *Error {
	if e.Status != http.StatusUnauthorized {
		return e
	}
	c.auth.mu.Lock()
	defer c.auth.mu.Unlock()
	e.Registry = c.base.Host
	cred := c.auth.credential
	switch {
	case c.opts.Authorization != "": // the caller knows the user
	case cred == (Credential{}):
		e.login = "no credentials are known for the registry " + e.Registry
	case cred.Password == "":
		e.login = "the registry " + e.Registry + " refuses the token that is known for it"
	case e.fromTokenService || strings.HasPrefix(strings.ToLower(e.Challenge), "basic"):
		e.login = fmt.Sprintf("the password that is known for user %q at the registry %s is wrong", cred.Username, e.Registry)
	default: // the token service accepted the password
		e.login = fmt.Sprintf("user %q at the registry %s may not do this", cred.Username, e.Registry)
	}
	return e
}

const maxRedirects = 10

// checkRedirect follows redirects that keep the method and so the body: the answer to an
// upload that a redirect would turn into a GET is the redirect. Another origin sees no
// credentials.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if req.Method != via[0].Method {
		return http.ErrUseLastResponse
	}
	if len(via) >= maxRedirects {
		return errors.New("the registry redirects without end")
	}
	for _, hop := range append(via[1:len(via):len(via)], req) {
		if !sameOrigin(hop.URL, via[0].URL) {
			req.Header.Del("Authorization")
			req.Header.Del("Referer")        // the path of an upload is a secret
			req.Header.Set("User-Agent", "") // not even that of net/http
		}
	}
	return nil
}

// sameOrigin reports whether two URLs have the same scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	return cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
}
