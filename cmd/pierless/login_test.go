package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/setup"
	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

// loginRegistry is a registry with a login rule for the repository acme/app. It takes the ID token
// "good.id.token", or with sts a presigned request, as a proof.
type loginRegistry struct {
	host string
	sts  bool

	admin  *access.Admin
	verify func(context.Context, string, access.Proof) (access.Identity, error) // nil: the proof above

	mu     sync.Mutex
	proofs []access.Proof
}

func newLoginRegistry(t *testing.T) *loginRegistry {
	t.Helper()
	meta, blobs := storetest.Open(t) // before the environment of LocalStack is gone
	alone(t)
	for _, name := range []string{
		"ACTIONS_ID_TOKEN_REQUEST_URL", "PIERLESS_ID_TOKEN", "PIERLESS_ID_TOKEN_FILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	r := &loginRegistry{}
	_, sum := access.NewToken()
	opts, err := setup.Options(env.Config{AdminTokenSHA256: sum, ServeBlobs: true}, slog.New(slog.DiscardHandler), meta)
	if err != nil {
		t.Fatal(err)
	}
	opts.Prove = r.prove
	r.admin = access.NewAdmin(opts.Directory)
	err = r.admin.SetSettings(t.Context(), access.Actor{Caller: access.Administrator()}, access.Settings{Logins: []access.Rule{{
		Name: "ci", Issuer: "https://issuer.example", Claims: map[string]string{"sub": "acme/app"}, Life: "1h",
		Grants: appGrants(),
	}}}, "*")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(server.All(registry.New(meta, blobs, registry.Options{}), opts))
	t.Cleanup(srv.Close)
	r.host = strings.TrimPrefix(srv.URL, "http://")
	return r
}

func appGrants() access.Grants {
	return access.Grants{{Repositories: []string{"app"}, Actions: []route.Action{route.Pull, route.Push}}}
}

func (r *loginRegistry) prove(ctx context.Context, host string, proof access.Proof) (access.Identity, error) {
	if r.verify != nil {
		return r.verify(ctx, host, proof)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proofs = append(r.proofs, proof)
	if host == r.host && (proof.OIDC == "good.id.token" || r.sts && strings.HasPrefix(proof.STS, "https://sts.eu-west-1.amazonaws.com/?")) {
		return access.Identity{Issuer: "https://issuer.example", Subject: "acme/app", Claims: map[string]string{"sub": "acme/app"}}, nil
	}
	return access.Identity{}, oci.NewError(oci.Denied, "the proof is refused")
}

// asked returns the number of proofs that the registry has got.
func (r *loginRegistry) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.proofs)
}

// mayPush reports whether the registry accepts a push to a repository with a password.
func (r *loginRegistry) mayPush(t *testing.T, repository, password string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.host+"/v2/"+repository+"/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("any", password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusAccepted
}

// dockerConfig reads docker's file.
func dockerConfig(t *testing.T) (content string, config struct {
	Auths                       map[string]struct{ Auth string }
	CredHelpers                 map[string]string
	CredsStore, DetachKeys, Odd string
},
) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"))
	if err == nil {
		err = json.Unmarshal(b, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b), config
}

// savedPassword returns the password in docker's file.
func savedPassword(t *testing.T, host string) string {
	t.Helper()
	_, config := dockerConfig(t)
	b, err := base64.StdEncoding.DecodeString(config.Auths[host].Auth)
	user, password, found := strings.Cut(string(b), ":")
	if err != nil || !found || user == "" {
		t.Fatalf("auth is %q, %v", b, err)
	}
	return password
}

func TestLoginCommand(t *testing.T) {
	r := newLoginRegistry(t)
	path := filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json")
	if _, _, err := copyRun(t.Context(), nil, "login", r.host); err == nil || exitCode(err) != 1 || !strings.Contains(err.Error(), "PIERLESS_ID_TOKEN") {
		t.Errorf("without a proof: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a failed login wrote docker's file")
	}
	t.Setenv("PIERLESS_ID_TOKEN", "good.id.token")
	out, _, err := copyRun(t.Context(), nil, "login", r.host)
	if err != nil || !strings.HasPrefix(out, "logged in to "+r.host+" as ci:acme/app until ") || !strings.HasSuffix(out, "; saved in "+path+"\n") {
		t.Fatalf("%v: %s", err, out)
	}
	password := savedPassword(t, r.host)
	if !access.WellFormed(password) || !r.mayPush(t, "app", password) || r.mayPush(t, "other", password) {
		t.Errorf("the saved password %q", password)
	}

	// Other content stays, a link stays, and the file is private.
	target := filepath.Join(t.TempDir(), "config.json")
	write(t, target, `{"detachKeys":"<ctrl>","odd":"ä","auths":{"x.example":{"auth":"YTpi"}},"credHelpers":null}`)
	if err := os.Chmod(target, 0o644); err != nil { //nolint:gosec // as a user may have it
		t.Fatal(err)
	}
	os.Remove(path)
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	out, _, err = copyRun(t.Context(), nil, "login", "--json", r.host)
	var result struct{ Host, Name, Token, Saved, Expires string }
	if jsonErr := json.Unmarshal([]byte(out), &result); err != nil || jsonErr != nil || result.Name != "ci:acme/app" || result.Token != "" || result.Saved != target {
		t.Errorf("%v, %v: %s", err, jsonErr, out)
	}
	_, config := dockerConfig(t)
	if config.DetachKeys != "<ctrl>" || config.Odd != "ä" || config.Auths["x.example"].Auth != "YTpi" || savedPassword(t, r.host) == password {
		t.Errorf("%+v", config)
	}
	if info, err := os.Stat(target); err != nil || info.Mode() != 0o600 {
		t.Error(info.Mode(), err)
	}
	// The login is that of the other commands.
	if _, _, err := copyRun(t.Context(), strings.NewReader(string(savedImage(t, "app:1"))), "push", "docker-archive:-", r.host+"/app:1"); err != nil {
		t.Error(err)
	}

	for _, content := range []string{`{"auths":[]}`, `{`, `null`, `[]`} {
		write(t, target, content)
		if _, _, err := copyRun(t.Context(), nil, "login", r.host); err == nil || !strings.Contains(err.Error(), "correct or delete it") {
			t.Errorf("%s: %v", content, err)
		}
		if b, err := os.ReadFile(target); err != nil || string(b) != content {
			t.Errorf("%s became %s", content, b)
		}
	}
}

func TestLoginWithAToken(t *testing.T) {
	r := newLoginRegistry(t)
	t.Setenv("PIERLESS_ID_TOKEN", "good.id.token")
	if _, _, err := copyRun(t.Context(), nil, "login", r.host); err != nil {
		t.Fatal(err)
	}
	good, asked := savedPassword(t, r.host), r.asked()
	bad, _ := access.NewToken()
	for token, want := range map[string]string{bad: "401", "": "no password"} {
		_, _, err := copyRun(t.Context(), strings.NewReader(token+"\n"), "login", "--token-stdin", r.host)
		if err == nil || !strings.Contains(err.Error(), want) || token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("%q: %v, want %q", token, err, want)
		}
		if savedPassword(t, r.host) != good {
			t.Error("a token is saved that the registry refuses")
		}
	}
	os.Remove(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"))
	if _, _, err := copyRun(t.Context(), strings.NewReader(good+"\n"), "login", "--token-stdin", r.host); err != nil || savedPassword(t, r.host) != good {
		t.Error(err)
	}
	if r.asked() != asked {
		t.Error("a login with a token sent a proof")
	}
}

// TestLoginFromAWS: the registry takes a presigned request if the account has no web identity.
func TestLoginFromAWS(t *testing.T) {
	r := newLoginRegistry(t)
	r.sts = true
	refusals := 0
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refusals++
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Code>OutboundWebIdentityFederationDisabledException</Code><Message>off</Message></Error></ErrorResponse>`)
	}))
	defer sts.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE000000000")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
	t.Setenv("AWS_REGION", "eu-west-1")
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	if out, _, err := copyRun(t.Context(), nil, "login", r.host); err != nil || refusals != 1 || r.asked() != 1 {
		t.Errorf("%v after %d refusals and %d proofs: %s", err, refusals, r.asked(), out)
	}
	r.sts = false
	_, _, err := copyRun(t.Context(), nil, "login", r.host)
	for _, want := range []string{"AWS web identity token: sts:GetWebIdentityToken: OutboundWeb", "AWS caller identity: POST /v2/_pierless/login: 403"} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "very-secret") || strings.Contains(err.Error(), "Signature") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// fakeHelper puts a credential helper into PATH that saves its input in the returned file.
func fakeHelper(t *testing.T, name string) (saved string) {
	t.Helper()
	bin := t.TempDir()
	saved = filepath.Join(bin, "saved")
	script := "#!/bin/sh\n[ \"$1\" = store ] && cat > '" + saved + "'\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-"+name), []byte(script), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return saved
}

// TestLoginIntoAHelper: docker does not read auths if there is a helper.
func TestLoginIntoAHelper(t *testing.T) {
	r := newLoginRegistry(t)
	t.Setenv("PIERLESS_ID_TOKEN", "good.id.token")
	path := filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json")
	saved := fakeHelper(t, "keychain")
	for _, content := range []string{`{"credsStore":"keychain"}`, `{"credsStore":"none","credHelpers":{"` + r.host + `":"keychain"}}`} {
		write(t, path, content)
		os.Remove(saved)
		out, _, err := copyRun(t.Context(), nil, "login", r.host)
		if err != nil || !strings.HasSuffix(out, "saved in docker-credential-keychain\n") {
			t.Fatalf("%v: %s", err, out)
		}
		b, _ := os.ReadFile(saved)
		var stored helperLogin
		if err := json.Unmarshal(b, &stored); err != nil || stored.ServerURL != r.host || !r.mayPush(t, "app", stored.Secret) {
			t.Errorf("%v: %s", err, b)
		}
		if b, _ := os.ReadFile(path); string(b) != content {
			t.Errorf("the file became %s", b)
		}
	}
	write(t, path, `{"credsStore":"missing"}`)
	if _, _, err := copyRun(t.Context(), nil, "login", r.host); err == nil || !strings.Contains(err.Error(), "docker-credential-missing") || strings.Contains(err.Error(), "plr_") {
		t.Error(err)
	}
}

// TestDockerCredential plays docker: the helper logs in once, and remembers it.
func TestDockerCredential(t *testing.T) {
	r := newLoginRegistry(t)
	run := func(stdin string, args ...string) (string, error) {
		out, _, err := copyRun(t.Context(), strings.NewReader(stdin), arguments(append([]string{"/usr/bin/docker-credential-pierless"}, args...))...)
		return out, err
	}
	if out, err := run(r.host, "get"); err == nil || out != notFound+"\n" {
		t.Errorf("without a proof: %q, %v", out, err)
	}
	t.Setenv("PIERLESS_ID_TOKEN", "bad.id.token")
	if out, err := run(r.host, "get"); err == nil || !strings.Contains(out, "403") || strings.Contains(out, "bad.id") {
		t.Errorf("a refused proof: %q, %v", out, err)
	}
	for _, host := range []string{"https://index.docker.io/v1/", "docker.io", "", "a b"} {
		if out, err := run(host, "get"); err == nil || host != "" && strings.Contains(host, "docker") && out != notFound+"\n" {
			t.Errorf("%q: %q, %v", host, out, err)
		}
	}

	t.Setenv("PIERLESS_ID_TOKEN", "good.id.token")
	out, notes, err := copyRun(t.Context(), nil, "login", "--helper", r.host)
	if err != nil || !strings.Contains(notes, "is not in PATH") {
		t.Fatalf("%v: %s%s", err, out, notes)
	}
	if content, config := dockerConfig(t); config.CredHelpers[r.host] != "pierless" || strings.Contains(content, "plr_") || strings.Contains(content, "auths") {
		t.Error(content)
	}
	asked := r.asked()
	var one, again helperLogin
	for _, got := range []*helperLogin{&one, &again} {
		out, err := run("https://"+r.host+"/\n", "get")
		if err == nil {
			err = json.Unmarshal([]byte(out), got)
		}
		if err != nil || got.ServerURL != "https://"+r.host+"/" || got.Username == "" || !r.mayPush(t, "app", got.Secret) {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if one != again || r.asked() != asked {
		t.Errorf("the helper logged in %d times", r.asked()-asked)
	}
	if out, err := run("", "list"); err != nil || out != `{"`+r.host+`":"pierless"}`+"\n" {
		t.Errorf("list: %q, %v", out, err)
	}
	if _, err := run(r.host, "erase"); err != nil {
		t.Error(err)
	}
	if out, err := run(r.host, "get"); err != nil || r.asked() != asked+1 {
		t.Errorf("after erase: %s, %v", out, err)
	}

	// docker login saves a password, which the helper returns as it is.
	if _, err := run(`{"ServerURL":"`+r.host+`","Username":"me","Secret":"mine"}`, "store"); err != nil {
		t.Fatal(err)
	}
	if out, err := run(r.host, "get"); err != nil || out != `{"ServerURL":"`+r.host+`","Username":"me","Secret":"mine"}`+"\n" {
		t.Errorf("a stored password: %s, %v", out, err)
	}
	for _, content := range []string{"", "{", `"hidden"`, `{"ServerURL":"x"}`, `{"ServerURL":"x","Secret":["hidden"]}`} {
		if out, err := run(content, "store"); err == nil || strings.Contains(out+err.Error(), "hidden") {
			t.Errorf("%s: %s, %v", content, out, err)
		}
	}
	if _, err := run("", "version"); exitCode(err) != 2 {
		t.Error(err)
	}
	if got := arguments([]string{"pierless", "push", "x"}); !slices.Equal(got, []string{"push", "x"}) {
		t.Error(got)
	}
}

// TestDockerCredentialAtOnce: processes that log in at once leave one whole session.
func TestDockerCredentialAtOnce(t *testing.T) {
	r := newLoginRegistry(t)
	t.Setenv("PIERLESS_ID_TOKEN", "good.id.token")
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			out, _, err := copyRun(t.Context(), strings.NewReader(r.host), "docker-credential", "get")
			var got helperLogin
			if json.Unmarshal([]byte(out), &got) != nil || err != nil || !access.WellFormed(got.Secret) {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
	work.Wait()
	files, err := filepath.Glob(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "pierless", "logins", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode() != 0o600 {
		t.Error(info, err)
	}
}

// TestCredentialProvider plays the kubelet.
func TestCredentialProvider(t *testing.T) {
	r := newLoginRegistry(t)
	request := func(image, token string) string {
		return `{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"` + image + `",` +
			`"serviceAccountToken":"` + token + `","serviceAccountAnnotations":{"a":"b"}}`
	}
	t.Setenv("PIERLESS_ID_TOKEN", "bad.id.token") // of the node: the pod's counts
	out, _, err := copyRun(t.Context(), strings.NewReader(request(r.host+"/app:1", "good.id.token")), "credential-provider")
	var got struct {
		Kind, APIVersion, CacheKeyType, CacheDuration string
		Auth                                          map[string]struct{ Username, Password string }
	}
	if jsonErr := json.Unmarshal([]byte(out), &got); err != nil || jsonErr != nil {
		t.Fatalf("%v, %v: %s", err, jsonErr, out)
	}
	kept, err := time.ParseDuration(got.CacheDuration)
	if err != nil || kept > 30*time.Minute || kept < 29*time.Minute || got.Kind != "CredentialProviderResponse" || got.CacheKeyType != "Registry" ||
		got.APIVersion != "credentialprovider.kubelet.k8s.io/v1" || len(got.Auth) != 1 || !r.mayPush(t, "app", got.Auth[r.host].Password) {
		t.Errorf("%s", out)
	}
	for name, c := range map[string]struct{ stdin, want string }{
		"the pod's token is refused": {request(r.host+"/app", "pod.id.token"), "403"},
		"the node's is too":          {request(r.host+"/app", ""), "403"},
		"no registry":                {request("app:1", "good.id.token"), "no registry host"},
		"a name of Docker Hub":       {request("library/app", "good.id.token"), "no registry host"},
		"another version":            {`{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v2"}`, "must be a"},
		"another kind":               {`{"kind":"X","apiVersion":"credentialprovider.kubelet.k8s.io/v1"}`, "must be a"},
		"not JSON":                   {"x", "must be a"},
		"nothing":                    {"", "must be a"},
	} {
		out, _, err := copyRun(t.Context(), strings.NewReader(c.stdin), "credential-provider")
		if out != "" || err == nil || exitCode(err) != 1 || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "id.token") {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	t.Setenv("PIERLESS_ID_TOKEN", "good.id.token")
	if out, _, err := copyRun(t.Context(), strings.NewReader(request(r.host+"/app", "pod.id.token")), "credential-provider"); err == nil {
		t.Errorf("a pod pulls with the identity of its node: %s", out)
	}
	if out, _, err := copyRun(t.Context(), strings.NewReader(request(r.host+"/app", "")), "credential-provider"); err != nil || !strings.Contains(out, "plr_") {
		t.Errorf("%v: %s", err, out)
	}
}
