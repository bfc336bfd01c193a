package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// filled serves a registry with the tags one, same and two in the repository team/app: two images. It
// returns the digest of the first one.
func filled(t *testing.T) (host string, first oci.Digest) {
	t.Helper()
	alone(t)
	served, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir())
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	host = address(t, served)
	c, err := client.New(host, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Repository("team/app")
	if err != nil {
		t.Fatal(err)
	}
	for tag, note := range map[string]string{"one": "1", "same": "1", "two": "2"} {
		m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"n":%q}}`, oci.MediaTypeImageIndex, note)
		desc, err := r.PushManifest(t.Context(), oci.Reference{Tag: tag}, oci.MediaTypeImageIndex, m)
		if err != nil {
			t.Fatal(err)
		}
		if note == "1" {
			first = desc.Digest
		}
	}
	return host, first
}

// rm runs the command and fails the test unless its exit code is as wanted.
func rm(t *testing.T, code int, args ...string) (out, notes string) {
	t.Helper()
	out, notes, err := copyRun(t.Context(), strings.NewReader(""), append([]string{"rm"}, args...)...)
	got := 0
	if err != nil {
		got, notes = exitCode(err), notes+err.Error()
	}
	if got != code {
		t.Fatalf("rm %v: exit code %d, want %d: %v\n%s", args, got, code, err, out)
	}
	return out, notes
}

// tagsOf returns the status and the body of the list of tags.
func tagsOf(t *testing.T, host string) string {
	t.Helper()
	status, body := get(t, "http://"+host+"/v2/team/app/tags/list")
	return fmt.Sprint(status, " ", strings.TrimSpace(body))
}

func TestRm(t *testing.T) {
	host, first := filled(t)
	app := host + "/team/app"
	if out, _ := rm(t, 0, app+":same"); out != "deleted the tag "+app+":same\n" {
		t.Errorf("%q", out)
	}
	if got := tagsOf(t, host); got != `200 {"name":"team/app","tags":["one","two"]}` {
		t.Errorf("after a tag: %s", got)
	}
	if out, _ := rm(t, 0, "--dry-run", app+":one"); out != fmt.Sprintf("would delete the tag %s:one, which is %s\n", app, first) {
		t.Errorf("%q", out)
	}
	if out, _ := rm(t, 0, "--dry-run", "--repository", app); out != fmt.Sprintf("would delete the repository %s with 2 tags\n", app) {
		t.Errorf("%q", out)
	}
	if got := tagsOf(t, host); got != `200 {"name":"team/app","tags":["one","two"]}` {
		t.Errorf("after dry runs: %s", got)
	}
	digest := app + "@" + string(first)
	out, notes := rm(t, 1, app+":gone", digest) // it continues
	if out != "deleted the manifest "+digest+" and its tags\n" || !strings.Contains(notes, app+":gone: ") {
		t.Errorf("%q, %q", out, notes)
	}
	if out, _ := rm(t, 0, "--repository", app); out != "deleted the repository "+app+" (manifests: 1, tags: 1)\n" {
		t.Errorf("%q", out)
	}
	if got := tagsOf(t, host); !strings.HasPrefix(got, "404 ") {
		t.Errorf("after the repository: %s", got)
	}
	if _, notes := rm(t, 1, "--repository", app); !strings.Contains(notes, string(oci.NameUnknown)) {
		t.Errorf("again: %s", notes)
	}
	rm(t, 1, "--dry-run", "--repository", app)
}

func TestRmJSON(t *testing.T) {
	host, first := filled(t)
	app := host + "/team/app"
	out, _ := rm(t, 1, "--json", app+":gone", app+":one", app+"@"+string(first))
	var got []removed
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got) != 3 {
		t.Fatalf("%v: %s", err, out)
	}
	if got[0].Error == "" || got[0].Kind != "tag" || got[1] != (removed{Name: app + ":one", Kind: "tag"}) ||
		got[2] != (removed{Name: app + "@" + string(first), Kind: "manifest", Digest: first}) {
		t.Errorf("%+v", got)
	}
	got = nil
	out, _ = rm(t, 0, "--json", "--repository", app)
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got) != 1 || got[0] != (removed{Name: app, Kind: "repository", Manifests: 1, Tags: 1}) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRmElsewhere: a registry that deletes by digest only, and has no request for repositories.
func TestRmElsewhere(t *testing.T) {
	host, first := filled(t)
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete && !strings.Contains(r.URL.Path, "/sha256:") {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	defer other.Close()
	app := strings.TrimPrefix(other.URL, "http://") + "/team/app"
	if _, notes := rm(t, 1, app+":one"); !strings.Contains(notes, "'pierless rm "+app+"@"+string(first)+"'") {
		t.Errorf("no advice: %s", notes)
	}
	if got := tagsOf(t, host); !strings.Contains(got, `["one","same","two"]`) {
		t.Errorf("after a refusal: %s", got)
	}
	if out, _ := rm(t, 0, "--repository", app); out != "deleted the repository "+app+" (manifests: 2, tags: 3); left: images without a tag: this registry does not list them\n" {
		t.Errorf("%q", out)
	}
	if got := tagsOf(t, host); !strings.HasSuffix(got, `"tags":[]}`) {
		t.Errorf("after the delete: %s", got)
	}
}

// TestRmNeedsPermission: the error of a caller who may not delete is that of the registry.
func TestRmNeedsPermission(t *testing.T) {
	host := closedRegistry(t)
	t.Setenv("PIERLESS_PASSWORD", "not-the-token")
	if _, notes := rm(t, 1, "--repository", host+"/team/app"); !strings.Contains(notes, string(oci.Unauthorized)) || strings.Contains(notes, "not-the-token") {
		t.Errorf("%s", notes)
	}
}

// TestRmUsage: a wrong command line deletes nothing.
func TestRmUsage(t *testing.T) {
	host, first := filled(t)
	app := host + "/team/app"
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"nothing":            {nil, "name what to delete"},
		"repository":         {[]string{app + ":one", app}, "--repository"},
		"image":              {[]string{"--repository", app + ":one"}, "--repository"},
		"image, by digest":   {[]string{"--repository", app + "@" + string(first)}, "--repository"},
		"both":               {[]string{app + ":one@" + string(first)}, "a tag and a digest"},
		"no host":            {[]string{"app:one"}, "no registry host"},
		"a layout":           {[]string{"oci:dir:one"}, "not in a registry"},
		"two registries":     {[]string{app + ":one", "localhost:1/app:one"}, "two registries"},
		"malformed":          {[]string{app + ":one", app + ":-"}, "not an image name"},
		"unknown flag":       {[]string{"--force", app + ":one"}, "--force"},
		"user, no password":  {[]string{"--username", "u", app + ":one"}, "--password-stdin"},
		"latest is not said": {[]string{app + ":one", host + "/latest"}, "is a repository"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, notes := rm(t, 2, tt.args...); !strings.Contains(notes, tt.want) {
				t.Errorf("%s", notes)
			}
			if got := tagsOf(t, host); !strings.Contains(got, `["one","same","two"]`) {
				t.Errorf("tags: %s", got)
			}
		})
	}
}
