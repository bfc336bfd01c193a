package start_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/sources"
)

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
