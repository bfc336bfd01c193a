//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/loopback"
)

// TestReferrersWithoutAPI copies an image with its referrers to a registry without the referrers
// API and back. There oras and regctl find them and attach more.
func TestReferrersWithoutAPI(t *testing.T) {
	image := buildLayout(t, t.TempDir(), mib)
	s, other := startServer(t, "embedded"), startCraneRegistry(t)
	logIn(t, s, other)
	binary, ref, copied, back := built(t, "pierless"), s.host+"/e2e/app:v1", other.host+"/e2e/app:v1", s.host+"/e2e/back:v1"
	pierless(t, image).push(t, ref)
	attach := func(ref, kind string) {
		content := writeFile(t, filepath.Join(t.TempDir(), "content"), kind)
		run(t, "oras", "attach", "--plain-http", "--disable-path-validation", "--artifact-type="+kind, ref, content)
	}
	check := func(ref string, kinds ...string) {
		t.Helper()
		host, _, _ := strings.Cut(ref, "/")
		for name, list := range map[string]string{
			"oras":   run(t, "oras", "discover", "--plain-http", ref),
			"regctl": run(t, "regctl", "--host", "reg="+host+",tls=disabled", "artifact", "list", ref),
		} {
			for _, kind := range kinds {
				if strings.Count(list, kind) != 1 {
					t.Errorf("%s lists\n%s\nwant one %s", name, list, kind)
				}
			}
		}
	}
	attach(ref, "application/x-sbom")
	attach(ref, "application/x-signature")
	signature := strings.Replace(image.amd64.Digest, ":", "-", 1) + ".sig"
	run(t, "crane", "tag", ref, signature)

	run(t, binary, "copy", "--referrers", ref, copied)
	check(copied, "application/x-sbom", "application/x-signature")
	attach(copied, "application/x-scan")
	run(t, binary, "copy", "--referrers", ref, copied)
	run(t, binary, "copy", "--referrers", copied, back)
	for _, ref := range []string{copied, back} {
		check(ref, "application/x-sbom", "application/x-signature", "application/x-scan")
		if tags := run(t, "crane", "ls", strings.TrimSuffix(ref, ":v1")); !strings.Contains(tags, signature) {
			t.Errorf("%s has the tags\n%s\nwant %s", ref, tags, signature)
		}
	}
}

// startCraneRegistry starts a registry without the referrers API.
func startCraneRegistry(t *testing.T) *server {
	t.Helper()
	r := &server{host: loopback.FreeAddress(t), log: filepath.Join(t.TempDir(), "log"), probe: "/v2/", env: neutralEnv()}
	r.command = []string{"crane", "registry", "serve", "--address", r.host}
	r.run(t)
	return r
}
