package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/client"
)

// Audience returns the audience of the ID tokens for a registry at host[:port].
func Audience(host string) string { return "https://" + host }

// Environment returns the sources that the environment of this process configures: a token in
// PIERLESS_ID_TOKEN, one in the file PIERLESS_ID_TOKEN_FILE, then GitHub Actions.
func Environment(getenv func(string) string) []Source {
	var all []Source
	if token := getenv("PIERLESS_ID_TOKEN"); token != "" {
		all = append(all, Token("PIERLESS_ID_TOKEN", token))
	}
	if path := getenv("PIERLESS_ID_TOKEN_FILE"); path != "" {
		all = append(all, file(path))
	}
	if address := getenv("ACTIONS_ID_TOKEN_REQUEST_URL"); address != "" {
		g := github{address: address, token: getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN"), http: &http.Client{Transport: client.NewTransport(), Timeout: githubTimeout}}
		all = append(all, Source{Name: "GitHub Actions", Prove: g.prove})
	}
	return all
}

// Token is a source with an ID token.
func Token(name, token string) Source {
	return Source{Name: name, Prove: func(context.Context, string) (access.Proof, error) { return idToken(token) }}
}

// maxIDToken limits the size of an ID token and of its file, in bytes.
const maxIDToken = 64 << 10

// file is a source with an ID token in a file, which its writer replaces before it expires.
func file(path string) Source {
	return Source{Name: "PIERLESS_ID_TOKEN_FILE", Prove: func(context.Context, string) (access.Proof, error) {
		f, err := os.Open(path)
		if err != nil {
			return access.Proof{}, err
		}
		defer f.Close()
		content, err := io.ReadAll(io.LimitReader(f, maxIDToken+1))
		if err != nil {
			return access.Proof{}, err
		}
		return idToken(string(content))
	}}
}

// idToken checks that a text looks like an ID token, which has three parts: another secret must not
// be sent to the registry.
func idToken(text string) (access.Proof, error) {
	text = strings.TrimSpace(text)
	if strings.Count(text, ".") != 2 || strings.ContainsAny(text, " \t\r\n") || len(text) > maxIDToken {
		return access.Proof{}, errors.New("the text is not an ID token (a JWT)")
	}
	return access.Proof{OIDC: text}, nil
}

const (
	githubTimeout  = 10 * time.Second // for one answer
	githubAttempts = 3
	githubWait     = 500 * time.Millisecond // before the second attempt; twice that before the third
)

// github gets ID tokens from the service of a workflow run.
type github struct {
	address, token string
	http           *http.Client
}

func (g github) prove(ctx context.Context, host string) (access.Proof, error) {
	u, err := url.Parse(g.address)
	if err != nil || u.Host == "" {
		return access.Proof{}, errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL")
	}
	q := u.Query()
	q.Set("audience", Audience(host))
	u.RawQuery = q.Encode()
	for attempt := 0; ; attempt++ {
		proof, again, err := g.ask(ctx, u.String())
		if err == nil || !again || attempt == githubAttempts-1 {
			return proof, err
		}
		if err := client.Sleep(ctx, githubWait<<attempt); err != nil {
			return access.Proof{}, err
		}
	}
}

// ask makes one request. again reports whether another one may succeed.
func (g github) ask(ctx context.Context, address string) (proof access.Proof, again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return access.Proof{}, false, errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL")
	}
	req.Header.Set("Authorization", "Bearer "+g.token)
	req.Header.Set("Accept", "application/json; api-version=2.0")
	resp, err := g.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL
		}
		return access.Proof{}, ctx.Err() == nil, fmt.Errorf("the token service does not answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return access.Proof{}, resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests,
			fmt.Errorf("the token service answers %s", resp.Status)
	}
	var answer struct{ Value string }
	if json.NewDecoder(io.LimitReader(resp.Body, 2*maxIDToken)).Decode(&answer) != nil {
		return access.Proof{}, false, errors.New("the answer of the token service is not JSON")
	}
	proof, err = idToken(answer.Value)
	return proof, false, err
}
