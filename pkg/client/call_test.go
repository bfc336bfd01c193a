package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci/route"
)

// callee is a server that records requests and answers the first ones with other statuses.
type callee struct {
	statuses []int
	body     string
	cut      bool // the answer
	asked    []string
}

func (c *callee) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.asked = append(c.asked, fmt.Sprintf("%s %s %s|%s|%s", r.Method, r.URL, body, r.Header.Get("If-Match"), r.Header.Get("Authorization")))
	status := http.StatusOK
	if n := len(c.asked); n <= len(c.statuses) {
		status = c.statuses[n-1]
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
	}
	w.Header().Set("ETag", `"v2"`)
	if c.cut {
		w.Header().Set("Content-Length", "100")
	}
	w.WriteHeader(status)
	io.WriteString(w, c.body)
}

func calling(t *testing.T, c *callee) *client.Client {
	t.Helper()
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	found, err := client.New(srv.URL, client.Options{
		Attempts: 3, Sleep: func(context.Context, time.Duration) error { return nil },
		Credentials: func(context.Context, string) (client.Credential, error) {
			return client.Credential{Username: "me", Password: "mine"}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestCall: a request that changes something is sent once, others are repeated.
func TestCall(t *testing.T) {
	get := client.Call{Method: http.MethodGet, Kind: route.AccessLog, Query: url.Values{"next": {"a b"}}}
	put := client.Call{Method: http.MethodPut, Kind: route.AccessRules, IfMatch: `"v1"`, Body: map[string]int{"a": 1}}
	post := client.Call{Method: http.MethodPost, Kind: route.AccessTokens, Body: []int{}}
	proof := client.Call{Method: http.MethodPost, Kind: route.Login, Body: []int{}, Proof: true}
	const (
		asked, refused, busy = http.StatusOK, http.StatusUnauthorized, http.StatusServiceUnavailable

		basic = "Basic bWU6bWluZQ=="
	)
	for _, c := range []struct {
		call     client.Call
		statuses []int
		cut, ok  bool
		asked    int
		last     string
	}{
		{get, []int{asked}, false, true, 1, "GET /v2/_pierless/access/log?next=a+b ||"},
		{get, []int{refused}, false, true, 2, "GET /v2/_pierless/access/log?next=a+b ||" + basic},
		{get, []int{busy, busy}, false, true, 3, "GET /v2/_pierless/access/log?next=a+b ||"},
		{get, nil, true, false, 3, "GET /v2/_pierless/access/log?next=a+b ||"},
		{put, []int{refused}, false, true, 2, `PUT /v2/_pierless/access/rules {"a":1}|"v1"|` + basic},
		{put, []int{busy}, false, false, 1, `PUT /v2/_pierless/access/rules {"a":1}|"v1"|`},
		{post, []int{busy}, false, false, 1, "POST /v2/_pierless/access/tokens []||"},
		{post, nil, true, false, 1, "POST /v2/_pierless/access/tokens []||"},
		{proof, []int{busy}, false, true, 2, "POST /v2/_pierless/login []||"},
		{proof, []int{refused}, false, false, 1, "POST /v2/_pierless/login []||"},
	} {
		server := &callee{statuses: c.statuses, body: `{"x":"y"}`, cut: c.cut}
		var answer struct{ X string }
		c.call.Answer = &answer
		etag, err := calling(t, server).Call(t.Context(), c.call)
		if (err == nil) != c.ok || c.ok && (etag != `"v2"` || answer.X != "y") || len(server.asked) != c.asked || server.asked[len(server.asked)-1] != c.last {
			t.Errorf("%s %s after %v: %v, %s, %q; asked %q", c.call.Method, c.call.Kind, c.statuses, err, etag, answer, server.asked)
		}
	}
}

// TestCallAnswer: an answer that is not JSON may hold a secret, which no error repeats.
func TestCallAnswer(t *testing.T) {
	for _, body := range []string{"", "<html>plr_x</html>", `{"x":["plr_x"]}`, `{"x":"plr_x"`} {
		var answer struct{ X string }
		_, err := calling(t, &callee{body: body}).Call(t.Context(), client.Call{Method: http.MethodGet, Kind: route.AccessRules, Answer: &answer})
		if err == nil || strings.Contains(err.Error(), "plr_") {
			t.Errorf("%q: %v", body, err)
		}
	}
}
