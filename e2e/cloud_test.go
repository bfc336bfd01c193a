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

// startCloud starts a local deployment of template.yaml: the binaries of the functions behind a
// local API Gateway, each limited by its own policy. Access needs a new administrator's token.
// flags are more flags of bin/cloud.
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

// logIn writes the logins to servers with a token into a new docker configuration, until the
// test ends. All clients read docker's file; skopeo and podman get its path.
func logIn(t *testing.T, servers ...*server) {
	t.Helper()
	logins := map[string]any{}
	for _, s := range servers {
		if s.token != "" {
			login := map[string][]byte{"auth": []byte(administrator + ":" + s.token)} // encoding/json writes bytes in base64
			logins[s.host], logins[s.alias()] = login, login
		}
	}
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "config.json"), string(encode(t, map[string]any{"auths": logins})))
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("REGISTRY_AUTH_FILE", file)
}
