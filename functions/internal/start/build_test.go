package start_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/sources"
	"github.com/pierless/pierless/pkg/oci/route"
)

// maxBinary limits the size of a function, in bytes, because a cold start reads all of it.
const maxBinary = 12_000_000

// sweep is the function that serves no family.
const sweep route.Family = "sweep"

// build builds every function as it is deployed, with the given linker flags.
func build(t *testing.T, ldflags string) string {
	t.Helper()
	sources.Track(t, filepath.Join("..", "..", ".."))
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "lambda.norpc", "-trimpath", "-ldflags", ldflags, "-o", dir+"/", "./functions/...")
	cmd.Dir = filepath.Join("..", "..", "..")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// TestBinaries: each function is small, links the handlers of its family only, and no code
// that stops the linker from removing dead code.
func TestBinaries(t *testing.T) {
	if testing.Short() {
		t.Skip("builds every function for another architecture")
	}
	stripped, whole := build(t, "-s -w"), build(t, "")
	for _, family := range append(route.Families(), sweep) {
		info, err := os.Stat(filepath.Join(stripped, string(family)))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() >= maxBinary {
			t.Errorf("%s has %d bytes, the limit is %d", family, info.Size(), maxBinary)
		}
		symbols, err := exec.CommandContext(t.Context(), "go", "tool", "nm", filepath.Join(whole, string(family))).Output()
		if err != nil {
			t.Fatal(err)
		}
		checkSymbols(t, family, strings.Split(string(symbols), "\n"))
	}
}

func checkSymbols(t *testing.T, family route.Family, symbols []string) {
	t.Helper()
	has := func(prefix string) bool {
		return slices.ContainsFunc(symbols, func(line string) bool { return strings.Contains(line, " T "+prefix) })
	}
	for _, other := range route.Families() {
		// The type with the handlers of a family has its name, but for directUploads.
		linked := has(fmt.Sprintf("github.com/pierless/pierless/pkg/server.%s", other))
		if linked != (other == family) {
			t.Errorf("%s: handlers of %s are linked: %v", family, other, linked)
		}
	}
	for _, prefix := range []string{
		"text/template.", "html/template.", "net/rpc.", "github.com/spf13/", "go.etcd.io/", "github.com/gin-gonic/",
		"github.com/aws/aws-sdk-go-v2/config.", "github.com/aws/aws-sdk-go-v2/service/sts.", "github.com/pierless/pierless/pkg/registry/local.",
	} {
		if has(prefix) {
			t.Errorf("%s links %s", family, prefix)
		}
	}
	for _, door := range []string{"github.com/pierless/pierless/pkg/server/auth.", "github.com/pierless/pierless/pkg/server/lambdahttp.(*Function).Invoke"} {
		if has(door) == (family == sweep) { // the sweep serves no requests
			t.Errorf("%s links %s: %v", family, door, has(door))
		}
	}
}

// TestStart runs a function without its configuration: it exits with a one-line error.
func TestStart(t *testing.T) {
	sources.Track(t, filepath.Join("..", "..", ".."))
	dir := t.TempDir()
	binary := filepath.Join(dir, "bootstrap")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "lambda.norpc", "-o", binary, "../../base").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	complete := []string{
		"PIERLESS_BUCKET=b", "PIERLESS_TABLE=t", "AWS_REGION=x", "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x",
		"PIERLESS_ADMIN_TOKEN_SHA256=" + strings.Repeat("0", 64), "AWS_LAMBDA_RUNTIME_API=127.0.0.1:1",
	}
	for name, want := range map[string]string{
		"PIERLESS_BUCKET": "PIERLESS_BUCKET", "PIERLESS_ADMIN_TOKEN_SHA256": "PIERLESS_ADMIN_TOKEN_SHA256", "AWS_REGION": "AWS_REGION",
		"AWS_ACCESS_KEY_ID": "credentials", "AWS_LAMBDA_RUNTIME_API": "AWS_LAMBDA_RUNTIME_API", "": "connection refused",
	} {
		cmd := exec.CommandContext(t.Context(), binary)
		for _, v := range complete {
			if name == "" || !strings.HasPrefix(v, name+"=") {
				cmd.Env = append(cmd.Env, v)
			}
		}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("without %q: %v, %q; want one line with %q", name, err, out, want)
		}
	}
}
