//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctor: "pierless doctor" accepts the template behind every supported gateway, and finds a
// setting that does not match the gateway.
func TestDoctor(t *testing.T) {
	const (
		redirectHead = "template parameter RedirectHead"
		mapping      = "overwrite:header.www-authenticate"
	)
	direct := []string{"--parameter", "RedirectHead=false"}
	unmapped := withoutMapping(t)
	for _, c := range []struct {
		name  string
		flags []string
		wrong map[string]string // the setting that doctor must name, by check; empty: it refers to another check
	}{
		{"default", nil, nil},
		{"challenge renamed", []string{"--rename-challenge"}, nil},
		{"challenge kept, no mapping", []string{"--template", unmapped}, nil},
		{
			"challenge renamed, no mapping",
			[]string{"--template", unmapped, "--rename-challenge"},
			map[string]string{"challenge": mapping, "challenge-head": mapping, "challenge-routes": mapping, "login": ""},
		},
		{"HEAD computed", []string{"--head", "computed"}, nil},
		{"HEAD computed, not redirected", append(direct, "--head", "computed"), map[string]string{"head-blob-length": redirectHead}},
		{"HEAD handler, not redirected", append(direct, "--head", "handler"), nil},
		{"slash kept", []string{"--trailing-slash", "keep"}, nil},
		{"slash stripped", []string{"--trailing-slash", "strip"}, nil},
		{"open to pull", []string{"--parameter", "AnonymousPull=true"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) { checkDoctor(t, startCloud(t, c.flags...), c.wrong) })
	}
}

// checkDoctor fails unless doctor reports exactly these errors.
func checkDoctor(t *testing.T, s *server, wrong map[string]string) {
	t.Helper()
	cmd := s.examine(t, "doctor", "--json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if (err == nil) != (len(wrong) == 0) || cmd.ProcessState.ExitCode() > 1 {
		t.Errorf("%v, expected to find wrong: %v\n%s", err, wrong, stderr.String())
	}
	var report struct {
		Findings []struct{ ID, Verdict, Seen, Set string }
	}
	must(t, json.Unmarshal(out, &report))
	found := map[string]bool{}
	for _, f := range report.Findings {
		found[f.ID] = true
		set, expected := wrong[f.ID]
		switch {
		case !expected && f.Verdict != "ok":
			t.Errorf("%s is %s: %s", f.ID, f.Verdict, f.Seen)
		case expected && set == "":
			if f.Verdict != "unknown" {
				t.Errorf("%s is %s: %s", f.ID, f.Verdict, f.Seen)
			}
		case expected && (f.Verdict != "wrong" || !strings.Contains(f.Set, set)):
			t.Errorf("%s is %s: %s\nset: %s\nwant advice with %q", f.ID, f.Verdict, f.Seen, f.Set, set)
		}
	}
	for id := range wrong {
		if !found[id] {
			t.Errorf("doctor has no check %s", id)
		}
	}
	if len(found) < 20 {
		t.Errorf("doctor made %d checks", len(found))
	}
}

// withoutMapping writes a copy of the template without the mapping of the challenge header.
func withoutMapping(t *testing.T) string {
	t.Helper()
	const mapping = `      ResponseParameters:
        "401":
          ResponseParameters:
            - Destination: overwrite:header.www-authenticate
              Source: $response.header.x-registry-challenge
`
	template, err := os.ReadFile("../template.yaml")
	must(t, err)
	without := strings.ReplaceAll(string(template), mapping, "")
	if strings.Contains(without, "x-registry-challenge") {
		t.Fatal("the template's mapping is written in another way")
	}
	return writeFile(t, filepath.Join(t.TempDir(), "template.yaml"), without)
}
