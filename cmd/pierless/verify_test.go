package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// verifyRun runs the command to its end.
func verifyRun(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	o, stop := startEnded(t, append([]string{"verify"}, args...)...)
	err = stop()
	return o.String(), err
}

// startEnded is start for a command that ends by itself.
func startEnded(t *testing.T, args ...string) (out *output, wait func() error) {
	t.Helper()
	out = &output{}
	root := newRoot(func(string) string { return "" })
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(&output{})
	return out, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a server that should have ended
		defer cancel()
		return root.ExecuteContext(ctx)
	}
}

func TestVerify(t *testing.T) {
	served, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir())
	host := address(t, served)
	defer stop()

	junit := filepath.Join(t.TempDir(), "junit.xml")
	out, err := verifyRun(t, "--only", "blob-get*", "--json", "--junit", junit, host)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		OK      bool
		Totals  map[string]int
		Results []struct{ ID, Group, Level, Section, Status string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if !report.OK || len(report.Results) < 4 || report.Totals["passed"] != len(report.Results) {
		t.Errorf("report: %+v", report)
	}
	var suites struct {
		Suites []struct {
			Name  string `xml:"name,attr"`
			Tests int    `xml:"tests,attr"`
		} `xml:"testsuite"`
	}
	b, err := os.ReadFile(junit)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(b, &suites); err != nil || len(suites.Suites) != 1 || suites.Suites[0].Tests != len(report.Results) {
		t.Errorf("JUnit: %+v, %v", suites, err)
	}
	out, err = verifyRun(t, "--group", "pull", "--all", host)
	if err != nil || !strings.Contains(out, "manifest-get-by-tag") || !strings.Contains(out, "total") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestVerifySaysNo: a registry without any manifest or blob.
func TestVerifySaysNo(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer srv.Close()
	out, err := verifyRun(t, "--only", "manifest-get-missing-repository", srv.URL)
	if !errors.Is(err, errNotVerified) || exitCode(err) != 1 {
		t.Errorf("%v, exit code %d", err, exitCode(err))
	}
	for _, want := range []string{"FAILED: MUST manifest-get-missing-repository", "> GET /v2/", "< 418", "expected 404", "spec.md#pushing-manifests"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
}

func TestVerifyCannot(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for want, args := range map[string][]string{
		"no registry answers":       {closed.URL},
		"give the address":          {},
		"is not the address":        {"ftp://x"},
		"there is no group":         {"--group", "pul", "http://127.0.0.1:1"},
		"no ID matches":             {"--only", "nothing", "http://127.0.0.1:1"},
		"unknown flag: --grop":      {"--grop"},
		"invalid argument \"many\"": {"--parallel", "many", "x"},
	} {
		if _, err := verifyRun(t, args...); err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != 2 {
			t.Errorf("%v: %v with exit code %d, want 2 and %q", args, err, exitCode(err), want)
		}
	}
}

func TestVerifyList(t *testing.T) {
	out, err := verifyRun(t, "--list")
	if err != nil || !strings.Contains(out, "blob-head-length") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestVerifyCleansUp: the report says what was deleted; the catalog has no name that it does not
// report. --keep deletes nothing.
func TestVerifyCleansUp(t *testing.T) {
	served, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir())
	host := address(t, served)
	defer stop()
	catalog := func() (names []string) {
		resp, err := http.Get("http://" + host + "/v2/_catalog")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var list struct{ Repositories []string }
		if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
			t.Fatal(err)
		}
		return list.Repositories
	}
	out, err := verifyRun(t, "--only", "manifest-get-*", "--json", host)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		CleanUp struct {
			Prefix             string
			Removed, Remaining struct{ Repositories, Manifests, Tags, Blobs, Uploads int }
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	did := report.CleanUp
	if did.Removed.Manifests == 0 || did.Remaining.Manifests+did.Remaining.Tags+did.Remaining.Blobs > 0 || len(catalog()) != did.Remaining.Repositories {
		t.Errorf("%+v, %v", did, catalog())
	}
	before := len(catalog())
	out, err = verifyRun(t, "--only", "manifest-get-by-tag", "--repositories", "mine", host)
	if err != nil || !strings.Contains(out, "\nremoved: ") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = verifyRun(t, "--only", "manifest-get-by-tag", "--repositories", "mine", "--keep", host)
	if err != nil || !strings.Contains(out, "\nkept: all content, in repositories that begin with mine/") || len(catalog()) <= before {
		t.Errorf("%v: %s, %v", err, out, catalog())
	}
}

// TestVerifyInterrupted: the command says what is left.
func TestVerifyInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			w.Header().Set("Location", r.URL.Path+"session")
			w.WriteHeader(http.StatusAccepted)
		case http.MethodPut:
			w.WriteHeader(http.StatusCreated)
			cancel()
		case http.MethodDelete:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}))
	defer srv.Close()
	var errs output
	root := newRoot(func(string) string { return "" })
	root.SetArgs([]string{"verify", "--only", "blob-get", srv.URL})
	root.SetErr(&errs)
	err := root.ExecuteContext(ctx)
	if !errors.Is(err, context.Canceled) || exitCode(err) != 2 || !strings.Contains(errs.String(), "remaining: ") {
		t.Errorf("%v: %s", err, errs.String())
	}
}
