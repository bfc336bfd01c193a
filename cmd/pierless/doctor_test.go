package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// behindPassword puts a Basic password in front of a registry.
func behindPassword(t *testing.T, host, password, challenge string) string {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, given, _ := r.BasicAuth()
		if given != password && !strings.Contains(strings.TrimSuffix(r.URL.Path, "/"), "/blobs/uploads/") {
			w.Header().Set("X-Registry-Challenge", `Basic realm="pierless"`)
			w.Header().Set(challenge, `Basic realm="pierless"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// doctorRun runs the command to its end, with a password on standard input.
func doctorRun(t *testing.T, password string, args ...string) (out string, err error) {
	t.Helper()
	o := &output{}
	root := newRoot(func(string) string { return "" })
	root.SetArgs(append([]string{"doctor"}, args...))
	root.SetIn(strings.NewReader(password + "\n"))
	root.SetOut(o)
	root.SetErr(&output{})
	err = root.ExecuteContext(t.Context())
	return o.String(), err
}

func TestDoctor(t *testing.T) {
	served, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir())
	host := address(t, served)
	defer stop()

	out, err := doctorRun(t, "right", "--password-stdin", "--username", "admin", behindPassword(t, host, "right", "WWW-Authenticate"))
	if err != nil || !strings.Contains(out, "0 wrong, 0 unknown") || !strings.Contains(out, "head-blob-length") {
		t.Errorf("%v: %s", err, out)
	}
	renamed := behindPassword(t, host, "right", "x-amzn-remapped-www-authenticate")
	out, err = doctorRun(t, "right", "--password-stdin", "--only", "challenge*", renamed)
	if !errors.Is(err, errWrong) || exitCode(err) != 1 || !strings.Contains(out, "WRONG  challenge-head") || !strings.Contains(out, "overwrite:header.www-authenticate") {
		t.Errorf("%v with exit code %d: %s", err, exitCode(err), out)
	}
	out, err = doctorRun(t, "right", "--password-stdin", "--json", "--only", "clock", renamed)
	var report struct{ OK bool }
	if jsonErr := json.Unmarshal([]byte(out), &report); err != nil || jsonErr != nil || !report.OK {
		t.Errorf("%v, %v: %s", err, jsonErr, out)
	}
	out, err = doctorRun(t, "", "--list")
	if err != nil || !strings.Contains(out, "presigned-host") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestDoctorCannot(t *testing.T) {
	served, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir())
	closed := behindPassword(t, address(t, served), "right", "WWW-Authenticate")
	defer stop()
	for want, args := range map[string][]string{
		"with these credentials":   {"--password-stdin", closed},
		"without credentials":      {closed},
		"give the address":         {},
		"is not the address":       {"ftp://x"},
		"no ID matches":            {"--only", "nothing", closed},
		"unknown flag: --grop":     {"--grop"},
		"could not be completed":   {"--password-stdin", "--only", "api-endpoint", "--api-endpoint", "127.0.0.1:1", closed},
		"invalid argument \"day\"": {"--max-expiry", "day", closed},
	} {
		password := "wrong"
		if strings.HasPrefix(want, "could not") {
			password = "right"
		}
		if _, err := doctorRun(t, password, args...); err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != 2 {
			t.Errorf("%v: %v with exit code %d, want 2 and %q", args, err, exitCode(err), want)
		}
	}
}
