package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
)

// TestHealth: a probe shows whether the store can be read; the cause of a fault is in the log,
// once.
func TestHealth(t *testing.T) {
	secret := errors.New("secret host refused")
	var fault error
	asked := 0
	log := &bytes.Buffer{}
	h := &health{log: slog.New(slog.NewTextHandler(log, nil)), check: func(ctx context.Context, limit time.Duration) error {
		asked++
		if ctx.Err() != nil || limit != healthTimeout {
			t.Errorf("asked with %v, %s", ctx.Err(), limit)
		}
		return fault
	}}
	gone, cancel := context.WithCancel(t.Context()) // a cancelled probe is no fault of the store
	cancel()
	probe := func(stale bool, status int, answer string) {
		t.Helper()
		if stale {
			h.asked = time.Time{}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil).WithContext(gone))
		if w.Code != status || w.Body.String() != answer {
			t.Errorf("%d %q, want %d %q", w.Code, w.Body, status, answer)
		}
	}
	probe(true, 200, "ok\n")
	fault = secret
	probe(false, 200, "ok\n")
	probe(true, 503, "the store cannot be used: see the log\n")
	probe(true, 503, "the store cannot be used: see the log\n")
	fault = fmt.Errorf("%w: %w", registry.ErrUnavailable, secret)
	probe(true, 503, "the store does not answer\n")
	fault = fmt.Errorf("%w: %w", context.DeadlineExceeded, secret)
	probe(true, 503, "the store does not answer\n")
	fault = nil
	probe(false, 503, "the store does not answer\n")
	probe(true, 200, "ok\n")
	if asked != 6 {
		t.Errorf("the store was asked %d times", asked)
	}
	if got := strings.Count(log.String(), "secret"); got != 1 || strings.Count(log.String(), "read again") != 1 {
		t.Errorf("the log: %s", log)
	}
}

// TestServeLostDirectory: /healthz of a running process follows the state of the store.
func TestServeLostDirectory(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	out, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", data)
	host := address(t, out)
	if status, _ := get(t, "http://"+host+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	status, body := 0, ""
	for range 100 { // until the last check is stale
		if status, body = get(t, "http://"+host+"/healthz"); status != http.StatusOK {
			break
		}
		time.Sleep(healthFresh / 10)
	}
	if status != http.StatusServiceUnavailable || strings.Contains(body, data) {
		t.Errorf("healthz: %d %q", status, body)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// fakeAWS answers every call of S3 and DynamoDB with a status and a code in their form.
func fakeAWS(t *testing.T, status int, code string) map[string]string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Target") == "" {
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
			return
		}
		if code == "NoSuchBucket" || code == "NoSuchKey" { // the table exists
			fmt.Fprint(w, "{}")
			return
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"no"}`, code)
	}))
	t.Cleanup(s.Close)
	return map[string]string{
		"AWS_ENDPOINT_URL": s.URL, "AWS_ENDPOINT_URL_S3": s.URL, "AWS_ENDPOINT_URL_DYNAMODB": s.URL, "AWS_REGION": "us-east-1",
		"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": filepath.Join(t.TempDir(), "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none"),
	}
}

// TestServeMisconfigured: serve exits with the setting to change before it listens.
func TestServeMisconfigured(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		code   string
		unset  string
		want   string
	}{
		{"no bucket", 404, "NoSuchBucket", "", "there is no bucket some-bucket: 'pierless init'"},
		{"no table", 400, "ResourceNotFoundException", "", "there is no table some-table: 'pierless init'"},
		{"another table", 400, "ValidationException", "", "not one of Pierless"},
		{"no permission", 400, "AccessDeniedException", "", "docs/operations.md lists the permissions"},
		{"wrong key", 400, "UnrecognizedClientException", "", "AWS refuses the credentials"},
		{"old session", 400, "ExpiredTokenException", "", "have expired"},
		{"down", 503, "InternalError", "", "no answer: check the network"},
		{"no credentials", 200, "NoSuchKey", "AWS_ACCESS_KEY_ID", "no AWS credentials: set AWS_ACCESS_KEY_ID"},
		{"no region", 200, "NoSuchKey", "AWS_REGION", "set AWS_REGION"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, value := range fakeAWS(t, tt.status, tt.code) {
				t.Setenv(name, value)
			}
			if tt.unset != "" {
				t.Setenv(tt.unset, "")
			}
			out, wait := startEnded(t, "serve", "--listen", "127.0.0.1:0", "--bucket", "some-bucket", "--table", "some-table")
			if err := wait(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if strings.Contains(out.String(), "ready") {
				t.Errorf("serve became ready: %s", out)
			}
		})
	}
	t.Run("all is well", func(t *testing.T) {
		for name, value := range fakeAWS(t, 404, "NoSuchKey") {
			t.Setenv(name, value)
		}
		out, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--bucket", "some-bucket", "--table", "some-table")
		address(t, out)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestLimitBodies: bodies wait for their turn and are refused after a time; other requests
// do not wait.
func TestLimitBodies(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	for wait, want := range map[time.Duration]int{time.Minute: http.StatusOK, time.Millisecond: http.StatusServiceUnavailable} {
		admit := limitBodies(1, wait)
		status := func(body io.Reader) int {
			r := httptest.NewRequest(http.MethodPatch, "/", body)
			release, err := admit(r)
			if err != nil {
				if !errors.Is(err, &oci.Error{Code: oci.Unavailable}) {
					t.Error(err)
				}
				return http.StatusServiceUnavailable
			}
			defer release()
			if r.ContentLength != 0 {
				entered <- true
				<-leave
			}
			return http.StatusOK
		}
		done := make(chan int, 2)
		go func() { done <- status(strings.NewReader("first")) }()
		<-entered
		if got := status(nil); got != http.StatusOK {
			t.Errorf("without a body: %d", got)
		}
		go func() { done <- status(struct{ io.Reader }{strings.NewReader("of unknown length")}) }()
		if want != http.StatusOK {
			if got := <-done; got != want {
				t.Errorf("beyond the limit: %d, want %d", got, want)
			}
		}
		leave <- true
		if want == http.StatusOK {
			<-entered
			leave <- true
			if got := <-done; got != want {
				t.Errorf("with a free slot: %d", got)
			}
		}
		if got := <-done; got != http.StatusOK {
			t.Errorf("within the limit: %d", got)
		}
	}
}
