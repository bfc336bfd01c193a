package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/pierless/pierless/pkg/client/images"
)

// alone isolates a test from the logins, contexts and caches of the user.
func alone(t *testing.T) {
	t.Helper()
	for _, name := range []string{"DOCKER_CONFIG", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "HOME"} {
		t.Setenv(name, t.TempDir())
	}
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "REGISTRY_AUTH_FILE", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"} {
		t.Setenv(name, "")
	}
}

// copyRun runs a command to its end in the test's environment.
func copyRun(ctx context.Context, stdin io.Reader, args ...string) (out, progress string, err error) {
	o, e := &output{}, &output{}
	root := newRoot(os.Getenv)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(o)
	root.SetErr(e)
	err = root.ExecuteContext(ctx)
	return o.String(), e.String(), err
}

// savedImage returns an archive of docker save with one layer.
func savedImage(t *testing.T, tag string) []byte {
	t.Helper()
	layer := archiveOf(t, map[string]string{"hello": "world"})
	sum := sha256.Sum256(layer)
	config := fmt.Sprintf(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}`, hex.EncodeToString(sum[:]))
	list := fmt.Sprintf(`[{"Config":"c.json","RepoTags":[%q],"Layers":["l.tar"]}]`, tag)
	return archiveOf(t, map[string]string{"c.json": config, "l.tar": string(layer), "manifest.json": list})
}

func archiveOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// dockerAPI is a fake Docker daemon for push and pull.
type dockerAPI struct {
	mu     sync.Mutex
	images map[string][]byte // archives by name
	loaded []byte
	refuse string // error of the next load
	status string // DriverStatus: the type of its image store
}

func (d *dockerAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.Header().Set("Api-Version", "1.47")
	path := regexp.MustCompile(`^/v[0-9.]+`).ReplaceAllString(r.URL.Path, "")
	name := strings.TrimSuffix(strings.TrimPrefix(path, "/images/"), "/json")
	switch {
	case path == "/_ping":
		fmt.Fprint(w, "OK")
	case path == "/version":
		fmt.Fprint(w, `{"Os":"linux","Arch":"amd64","ApiVersion":"1.47","MinAPIVersion":"1.24"}`)
	case path == "/info":
		fmt.Fprintf(w, `{"DriverStatus":%s}`, d.status)
	case path == "/images/get":
		_, _ = w.Write(d.images[r.URL.Query().Get("names")])
	case path == "/images/load":
		d.loaded, _ = io.ReadAll(r.Body)
		fmt.Fprintf(w, `{"stream":"Loaded image"}%s`, d.refuse)
	case strings.HasSuffix(path, "/json") && d.images[name] != nil:
		fmt.Fprintf(w, `{"Id":%q}`, imageID(d.loaded, strings.Contains(d.status, "io.containerd")))
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"message":"No such image: %s"}`, name)
	}
}

// imageID returns Docker's ID for the image of an archive. The classic store uses the digest of
// its config, containerd's store that of its manifest, which is new for archives without layout.
func imageID(archive []byte, containerd bool) string {
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(archive))
	for h, err := r.Next(); err == nil; h, err = r.Next() {
		files[h.Name], _ = io.ReadAll(r)
	}
	var index struct{ Manifests []struct{ Digest string } }
	var saved []struct{ Config string }
	_, _ = json.Unmarshal(files["index.json"], &index), json.Unmarshal(files["manifest.json"], &saved)
	switch {
	case containerd && files["oci-layout"] != nil && len(index.Manifests) == 1:
		return index.Manifests[0].Digest
	case containerd || len(saved) != 1:
		return fmt.Sprintf("sha256:%x", sha256.Sum256(files["manifest.json"]))
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(files[saved[0].Config]))
}

// dockerBesideRegistry starts a registry, and a Docker daemon with an image named for it.
func dockerBesideRegistry(t *testing.T) (name string, api *dockerAPI) {
	t.Helper()
	alone(t)
	served, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir())
	t.Cleanup(func() { _ = stop() })
	name = address(t, served) + "/team/app:1"
	api = &dockerAPI{images: map[string][]byte{name: savedImage(t, name)}}
	srv := httptest.NewServer(api)
	t.Cleanup(srv.Close)
	t.Setenv("DOCKER_HOST", "tcp://"+srv.Listener.Addr().String())
	return name, api
}

// TestPullKeepsDigests: pull prints the digest that the daemon has, and only the name with
// Docker's classic store, which has none.
func TestPullKeepsDigests(t *testing.T) {
	name, api := dockerBesideRegistry(t)
	pushed, _, err := copyRun(t.Context(), nil, "push", name)
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[string]string{
		`[["driver-type","io.containerd.snapshotter.v1"]]`:                     pushed,
		`[["Backing Filesystem","extfs"],["driver-type","io.containerd.v1x"]]`: name + "\n",
		`null`: name + "\n",
	} {
		api.status = status
		out, progress, err := copyRun(t.Context(), nil, "pull", name)
		id := imageID(api.loaded, strings.Contains(status, "snapshotter"))
		if err != nil || out != want || !strings.Contains(out+progress, id) {
			t.Errorf("%s: %q, want %q; the ID is %s; %q, %v", status, out, want, id, progress, err)
		}
	}
	api.status = "no JSON"
	if _, _, err := copyRun(t.Context(), nil, "pull", name); err == nil || !strings.Contains(err.Error(), "image store") {
		t.Errorf("a daemon without the type of its image store: %v", err)
	}
}

// TestDaemonInfo: since Docker 25, containerd's store loads an index without all its images.
func TestDaemonInfo(t *testing.T) {
	for version, sparse := range map[string]bool{"1.43": false, "1.44": true, "1.56": true} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Api-Version", version)
			fmt.Fprintf(w, `{"Os":"linux","Arch":"arm64","ApiVersion":%q,"DriverStatus":[["driver-type",%q]]}`, version, containerdStore)
		}))
		t.Setenv("DOCKER_HOST", "tcp://"+srv.Listener.Addr().String())
		d, err := newDaemon(os.Getenv)
		if err != nil {
			t.Fatal(err)
		}
		want := images.DaemonInfo{
			Platform: images.Platform{OS: "linux", Architecture: "arm64"}, KeepsManifests: true, SparseIndexes: sparse,
		}
		if info, err := d.Info(t.Context()); err != nil || info != want {
			t.Errorf("%s: %+v, %v, want %+v", version, info, err, want)
		}
		srv.Close()
	}
}

func TestPushAndPullWithDocker(t *testing.T) {
	name, api := dockerBesideRegistry(t)

	out, progress, err := copyRun(t.Context(), nil, "push", "-j", "1", name)
	if err != nil || !regexp.MustCompile(`^`+regexp.QuoteMeta(name)+`@sha256:[0-9a-f]{64}\n$`).MatchString(out) || strings.Count(progress, "whole") != 2 {
		t.Fatalf("push: %q, %q, %v", out, progress, err)
	}
	api.status = "[]"
	pulled, _, err := copyRun(t.Context(), nil, "pull", "--quiet", name)
	if err != nil || pulled != name+"\n" || !bytes.Contains(api.loaded, []byte(`"RepoTags":["`+name+`"]`)) {
		t.Errorf("pull: %q, %v", pulled, err)
	}
	api.refuse = `{"errorDetail":{"message":"no space left"},"error":"no space left"}`
	if _, _, err := copyRun(t.Context(), nil, "pull", name); err == nil || !strings.Contains(err.Error(), "no space left") || exitCode(err) != 1 {
		t.Errorf("a load that fails: %v", err)
	}
	if _, _, err := copyRun(t.Context(), nil, "push", "nothing:1", name); err == nil || !strings.Contains(err.Error(), "has no image nothing:1") {
		t.Errorf("a missing image: %v", err)
	}
}

// TestDockerContext: without DOCKER_HOST the daemon is that of docker's current context.
func TestDockerContext(t *testing.T) {
	alone(t)
	api := &dockerAPI{images: map[string][]byte{"app:1": savedImage(t, "app:1")}}
	srv := httptest.NewServer(api)
	defer srv.Close()
	sum := sha256.Sum256([]byte("mine"))
	dir := filepath.Join(os.Getenv("DOCKER_CONFIG"), "contexts", "meta", hex.EncodeToString(sum[:]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"tcp://" + srv.Listener.Addr().String(): "", "ssh://somewhere": "docker-archive:-"} {
		write(t, filepath.Join(dir, "meta.json"), fmt.Sprintf(`{"Name":"mine","Endpoints":{"docker":{"Host":%q}}}`, host))
		write(t, filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), `{"currentContext":"mine"}`)
		_, _, err := copyRun(t.Context(), nil, "copy", "docker-daemon:app:1", "oci:"+t.TempDir())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCopyFromStdinToALayoutAndBack(t *testing.T) {
	alone(t)
	served, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir())
	defer stop()
	host, dir := address(t, served), t.TempDir()
	out, _, err := copyRun(t.Context(), bytes.NewReader(savedImage(t, "app:1")), "push", "docker-archive:-", host+"/app:1")
	if err != nil {
		t.Fatal(err)
	}
	_, digest, _ := strings.Cut(strings.TrimSpace(out), "@")
	out, _, err = copyRun(t.Context(), nil, "copy", "--json", host+"/app:1", "oci:"+dir)
	var result images.Result
	if jsonErr := json.Unmarshal([]byte(out), &result); err != nil || jsonErr != nil || string(result.Digest) != digest || len(result.Layers) != 2 || result.Name != "oci:"+dir+":1" {
		t.Errorf("%v, %v: %s", err, jsonErr, out)
	}
	if out, _, err = copyRun(t.Context(), nil, "push", "oci:"+dir+":1", host+"/back:1"); err != nil || !strings.Contains(out, digest) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestCopyCredentials: flags take precedence over docker's file, and that over podman's.
func TestCopyCredentials(t *testing.T) {
	alone(t)
	served, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir())
	defer stop()
	closed := strings.TrimPrefix(behindPassword(t, address(t, served), "right", "WWW-Authenticate"), "http://")
	archive := filepath.Join(t.TempDir(), "a.tar")
	write(t, archive, string(savedImage(t, "app:1")))
	login := func(password string) string {
		return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, closed, base64.StdEncoding.EncodeToString([]byte("me:"+password)))
	}
	push := func(stdin string, flags ...string) error {
		_, _, err := copyRun(t.Context(), strings.NewReader(stdin), append([]string{"push", "docker-archive:" + archive, closed + "/app:1"}, flags...)...)
		return err
	}
	if err := push(""); err == nil || !strings.Contains(err.Error(), "docker login "+closed) {
		t.Errorf("without a login: %v", err)
	}
	if err := push("right\n", "--username", "me", "--password-stdin"); err != nil {
		t.Errorf("standard input: %v", err)
	}
	podman := filepath.Join(t.TempDir(), "auth.json")
	write(t, podman, login("right"))
	t.Setenv("REGISTRY_AUTH_FILE", podman)
	if err := push(""); err != nil {
		t.Errorf("podman's file: %v", err)
	}
	write(t, filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), login("wrong"))
	if err := push(""); err == nil {
		t.Error("docker's file has no precedence over podman's")
	}
	t.Setenv("PIERLESS_USERNAME", "me")
	t.Setenv("PIERLESS_PASSWORD", "right")
	if err := push(""); err != nil {
		t.Errorf("the environment: %v", err)
	}
}

func TestCopyMisuse(t *testing.T) {
	alone(t)
	for want, args := range map[string][]string{
		"has no registry host":       {"push", "app:1"},
		"the destination is missing": {"push", "oci:x"},
		"pierless pull [flags]":      {"pull"},
		"at least 1":                 {"push", "-j", "0", "oci:x", "r.example.com/a"},
		"is not a platform":          {"push", "--platform", "arm64", "oci:x", "r.example.com/a"},
		"self: cannot be":            {"copy", "r.example.com/a", "self:"},
		"is not an image name":       {"pull", "r.example.com/A b"},
		"leave out the scheme":       {"pull", "https://r.example.com/a"},
		"docker.io/NAME":             {"push", "oci:x", "me/app"},
		"needs --username":           {"push", "--password-stdin", "oci:x", "r.example.com/a"},
		"unknown flag":               {"copy", "--what"},
		"cannot have a digest":       {"copy", "r.example.com/a", "oci:x@sha256:" + strings.Repeat("0", 64)},
		"standard output cannot be":  {"copy", "r.example.com/a", "docker-archive:-"},
	} {
		if _, _, err := copyRun(t.Context(), strings.NewReader(""), args...); err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != 2 {
			t.Errorf("%v: %v with exit code %d, want 2 and %q", args, err, exitCode(err), want)
		}
	}
	if _, _, err := copyRun(t.Context(), nil, "push", "oci:"+t.TempDir(), "127.0.0.1:1/a:1"); err == nil || exitCode(err) != 1 {
		t.Errorf("no layout: %v", err)
	}
}

// TestCopyPasswords: a user name without a password, as from an unset variable, is an error
// before any request.
func TestCopyPasswords(t *testing.T) {
	alone(t)
	for want, flags := range map[string][]string{
		"needs a password":                    {"--username", "me"},
		"standard input contains no password": {"--username", "me", "--password-stdin"},
	} {
		args := append([]string{"copy", "r.example.com/a", "r.example.com/b"}, flags...)
		if _, _, err := copyRun(t.Context(), strings.NewReader("\n"), args...); err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != 2 {
			t.Errorf("%v: %v, want %q", flags, err, want)
		}
	}
}
