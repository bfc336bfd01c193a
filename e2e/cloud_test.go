//go:build e2e

package e2e

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/loopback"
)

const administrator = "admin"

// startCloud starts what a deploy of template.yaml makes: the real binaries of the
// functions behind a local API Gateway, each held to its own policy. It is closed to
// all but an administrator whose token is new. flags are more flags of bin/cloud.
func startCloud(t *testing.T, flags ...string) *server {
	t.Helper()
	name, token := initialise(t), rand.Text()
	s := &server{host: loopback.FreeAddress(t), log: filepath.Join(t.TempDir(), "log"), token: token, bucket: name, probe: "/_cloud/stats", env: os.Environ()}
	s.command = append([]string{
		built(t, "cloud"), "--listen", s.host, "--aws-listen", loopback.FreeAddress(t), "--aws-endpoint", os.Getenv("AWS_ENDPOINT_URL_S3"),
		"--dynamodb-endpoint", os.Getenv("AWS_ENDPOINT_URL_DYNAMODB"),
		"--template", "../template.yaml", "--functions", built(t, "functions"), "--bucket", name, "--table", name,
		"--parameter", "AdminTokenSha256=" + strings.TrimPrefix(digestOf([]byte(token)), "sha256:"),
	}, flags...)
	s.run(t)
	return s
}

// logIn has clients find the logins to the servers that want one, and to no other,
// until the test ends: all of them read docker's file, and skopeo and podman are told
// where it is.
func logIn(t *testing.T, servers ...*server) {
	t.Helper()
	logins := map[string]any{}
	for _, s := range servers {
		if s.token != "" {
			login := map[string][]byte{"auth": []byte(administrator + ":" + s.token)} // JSON has bytes in base64
			logins[s.host], logins[s.alias()] = login, login
		}
	}
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "config.json"), string(encode(t, map[string]any{"auths": logins})))
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("REGISTRY_AUTH_FILE", file)
}
