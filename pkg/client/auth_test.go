package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// asked returns credentials, and counts how often it was asked.
func asked(n *int) func(context.Context, string) (client.Credential, error) {
	return func(context.Context, string) (client.Credential, error) {
		*n++
		return client.Credential{Username: "ann", Password: "pass"}, nil
	}
}

// guess returns a wrong password.
func guess(context.Context, string) (client.Credential, error) {
	return client.Credential{Username: "ann", Password: "guess"}, nil
}

func TestBasic(t *testing.T) {
	inner := newRegistry(t)
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "ann" || pass != "pass" {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	n := 0
	c, _ := newClient(t, address, client.Options{Credentials: asked(&n)})
	if session(t, c); n != 1 {
		t.Errorf("asked for credentials %d times", n)
	}
	for want, opts := range map[string]client.Options{
		"no credentials are known for the registry " + c.Host():                         {},
		`the password that is known for user "ann" at the registry ` + c.Host() + " is": {Credentials: guess},
		"401": {Authorization: "Basic YW5uOmd1ZXNz"},
	} {
		c, slept := newClient(t, address, opts)
		err := c.Ping(t.Context())
		var answer *client.Error
		if !errors.Is(err, &oci.Error{Code: oci.Unauthorized}) || strings.Contains(err.Error(), "guess") || len(slept.list()) != 0 ||
			!errors.As(err, &answer) || answer.Registry != c.Host() || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if opts.Authorization != "" && strings.Contains(err.Error(), "known for") {
			t.Errorf("%v: nothing is known of this login", err)
		}
	}
	broken := errors.New("the helper is broken")
	c, _ = newClient(t, address, client.Options{Credentials: func(context.Context, string) (client.Credential, error) { return client.Credential{}, broken }})
	if err := c.Ping(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// bearer is a registry with a token service; each token is good for a few requests.
type bearer struct {
	inner  http.Handler
	life   int // requests of a token
	fails  int // token requests that fail first
	mu     sync.Mutex
	tokens map[string]int
	scopes [][]string
	base   string
}

func (b *bearer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.URL.Path == "/token" {
		b.token(w, r)
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if b.tokens[token] <= 0 {
		scope := ""
		if rest, found := strings.CutPrefix(r.URL.Path, "/v2/team/app/"); found {
			scope = `,scope="repository:team/app:pull`
			if r.Method == http.MethodDelete && !strings.Contains(rest, "uploads") {
				scope = `,scope="repository:team/app:delete`
			} else if r.Method != http.MethodGet && r.Method != http.MethodHead {
				scope += ",push"
			}
			scope += `"`
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="here"%s`, b.base, scope))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	b.tokens[token]--
	b.inner.ServeHTTP(w, r)
}

func (b *bearer) token(w http.ResponseWriter, r *http.Request) {
	if b.fails > 0 {
		b.fails--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if user, pass, _ := r.BasicAuth(); user != "ann" || pass != "pass" {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}`))
		return
	}
	b.scopes = append(b.scopes, r.URL.Query()["scope"])
	token := fmt.Sprint("t", len(b.scopes))
	b.tokens[token] = b.life
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 60})
}

func newBearer(t *testing.T, life int) *bearer {
	t.Helper()
	b := &bearer{inner: newRegistry(t), life: life, tokens: map[string]int{}}
	b.base = serve(t, b)
	return b
}

func TestBearer(t *testing.T) {
	n := 0
	long := newBearer(t, 1000)
	c, _ := newClient(t, long.base, client.Options{Credentials: asked(&n)})
	session(t, c)
	if n != 1 || len(long.scopes) > 3 {
		t.Errorf("asked %d times, tokens for %q", n, long.scopes)
	}
	if !slices.ContainsFunc(long.scopes, func(s []string) bool { return slices.Equal(s, []string{"repository:team/app:pull,push"}) }) {
		t.Errorf("no token to push: %q", long.scopes)
	}
	// Tokens that are good for one request expire in the middle of everything.
	short := newBearer(t, 1)
	short.fails = 2
	c, _ = newClient(t, short.base, client.Options{Credentials: asked(&n)})
	session(t, c)

	c, _ = newClient(t, long.base, client.Options{})
	err := c.Ping(t.Context())
	var answer *client.Error
	if !errors.As(err, &answer) || answer.Status != http.StatusUnauthorized || !strings.Contains(err.Error(), "who are you?") {
		t.Errorf("without credentials: %v", err)
	}
	for want, ask := range map[string]func(context.Context, string) (client.Credential, error){
		`the password that is known for user "ann" at the registry ` + c.Host() + " is wrong": guess,
		"the registry " + c.Host() + " refuses the token": func(context.Context, string) (client.Credential, error) {
			return client.Credential{RefreshToken: "guess"}, nil
		},
	} {
		c, _ = newClient(t, long.base, client.Options{Credentials: ask})
		if err := c.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "guess") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// The token service takes the password, and gives a token that does not suffice.
	useless := newBearer(t, 0)
	c, _ = newClient(t, useless.base, client.Options{Credentials: asked(&n)})
	if err := c.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), `user "ann" at the registry `+c.Host()+" may not") {
		t.Errorf("with a useless token: %v", err)
	}
}

// TestMountAsksForBoth: a mount needs a token for two repositories.
func TestMountAsksForBoth(t *testing.T) {
	n := 0
	b := newBearer(t, 1000)
	c, _ := newClient(t, b.base, client.Options{Credentials: asked(&n)})
	if _, err := repository(t, c, "team/app").Mount(t.Context(), oci.SHA256.FromBytes([]byte("x")), "base"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"repository:base:pull", "repository:team/app:pull,push"}; !slices.Equal(b.scopes[0], want) {
		t.Errorf("scopes %q, want %q", b.scopes[0], want)
	}
}

// TestAuthorization: a proxy passes on its caller's header, and returns the challenge.
func TestAuthorization(t *testing.T) {
	b := newBearer(t, 1000)
	n := 0
	c, _ := newClient(t, b.base, client.Options{Authorization: "Bearer unknown", Credentials: asked(&n)})
	err := c.Ping(t.Context())
	var answer *client.Error
	if !errors.As(err, &answer) || answer.Status != http.StatusUnauthorized || !strings.HasPrefix(answer.Challenge, "Bearer realm=") || n != 0 {
		t.Errorf("%v with challenge %q; asked %d times", err, answer.Challenge, n)
	}
	if strings.Contains(err.Error(), "unknown") && strings.Contains(err.Error(), "Bearer unknown") {
		t.Errorf("the message shows the token: %v", err)
	}
	b.tokens["known"] = 1
	c, _ = newClient(t, b.base, client.Options{Authorization: "Bearer known"})
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCredentialsStayHome: whatever a registry answers, another host, or another port of
// the same one, sees no credentials and no path of an upload.
func TestCredentialsStayHome(t *testing.T) {
	content := randomBytes(1, 5*mib)
	var seen atomic.Int64
	elsewhere := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		for _, name := range []string{"Authorization", "Referer"} {
			if r.Header.Get(name) != "" {
				t.Errorf("%s %s is sent %s %q", r.Method, r.URL.Path, name, r.Header.Get(name))
			}
		}
		switch {
		case r.URL.Path == "/again": // back to itself, which is still not home
			http.Redirect(w, r, "/blob", http.StatusTemporaryRedirect)
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			_, _ = w.Write(content)
		case r.Method == http.MethodPatch:
			w.Header().Set("Location", r.URL.Path)
			w.WriteHeader(http.StatusAccepted)
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="tell me"`)
			w.WriteHeader(map[bool]int{true: http.StatusCreated, false: http.StatusUnauthorized}[r.Method == http.MethodPut])
		}
	}))
	home := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, _, _ := r.BasicAuth(); user != "ann" {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch {
		case strings.Contains(r.URL.Path, "_pierless"), r.Method == http.MethodHead:
			http.NotFound(w, r)
		case r.Method == http.MethodGet:
			http.Redirect(w, r, elsewhere+"/again", http.StatusTemporaryRedirect)
		default:
			w.Header().Set("Location", elsewhere+"/upload?_state=secret")
			w.WriteHeader(http.StatusAccepted)
		}
	})
	address := serve(t, home)
	n := 0
	for name, opts := range map[string]client.Options{"asked": {Credentials: asked(&n)}, "given": {Authorization: "Basic " + basic("ann", "pass")}} {
		for host, there := range map[string]string{"other port": address, "other host": strings.Replace(address, "127.0.0.1", "localhost", 1)} {
			seen.Store(0)
			r := newRepository(t, there, "a", opts)
			wantBlob(t, r, content)
			b := blobOf(content)
			if got, err := r.PushBlob(t.Context(), b); err != nil || got.Method != client.Chunked {
				t.Errorf("%s, %s: %+v, %v", name, host, got, err)
			}
			if seen.Load() < 4 {
				t.Errorf("%s, %s: %d requests came elsewhere", name, host, seen.Load())
			}
		}
	}
}

func basic(user, pass string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, pass)
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
}

// TestUploadsAreNotTurnedIntoGets: a redirect that drops the body is an error.
func TestUploadsAreNotTurnedIntoGets(t *testing.T) {
	for _, status := range []int{301, 302, 303} {
		gets := 0
		address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				gets++
				return
			}
			http.Redirect(w, r, "/elsewhere?"+url.QueryEscape(secret), status)
		}))
		r := newRepository(t, address, "a", client.Options{})
		_, err := r.PushManifest(t.Context(), oci.Reference{Tag: "x"}, oci.MediaTypeImageManifest, []byte("{}"))
		var answer *client.Error
		if !errors.As(err, &answer) || answer.Status != status || gets != 0 {
			t.Errorf("%d: %v, %d GETs", status, err, gets)
		}
	}
}

// TestNoLogin: a challenge that cannot be answered is an error at once,
// without the address of the request: it may have the id of an upload in it.
func TestNoLogin(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	challenge := ""
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead, strings.Contains(r.URL.Path, "_pierless"):
			http.NotFound(w, r)
		case r.Method == http.MethodPost:
			w.Header().Set("Location", "/v2/a/blobs/uploads/"+id+"?_state=x")
			w.WriteHeader(http.StatusAccepted)
		default:
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	broken := errors.New("the helper is broken")
	for name, tt := range map[string]struct {
		challenge string
		cred      client.Credential
		err       error
	}{
		"a helper that fails":      {`Basic realm="r"`, client.Credential{}, broken},
		"a token and no password":  {`Basic realm="r"`, client.Credential{RefreshToken: "hush"}, nil},
		"a realm that is internal": {`Bearer realm="http://10.0.0.1/token?x=hush"`, client.Credential{Username: "ann", Password: "hush"}, nil},
	} {
		challenge = tt.challenge
		c, naps := newClient(t, address, client.Options{Credentials: func(context.Context, string) (client.Credential, error) { return tt.cred, tt.err }})
		_, err := repository(t, c, "a").PushBlob(t.Context(), blobOf(randomBytes(1, 5*mib)))
		if err == nil || tt.err != nil && !errors.Is(err, tt.err) || strings.Contains(err.Error(), id) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
		if slept := naps.list(); len(slept) > 0 {
			t.Errorf("%s: tried %d times more", name, len(slept))
		}
	}
}

// TestRefreshToken: a refresh token is exchanged with POST for scopes of the whole request, and
// a redirect of the token service does not get it.
func TestRefreshToken(t *testing.T) {
	inner, redirect := newRegistry(t), ""
	var forms []url.Values
	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if redirect != "" {
			http.Redirect(w, r, redirect, http.StatusTemporaryRedirect)
			return
		}
		if err := r.ParseForm(); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s: %v", r.Method, err)
		}
		forms = append(forms, r.PostForm)
		_, _ = w.Write([]byte(`{"access_token":"good"}`))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			w.Header().Set("WWW-Authenticate", `Bearer Realm="http://`+r.Host+`/token", service=here ,scope="repository:team/app:pull other:x:y"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
	address := serve(t, mux)
	cred := func(context.Context, string) (client.Credential, error) {
		return client.Credential{Username: "ann", RefreshToken: "hush"}, nil
	}
	r := newRepository(t, address, "team/app", client.Options{Credentials: cred})
	for range 2 { // the second time with the same token
		if _, err := r.PushBlob(t.Context(), blobOf([]byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	want := url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {"hush"}, "client_id": {"pierless"}, "service": {"here"},
		"scope": {"other:x:y repository:team/app:pull,push"},
	}
	if len(forms) != 1 || forms[0].Encode() != want.Encode() {
		t.Errorf("%v, want one %v", forms, want)
	}
	redirect = serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the refresh token went elsewhere") }))
	c, _ := newClient(t, address, client.Options{Credentials: cred})
	if err := c.Ping(t.Context()); err == nil {
		t.Error("a redirect is a token")
	}
}

// TestSharedToken: requests that fail together fetch one token.
func TestSharedToken(t *testing.T) {
	b := newBearer(t, 1000)
	n := 0
	c, _ := newClient(t, b.base, client.Options{Credentials: asked(&n)})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := c.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(b.scopes) != 1 || n != 1 {
		t.Errorf("%d tokens, asked %d times", len(b.scopes), n)
	}
}

// TestTokenService: a token service on another host must have a public address, or one that
// the user allows; over https it must not use http; answers without a token are errors.
func TestTokenService(t *testing.T) {
	service := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(map[string]string{"/empty": `{}`, "/good": `{"token":"good"}`}[r.URL.Path]))
	}))
	other := strings.Replace(service, "127.0.0.1", "localhost", 1)
	var realm string
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer good" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	for name, tt := range map[string]struct {
		realm   string
		opts    client.Options
		want    string
		refused bool
	}{
		"the same host":            {realm: service + "/good"},
		"another host":             {realm: other + "/good", want: "token service on another host", refused: true},
		"another host, by its IP":  {realm: "http://127.0.0.2:1/good", want: "token service on another host", refused: true},
		"another host, allowed":    {realm: other + "/good", opts: client.Options{InternalHosts: []string{"localhost"}}},
		"an empty answer":          {realm: service + "/empty", want: "without a token"},
		"no JSON":                  {realm: service + "/x", want: "without a token"},
		"no token service":         {realm: "", want: "names no token service"},
		"another scheme":           {realm: "file:///etc/passwd", want: "names no token service"},
		"a user in the URL":        {realm: "http://a:b@x/", want: "names no token service"},
		"a realm that is no URL":   {realm: "http://%zz", want: "names no token service"},
		"a realm without scheme":   {realm: "//x/token", want: "names no token service"},
		"a realm without any host": {realm: "http:///token", want: "names no token service"},
	} {
		realm = tt.realm
		c, _ := newClient(t, address, tt.opts)
		err := c.Ping(t.Context())
		var refused *client.TargetError
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) || errors.As(err, &refused) != tt.refused {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
