package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/oci"
)

// output collects the output of a running command.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs the command until stop is called, which returns its error.
func start(t *testing.T, args ...string) (out *output, stop func() error) {
	t.Helper()
	out = &output{}
	root := newRoot(func(string) string { return "" })
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(out)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	return out, func() error {
		cancel()
		return <-ended
	}
}

// address waits for the line with the address of the registry, and returns it.
func address(t *testing.T, out *output) string {
	t.Helper()
	listen := regexp.MustCompile(`listen=(\S+)`)
	await(t, out, "listen=")
	return listen.FindStringSubmatch(out.String())[1]
}

// await waits until the output contains a text.
func await(t *testing.T, out *output, text string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		if _, found, _ := strings.Cut(out.String(), text); strings.Contains(found, "\n") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q is not logged: %s", text, out)
		}
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("%s: a browser may run scripts in this answer: %v", url, resp.Header)
	}
	return resp.StatusCode, string(b)
}

// TestServeKeeps: content is kept over a restart.
func TestServeKeeps(t *testing.T) {
	data := t.TempDir()
	out, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", data)
	host := address(t, out)
	if status, body := get(t, "http://"+host+"/healthz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz: %d %q", status, body)
	}
	content := "kept"
	blob := "/v2/a/blobs/" + string(oci.SHA256.FromBytes([]byte(content)))
	upload := "http://" + host + "/v2/a/blobs/uploads/?digest=" + string(oci.SHA256.FromBytes([]byte(content)))
	resp, err := http.Post(upload, "application/octet-stream", strings.NewReader(content))
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("push: %v, %v", resp, err)
	}
	resp.Body.Close()
	second := newRoot(func(string) string { return "" })
	second.SetArgs([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", data})
	if err := second.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), data) {
		t.Errorf("a second process on the directory: %v, want an error that names it", err)
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	out, stop = start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", data)
	if status, body := get(t, "http://"+address(t, out)+blob); status != http.StatusOK || body != content {
		t.Errorf("after a restart: %d %q", status, body)
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestServeFinishesRequests: a stop lets a request in progress finish.
func TestServeFinishesRequests(t *testing.T) {
	out, stop := start(t, "serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir())
	host := address(t, out)
	body, send := io.Pipe()
	answered := make(chan string, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+host+"/v2/a/blobs/uploads/?digest="+string(oci.SHA256.FromBytes([]byte("slow"))), body)
		if err != nil {
			answered <- err.Error()
			return
		}
		req.Header.Set("Expect", "100-continue")
		resp, err := (&http.Transport{ExpectContinueTimeout: time.Hour}).RoundTrip(req)
		if err != nil {
			answered <- err.Error()
			return
		}
		resp.Body.Close()
		answered <- resp.Status
	}()
	fmt.Fprint(send, "sl") // read once the server has the request and asks for its body
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	await(t, out, "stopping")
	fmt.Fprint(send, "ow")
	send.Close()
	if got := <-answered; got != "201 Created" {
		t.Errorf("the request in progress got %s", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for want, args := range map[string][]string{
		"address already in use":    {"serve", "--data-dir", t.TempDir(), "--listen", busy.Addr().String()},
		"set both":                  {"serve", "--bucket", "b"},
		"PIERLESS_GRACE is 0s":      {"serve", "--grace", "0s"},
		"PIERLESS_SWEEP_INTERVAL":   {"serve", "--sweep-interval", "1ms"},
		"use text or json":          {"serve", "--log", "xml"},
		"64 lower-case hex digits":  {"serve", "--data-dir", t.TempDir(), "--admin-token-sha256", "secret"},
		"everything is open":        {"serve", "--anonymous-pull"},
		"set --bucket and --table":  {"init"},
		"unknown command":           {"serv"},
		"unknown flag":              {"serve", "--prot", "1"},
		"unknown command \"extra\"": {"serve", "extra"},
	} {
		_, wait := startEnded(t, args...)
		if err := wait(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error with %q", args, err, want)
		}
	}
}

// TestHelp: the help of each command has examples and fits in a terminal of 80 columns.
func TestHelp(t *testing.T) {
	var names []string
	for all := []*cobra.Command{newRoot(func(string) string { return "" })}; len(all) > 0; all = all[1:] {
		all = append(all, all[0].Commands()...)
		names = append(names, strings.TrimSpace(strings.TrimPrefix(all[0].CommandPath(), "pierless")))
	}
	for _, name := range names {
		out, stop := start(t, strings.Fields(name+" --help")...)
		if err := stop(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		text := out.String()
		for _, section := range []string{"Usage:", "Examples:", "Flags:"} {
			if !strings.Contains(text, section) {
				t.Errorf("the help of pierless %s has no %q: %s", name, section, text)
			}
		}
		for line := range strings.Lines(text) {
			if name == "verify" || name == "doctor" || strings.HasPrefix(line, "  verify ") {
				continue // their texts change with pkg/verify; then this goes
			}
			if len(strings.TrimSuffix(line, "\n")) > 80 {
				t.Errorf("pierless %s --help has a line of %d columns: %s", name, len(line)-1, line)
			}
		}
	}
}
