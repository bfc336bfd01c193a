package auth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

const realm = `Basic realm="pierless"`

// downDirectory cannot read its rows.
type downDirectory struct{}

func (downDirectory) Find(context.Context, string) (access.Caller, bool, error) {
	return access.Caller{}, false, registry.ErrUnavailable
}

func (downDirectory) Anonymous(context.Context) (access.Caller, error) {
	return access.Caller{Name: "anonymous", Anonymous: true}, registry.ErrUnavailable
}

// TestStoreDown: a token that cannot be looked up is not a wrong token, so clients try again. The
// administrator's token needs no store.
func TestStoreDown(t *testing.T) {
	token, sum := access.NewToken()
	other, _ := access.NewToken()
	guard, err := auth.New(sum, downDirectory{})
	if err != nil {
		t.Fatal(err)
	}
	h := server.Base(nil, server.Options{Log: slog.New(slog.DiscardHandler), Authorize: guard.Authorize})
	for sent, want := range map[string]int{
		"Bearer " + other: http.StatusServiceUnavailable, basic("x", other): http.StatusServiceUnavailable,
		"Bearer anonymous": http.StatusServiceUnavailable, "Bearer " + token: http.StatusOK, "malformed": http.StatusUnauthorized,
	} {
		w := ask(h, "GET", "/v2/", sent)
		if w.Code != want || w.Header().Get("WWW-Authenticate") != map[bool]string{true: realm}[want == http.StatusUnauthorized] {
			t.Errorf("%.20q: %d with %v, want %d", sent, w.Code, w.Header(), want)
		}
	}
}

// directory has no tokens.
type directory struct{ anonymousPull bool }

func (directory) Find(context.Context, string) (access.Caller, bool, error) {
	return access.Caller{}, false, nil
}

func (d directory) Anonymous(context.Context) (access.Caller, error) {
	c := access.Caller{Name: "anonymous", Anonymous: true}
	if d.anonymousPull {
		c.Grants = access.Grants{{Repositories: []string{"**"}, Actions: []route.Action{route.Pull}}}
	}
	return c, nil
}

// door is a server that answers 299 to each request that its guard authorizes.
func door(t *testing.T, sum string, anonymous bool) http.Handler {
	t.Helper()
	guard, err := auth.New(sum, directory{anonymous})
	if err != nil {
		t.Fatal(err)
	}
	return server.All(nil, server.Options{
		Log: slog.New(slog.DiscardHandler), Authorize: guard.Authorize,
		Admit: func(*http.Request) (func(), error) { return nil, &oci.Error{Code: oci.Unknown, Status: 299} },
	})
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func ask(h http.Handler, method, path string, authorization ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Header["Authorization"] = authorization
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestChallenge(t *testing.T) {
	_, sum := access.NewToken()
	w := ask(door(t, sum, false), "GET", "/v2/")
	var errs oci.Errors
	if err := json.Unmarshal(w.Body.Bytes(), &errs); err != nil || w.Code != http.StatusUnauthorized || errs[0].Code != oci.Unauthorized {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for header, want := range map[string]string{
		"Www-Authenticate": realm, "X-Registry-Challenge": realm, "Content-Type": "application/json",
		"Docker-Distribution-Api-Version": "registry/2.0",
	} {
		if got := w.Header().Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	if w.Header().Get("X-Request-Id") == "" {
		t.Error("a refusal has no request id")
	}
}

// TestMalformed: whatever is not exactly one right header is refused.
func TestMalformed(t *testing.T) {
	token, sum := access.NewToken()
	right := basic("admin", token)
	for _, sent := range [][]string{
		{""},
		{"Basic"},
		{"Basic "},
		{"Basic !"},
		{"Basic " + token},
		{"Bearer"},
		{"Bearer "},
		{"Bearer  " + token},
		{"Bearer " + token + " "},
		{"Bearer " + token, right},
		{"Bearer anonymous", "Bearer anonymous"},
		{"Token " + token},
		{right + "x"},
		{right + "," + right},
		{basic("admin", "")},
		{basic("admin", token+"\x00")},
		{basic("admin", sum)},
		{right, right},
		{right, "Bearer x"},
		{"Basic " + base64.StdEncoding.EncodeToString([]byte(token))},
		{"Basic " + strings.Repeat("A", 1<<16)},
		{"\xff\xfe"},
		{basic("a:b", token)},
	} {
		for _, anonymous := range []bool{false, true} {
			for _, path := range []string{"/v2/", "/v2/a/manifests/open"} {
				if w := ask(door(t, sum, anonymous), "GET", path, sent...); w.Code != http.StatusUnauthorized {
					t.Errorf("%s: %.80q passed with %d", path, sent, w.Code)
				}
			}
		}
	}
	for _, scheme := range []string{"bearer", "BEARER"} {
		if w := ask(door(t, sum, false), "GET", "/v2/", scheme+" "+token); w.Code != 299 {
			t.Errorf("%s was refused: schemes have no case", scheme)
		}
	}
	for _, scheme := range []string{"basic", "BASIC"} {
		if w := ask(door(t, sum, false), "GET", "/v2/", strings.Replace(right, "Basic", scheme, 1)); w.Code != 299 {
			t.Errorf("%s was refused: schemes have no case", scheme)
		}
	}
}

// TestOddPaths: paths outside the API are closed, with and without anonymous pull.
func TestOddPaths(t *testing.T) {
	_, sum := access.NewToken()
	for _, path := range []string{
		"/", "/v1/", "/v2/UPPER/tags/list", "/v2/a%2Fb/tags/list", "/v2/a/blobs/uploads/%41/x", "/v2/a%3F/manifests/x",
		"/v2/a/blobs/uploads/x/", "/v2//blobs/uploads/x",
		"/v2/a/_pierless/uploads/", "/v2/a/_pierless/uploads", "/v2/a/_pierless/parts/", "/v2/a/_pierless/x/y", "/v2/_pierless/uploads/x",
		"/v2/a/_pierless/uploads/x/", "/v2/a/_pierless/uploads/x%2Fy", "/v2/a/_pierless/parts", "/v2/a/_pierless/verifications", "/v2/../blobs/uploads/x", "/v2/a/blobs/uploads/x%2F..",
	} {
		if w := ask(door(t, sum, true), "GET", path); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestNewRefusesMalformedSums(t *testing.T) {
	token, sum := access.NewToken()
	for _, bad := range []string{"", token, sum[1:], sum + "00", strings.ToUpper(sum), sum[:63] + "g"} {
		_, err := auth.New(bad, directory{})
		if err == nil {
			t.Errorf("%q was accepted", bad)
		} else if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the error shows what may be the token: %v", err)
		}
	}
}
