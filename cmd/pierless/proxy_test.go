package main

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
)

// TestProxy: a blob that a client like docker pushes to the proxy is in the registry.
func TestProxy(t *testing.T) {
	served, stopServe := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir())
	registry := address(t, served)
	spool := t.TempDir()
	out, stop := start(t, "proxy", "--listen", "127.0.0.1:0", "--spool", spool, "--spool-limit", "8MiB", registry)
	host := address(t, out)
	if !strings.Contains(out.String(), "docker push "+host+"/") {
		t.Errorf("the log does not say what to type: %s", out)
	}
	content := bytes.Repeat([]byte("pierless"), 700_000) // more than fits in one request
	digest := oci.SHA256.FromBytes(content)
	send := func(method, path string, body []byte, status int) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+host+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Fatalf("%s %s: %s", method, path, resp.Status)
		}
		return resp.Header.Get("Location")
	}
	at := send("POST", "/v2/a/blobs/uploads/", nil, http.StatusAccepted)
	at = send("PATCH", at, content, http.StatusAccepted)
	at = send("PUT", at+"?digest="+string(digest), nil, http.StatusCreated)
	if status, body := get(t, "http://"+registry+at); status != http.StatusOK || body != string(content) {
		t.Errorf("the registry answers %d with %d bytes", status, len(body))
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Errorf("%v, %v is left in the spool", left, err)
	}
	if err := stopServe(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestProxyRefuses: dangerous and impossible flags are errors.
func TestProxyRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"--allow-remote":           {"--listen", "0.0.0.0:0", "127.0.0.1:1"},
		"accepts 1 arg":            {},
		"is not a size":            {"--spool-limit", "1 big one", "127.0.0.1:1"},
		"a registry's address":     {"--listen", "127.0.0.1:0", "ftp://x"},
		"machines can reach :0":    {"--listen", ":0", "127.0.0.1:1"},
		"can reach 127.0.0.1:x":    {"--listen", "127.0.0.1:x", "127.0.0.1:1"},
		"not a directory":          {"--listen", "127.0.0.1:0", "--spool", "/dev/null/x", "127.0.0.1:1"},
		"unknown flag: --spoolmax": {"--spoolmax", "1", "127.0.0.1:1"},
	} {
		out, wait := startEnded(t, append([]string{"proxy"}, args...)...)
		if err := wait(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q; %s", args, err, want, out)
		}
	}
}

// TestProxyRemote: --allow-remote allows other machines, with a warning.
func TestProxyRemote(t *testing.T) {
	out, stop := start(t, "proxy", "--listen", "0.0.0.0:0", "--allow-remote", "--spool", t.TempDir(), "127.0.0.1:1")
	address(t, out)
	if err := stop(); err != nil || !strings.Contains(out.String(), "level=WARN") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"1": 1, "20GiB": 20 << 30, " 5 MiB ": 5 << 20, "3KiB": 3 << 10, "2TiB": 2 << 40} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "-1", "GiB", "1GB", "1.5GiB", "9999999999TiB"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q is taken for %d", s, got)
		}
	}
}
