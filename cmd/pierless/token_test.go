package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func printed(t *testing.T, args ...string) string {
	t.Helper()
	out, stop := start(t, args...)
	if err := stop(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return out.String()
}

// TestToken: a registry with the printed SHA-256 requires the printed token.
func TestToken(t *testing.T) {
	var made struct{ Token, SHA256 string }
	if err := json.Unmarshal([]byte(printed(t, "token", "--json")), &made); err != nil || len(made.Token) != 53 || len(made.SHA256) != 64 {
		t.Fatalf("%+v, %v", made, err)
	}
	if text := printed(t, "token"); strings.Contains(text, made.Token) || strings.Count(text, "\n") != 2 {
		t.Errorf("token prints %q", text)
	}
	for _, anonymous := range []bool{false, true} {
		args := []string{"serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--admin-token-sha256", made.SHA256}
		if anonymous {
			args = append(args, "--anonymous-pull")
		}
		out, stop := start(t, args...)
		url := "http://" + address(t, out)
		for _, c := range []struct {
			method, path, password string
			status                 int
		}{
			{"GET", "/healthz", "", http.StatusOK},
			{"GET", "/v2/", "", http.StatusUnauthorized},
			{"GET", "/v2/a/tags/list", "", map[bool]int{false: http.StatusUnauthorized, true: http.StatusNotFound}[anonymous]},
			{"GET", "/v2/_pierless/token", "", map[bool]int{false: http.StatusUnauthorized, true: http.StatusOK}[anonymous]},
			{"GET", "/v2/_pierless/token", made.SHA256, http.StatusUnauthorized},
			{"GET", "/v2/_pierless/token", made.Token, http.StatusOK},
			{"GET", "/v2/", made.SHA256, http.StatusUnauthorized},
			{"GET", "/v2/", made.Token, http.StatusOK},
			{"POST", "/v2/a/blobs/uploads/", "", http.StatusUnauthorized},
			{"POST", "/v2/a/blobs/uploads/", made.Token, http.StatusAccepted},
			{"GET", "/v2/_catalog", "", map[bool]int{false: http.StatusUnauthorized, true: http.StatusOK}[anonymous]},
		} {
			r, err := http.NewRequestWithContext(t.Context(), c.method, url+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.password != "" {
				r.SetBasicAuth("admin", c.password)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != c.status {
				t.Errorf("anonymous pull %v, %s %s with %q: %d, want %d", anonymous, c.method, c.path, c.password, resp.StatusCode, c.status)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if log := out.String(); strings.Contains(log, made.Token) || strings.Contains(log, made.SHA256) {
			t.Error("the log shows the token or its sum")
		}
	}
}
