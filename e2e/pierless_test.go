//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/loopback"
)

// pierless uses the built command as a client.
func pierless(t *testing.T, image *testImage) client {
	binary := built(t, "pierless")
	return client{
		name: "pierless", keeps: true,
		push: func(t *testing.T, ref string) { run(t, binary, "push", "oci:"+image.amd64Layout+":v1", ref) },
		pull: func(t *testing.T, ref, digest string) {
			dir := filepath.Join(t.TempDir(), "layout")
			run(t, binary, "pull", ref, "oci:"+dir+":v1")
			checkLayout(t, dir, digest)
		},
		copy:  func(t *testing.T, from, to string) { run(t, binary, "copy", from, to) },
		index: func(t *testing.T, ref string) { run(t, binary, "push", "oci:"+image.indexLayout+":v1", ref) },
		platform: func(t *testing.T, ref string) {
			dir := filepath.Join(t.TempDir(), "layout")
			run(t, binary, "pull", "--platform=linux/arm64", ref, "oci:"+dir+":v1")
			checkLayout(t, dir, image.arm64.Digest)
		},
	}
}

// startProxy starts "pierless proxy" in front of a registry. It returns a server with the proxy's
// address and spool and the registry's token. flags are more flags of the proxy.
func startProxy(t *testing.T, registry *server, flags ...string) *server {
	t.Helper()
	return startProxyAt(t, loopback.FreeAddress(t), registry, flags...)
}

func startProxyAt(t *testing.T, host string, registry *server, flags ...string) *server {
	t.Helper()
	dir := t.TempDir()
	p := &server{
		host: host, log: filepath.Join(dir, "log"), token: registry.token, probe: "/v2/",
		spool: filepath.Join(dir, "spool"), env: neutralEnv(),
	}
	must(t, os.Mkdir(p.spool, 0o755))
	p.command = append([]string{built(t, "pierless"), "proxy", "--listen", p.host, "--spool", p.spool}, flags...)
	p.command = append(p.command, registry.host)
	p.run(t)
	logIn(t, p, registry)
	return p
}

// sums are the counters of a local cloud over all functions.
type sums struct {
	lambda      int64 // bytes of requests and answers of functions
	aws         int64 // bytes that functions exchanged with S3 and DynamoDB
	presigned   int64 // bytes that clients sent to S3 with presigned URLs
	invocations int64
}

// stats reads the counters of a local cloud.
func (s *server) stats(t *testing.T) sums {
	t.Helper()
	resp, err := http.Get("http://" + s.host + "/_cloud/stats")
	must(t, err)
	defer resp.Body.Close()
	var body struct {
		Functions map[string]struct {
			Lambda struct{ Invocations, BytesIn, BytesOut int64 }
			AWS    struct{ BytesIn, BytesOut, PresignedIn int64 }
		}
	}
	must(t, json.NewDecoder(resp.Body).Decode(&body))
	if len(body.Functions) == 0 {
		t.Fatal("the local cloud has no functions")
	}
	var all sums
	for _, f := range body.Functions {
		all.lambda += f.Lambda.BytesIn + f.Lambda.BytesOut
		all.aws += f.AWS.BytesIn + f.AWS.BytesOut
		all.presigned += f.AWS.PresignedIn
		all.invocations += f.Lambda.Invocations
	}
	return all
}

// checkPastFunctions calls a function that pushes a layer of size bytes, and fails if the layer
// went through functions. Other layers, of small bytes together, may: they count three times, into
// a function, as base64, and out of it.
func (s *server) checkPastFunctions(t *testing.T, size, small int64, push func()) {
	t.Helper()
	before := s.stats(t)
	push()
	after := s.stats(t)
	through, past := after.lambda+after.aws-before.lambda-before.aws, after.presigned-before.presigned
	t.Logf("%d bytes through functions in %d requests, %d past them", through, after.invocations-before.invocations, past)
	if past < size || past > size+size/2 {
		t.Errorf("%d bytes went to S3 by presigned URLs, want %d, once", past, size)
	}
	if limit := mib + 3*small; through > limit {
		t.Errorf("%d bytes went through the functions, want less than %d", through, limit)
	}
}

// checkNothingLeft fails if two days later the bucket or the table has anything that no blob
// needs. It makes uploads expire: the test must not use the store afterwards. flags are more
// flags of bin/leftovers.
func (s *server) checkNothingLeft(t *testing.T, flags ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built(t, "leftovers"), append([]string{"-name", s.bucket}, flags...)...)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", strings.TrimSpace(string(out)))
	if err != nil {
		t.Error(err)
	}
}

// fails runs a program that must fail with the exit code, and returns its output.
func fails(t *testing.T, code int, program string, args ...string) string {
	t.Helper()
	cmd := command(t, program, args...)
	out, err := cmd.CombinedOutput()
	t.Logf("%s %s:\n%s", filepath.Base(program), args[0], out)
	if err == nil || cmd.ProcessState.ExitCode() != code {
		t.Errorf("%s: %v, want exit code %d", fmt.Sprint(args), err, code)
	}
	return string(out)
}
