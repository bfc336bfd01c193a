package verify_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pierless/pierless/pkg/verify"
)

// result is one that a report can show; its case is made up.
func result(id string, group verify.Group, level verify.Level, status verify.Status) verify.Result {
	r := verify.Result{
		Case:   verify.Case{ID: id, Group: group, Level: level, Section: "Pulling blobs", Requirement: "The rule of " + id + ".", Impact: "clients of " + id},
		Status: status, Seconds: 0.25,
	}
	r.SpecURL = r.Case.SpecURL()
	if status != verify.Passed {
		r.Detail = "seen in " + id
	}
	if status == verify.Failed {
		r.Exchange = &verify.Exchange{
			Method: "PUT", URL: "/v2/a/blobs/b?digest=<c>&d", RequestHeader: http.Header{"Content-Type": {"text/plain"}},
			RequestBody: "what was <sent>\n", RequestLength: 16, Redirects: []string{"307, Location: https://elsewhere/?…"},
			Status: 500, ResponseHeader: http.Header{"X-B": {"2"}, "X-A": {"1", "1a"}}, ResponseLength: 4000, Error: "it broke off",
		}
	}
	return r
}

// everyStatus is a report with a result of each status.
func everyStatus() *verify.Report {
	return &verify.Report{
		URL: "http://registry.test", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 1.5,
		Results: []verify.Result{
			result("pull-passed", verify.Pull, verify.Must, verify.Passed),
			result("pull-failed", verify.Pull, verify.Should, verify.Failed),
			result("push-missing", verify.Push, verify.May, verify.NotOffered),
			result("push-large", verify.Push, verify.Must, verify.OverLimit),
			result("delete-skipped", verify.Management, verify.Should, verify.Skipped),
		},
	}
}

func TestReportOK(t *testing.T) {
	for _, level := range []verify.Level{verify.Must, verify.Should, verify.May} {
		for _, status := range verify.Statuses() {
			report := everyStatus()
			report.Results = append(report.Results, result("one-more", verify.Push, level, status))
			want := level != verify.Must || status != verify.Failed && status != verify.Skipped
			if got := report.OK(); got != want {
				t.Errorf("with a %s %s: OK is %t, want %t", status, level, got, want)
			}
		}
	}
}

func TestReportCount(t *testing.T) {
	report := everyStatus()
	for _, s := range verify.Statuses() {
		if n := report.Count(s); n != 1 {
			t.Errorf("%d are %s, want 1", n, s)
		}
	}
}

func TestReportText(t *testing.T) {
	for _, all := range []bool{false, true} {
		var b strings.Builder
		if err := everyStatus().WriteText(&b, all); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		for _, want := range []string{
			"\nFAILED: SHOULD pull-failed\n  rule:   The rule of pull-failed.\n  from:   Pulling blobs https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-blobs\n" +
				"  breaks: clients of pull-failed\n  seen:   seen in pull-failed\n" +
				"    > PUT /v2/a/blobs/b?digest=<c>&d\n    > Content-Type: text/plain\n    > what was <sent>\n    < 307, Location: https://elsewhere/?…\n" +
				"    < 500 Internal Server Error\n    < X-A: 1\n    < X-A: 1a\n    < X-B: 2\n    < (4000 bytes)\n    ! it broke off\n",
			"\nSKIPPED: SHOULD delete-skipped\n",
			"NOT OFFERED: MAY push-missing: seen in push-missing\n",
			"OVER LIMIT: MUST push-large: seen in push-large\n",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("all=%t: the text has no\n%s\nbut is\n%s", all, want, got)
			}
		}
		if n := strings.Count(got, "pull-passed"); all != (n > 0) {
			t.Errorf("all=%t: what passed is there %d times", all, n)
		}
		if skipped, failed := strings.Index(got, "SKIPPED"), strings.Index(got, "FAILED"); failed < skipped {
			t.Errorf("all=%t: what failed is not the last, next to the totals", all)
		}
		totals := strings.Fields(got[strings.LastIndex(got, "total"):])
		if want := []string{"total", "1", "1", "1", "1", "1"}; !slices.Equal(totals, want) {
			t.Errorf("all=%t: the totals are %v, want %v", all, totals, want)
		}
	}
}

func TestReportJSON(t *testing.T) {
	for _, ok := range []bool{true, false} {
		report := everyStatus()
		if !ok {
			report.Results = append(report.Results, result("push-failed", verify.Push, verify.Must, verify.Failed))
		}
		var b bytes.Buffer
		if err := report.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		var got struct {
			OK     bool                  `json:"ok"`
			Totals map[verify.Status]int `json:"totals"`
			verify.Report
		}
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.OK != ok {
			t.Errorf("ok is %t, want %t", got.OK, ok)
		}
		for _, s := range verify.Statuses() {
			if got.Totals[s] != report.Count(s) {
				t.Errorf("%d are %s, want %d", got.Totals[s], s, report.Count(s))
			}
		}
		if diff := cmp.Diff(*report, got.Report); diff != "" {
			t.Errorf("read back (-want +got):\n%s", diff)
		}
	}
}

func TestReportJUnit(t *testing.T) {
	report := everyStatus()
	report.Results[1].Detail = "a \x1b control character & <markup>"
	var b bytes.Buffer
	if err := report.WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	type message struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
	var got struct {
		Suites []struct {
			Name     string `xml:"name,attr"`
			Tests    int    `xml:"tests,attr"`
			Failures int    `xml:"failures,attr"`
			Skipped  int    `xml:"skipped,attr"`
			Time     string `xml:"time,attr"`
			Cases    []struct {
				Name    string   `xml:"name,attr"`
				Failure *message `xml:"failure"`
				Skipped *message `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range got.Suites {
		lines = append(lines, fmt.Sprintf("%s: %d tests, %d failures, %d skipped, %s s", s.Name, s.Tests, s.Failures, s.Skipped, s.Time))
		for _, c := range s.Cases {
			switch {
			case c.Failure != nil:
				lines = append(lines, c.Name+" failed: "+c.Failure.Type+" "+c.Failure.Message)
				if !strings.Contains(c.Failure.Text, "> PUT /v2/a/blobs/b?digest=<c>&d") {
					t.Errorf("%s does not show the exchange: %s", c.Name, c.Failure.Text)
				}
			case c.Skipped != nil:
				lines = append(lines, c.Name+" skipped: "+c.Skipped.Message)
			default:
				lines = append(lines, c.Name+" passed")
			}
		}
	}
	want := []string{
		"pull: 2 tests, 1 failures, 0 skipped, 0.500 s",
		"pull-passed passed",
		"pull-failed failed: SHOULD a \uFFFD control character & <markup>",
		"push: 2 tests, 0 failures, 2 skipped, 0.500 s",
		"push-missing skipped: not offered: seen in push-missing",
		"push-large skipped: over limit: seen in push-large",
		"management: 1 tests, 0 failures, 1 skipped, 0.250 s",
		"delete-skipped skipped: skipped: seen in delete-skipped",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("suites (-want +got):\n%s", diff)
	}
}

// written is a report in all forms.
func written(t *testing.T, report *verify.Report) string {
	t.Helper()
	var b strings.Builder
	for _, write := range []func() error{
		func() error { return report.WriteText(&b, true) },
		func() error { return report.WriteJSON(&b) },
		func() error { return report.WriteJUnit(&b) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// TestReportHasNoSecrets: neither the password nor what is made of it gets into a
// report, whichever way it was given.
func TestReportHasNoSecrets(t *testing.T) {
	password := "correct-horse"
	inner := wantsBasic("me", password)(newRegistry(t))
	addr := serve(t, answers(on("GET", toBlob), func(r *reply) {
		r.status = http.StatusTeapot
		r.header.Set("Set-Cookie", "session="+password)
	})(inner))
	for _, opts := range []verify.Options{
		{URL: addr, Username: "me", Password: password},
		{URL: strings.Replace(addr, "http://", "http://me:"+password+"@", 1)},
	} {
		opts.Only = []string{"blob-get"}
		report := run(t, opts)
		if report.Results[0].Status != verify.Failed || report.Results[0].Exchange == nil {
			t.Fatalf("%s %s, want it to fail with an exchange", report.Results[0].Status, report.Results[0].Detail)
		}
		got := written(t, report)
		for _, secret := range []string{password, base64.StdEncoding.EncodeToString([]byte("me:" + password))} {
			if strings.Contains(got, secret) {
				t.Errorf("the report has %q:\n%s", secret, got)
			}
		}
	}
}

// TestReportBodies: bodies that are no text are left out, and long ones are cut.
func TestReportBodies(t *testing.T) {
	long := strings.Repeat("€", 1000) // of 3 bytes: the cut is within one
	for name, tt := range map[string]struct{ body, want string }{
		"short":       {"not found\n", "not found\n"},
		"long":        {long, strings.Repeat("€", 682) + " …"},
		"long JSON":   {`["` + long + `"]`, `["` + strings.Repeat("€", 682) + " …"},
		"binary":      {"\x00\x01\xff", ""},
		"no UTF-8":    {strings.Repeat("\x80", 5000), ""},
		"ends binary": {strings.Repeat("a", 100) + "\x1b[2J", ""},
		"none":        {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, answers(on("GET", toBlob), func(r *reply) {
				r.status = http.StatusTeapot
				r.setBody([]byte(tt.body))
			})(newRegistry(t)))
			got := run(t, verify.Options{URL: addr, Only: []string{"blob-get-missing"}}).Results[0].Exchange
			if got == nil || got.ResponseBody != tt.want || got.ResponseLength != int64(len(tt.body)) {
				t.Errorf("got %+v, want a body of %d bytes as %q", got, len(tt.body), tt.want)
			}
		})
	}
}
