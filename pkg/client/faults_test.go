package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// session is everything that a push and a pull of an image ask for.
func session(t *testing.T, c *client.Client) {
	t.Helper()
	ctx := t.Context()
	r := repository(t, c, "team/app")
	for i, size := range []int{0, 200_000, 5*mib + 17} {
		b, seen := blobOf(randomBytes(uint64(i), size)), &progress{}
		b.Progress = seen.add
		if got, err := r.PushBlob(ctx, b); err != nil || seen.sum != got.Sent || seen.low < 0 {
			t.Fatalf("push of %d bytes: %+v, %v; progress %d", size, got, err, seen.sum)
		}
		wantBlob(t, r, randomBytes(uint64(i), size))
	}
	manifest := image(t, r, nil)
	desc, err := r.PushManifest(ctx, oci.Reference{Tag: "x"}, oci.MediaTypeImageManifest, manifest)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Resolve(ctx, oci.Reference{Tag: "x"}); err != nil || got.Digest != desc.Digest {
		t.Fatalf("resolve: %+v, %v", got, err)
	}
	if m, err := r.Manifest(ctx, oci.Reference{Tag: "x"}); err != nil || string(m.Content) != string(manifest) {
		t.Fatalf("manifest: %v", err)
	}
	if tags := collect(t, r.Tags(ctx)); len(tags) != 1 {
		t.Fatalf("tags %q", tags)
	}
	if err := r.DeleteManifest(ctx, oci.Reference{Digest: desc.Digest}); err != nil {
		t.Fatalf("delete manifest: %v", err)
	}
	if err := r.DeleteBlob(ctx, oci.SHA256.FromBytes(randomBytes(1, 200_000))); err != nil {
		t.Fatalf("delete blob: %v", err)
	}
}

// TestEveryRequestMayFail: each request of a session fails once, in every way, and the
// session ends as if none had.
func TestEveryRequestMayFail(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{
		"in chunks": func(t *testing.T) string { return serve(t, newRegistry(t)) },
		"direct":    func(t *testing.T) string { address, _ := newDirectRegistry(t); return address },
	} {
		for _, what := range []fault{refused, cutRequest, lostAnswer, cutAnswer, unavailable, tooMany} {
			t.Run(fmt.Sprint(name, " fault ", what), func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				seen := map[string]bool{}
				f := &faults{pick: func(req *http.Request, _ int) fault {
					mu.Lock()
					defer mu.Unlock()
					path := strings.TrimLeft(req.URL.Path, "/0123456789") // the store's, however often it is signed
					key := req.Method + path + req.URL.RawQuery + req.Header.Get("Content-Range") + req.Header.Get("Range")
					if seen[key] {
						return none
					}
					seen[key] = true
					return what
				}}
				c, _ := newClient(t, start(t), client.Options{Transport: f})
				session(t, c)
			})
		}
	}
}

// TestOneFault: with one fault at the n-th request only, whichever that is.
func TestOneFault(t *testing.T) {
	t.Parallel()
	for what := refused; what <= tooMany; what++ {
		for at := int(what); ; at += 9 { // over the kinds and both registries, all numbers
			hit := false
			f := &faults{pick: func(_ *http.Request, n int) fault {
				if n == at {
					hit = true
					return what
				}
				return none
			}}
			address := serve(t, newRegistry(t))
			if at%2 == 0 {
				address, _ = newDirectRegistry(t)
			}
			c, _ := newClient(t, address, client.Options{Transport: f})
			if session(t, c); t.Failed() {
				t.Fatalf("fault %d at request %d of %q", what, at, f.requests())
			}
			if !hit {
				break
			}
		}
	}
}

func TestWaits(t *testing.T) {
	status, header := http.StatusServiceUnavailable, http.Header{}
	n := 0
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n++
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
	}))
	c, slept := newClient(t, address, client.Options{})
	if err := c.Ping(t.Context()); err == nil || n != 6 {
		t.Errorf("%v after %d tries, want 6", err, n)
	}
	for i, d := range slept.list() {
		if limit := 500 * time.Millisecond << i; d < 0 || d >= limit {
			t.Errorf("wait %d is %v, want less than %v", i, d, limit)
		}
	}
	for value, want := range map[string]time.Duration{
		"7": 7 * time.Second, "100000": time.Minute, time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat): 0, "soon": 0,
		time.Now().Add(time.Hour).UTC().Format(http.TimeFormat): time.Minute,
	} {
		status, header = http.StatusTooManyRequests, http.Header{"Retry-After": {value}}
		c, slept := newClient(t, address, client.Options{Attempts: 2})
		if err := c.Ping(t.Context()); err == nil {
			t.Error("no error")
		}
		if all := slept.list(); len(all) != 1 || all[0] < want || all[0] > want+500*time.Millisecond {
			t.Errorf("Retry-After %q: waited %v, want %v", value, all, want)
		}
	}
	for _, final := range []int{400, 401, 403, 404, 405, 413, 501} {
		status, n = final, 0
		c, _ := newClient(t, address, client.Options{})
		if err := c.Ping(t.Context()); err == nil || n != 1 {
			t.Errorf("%d: %v after %d tries, want one", final, err, n)
		}
	}
}

// TestRestart: a registry that refuses connections while it restarts is waited for, as
// long as one that answers 503 and asks for a second.
func TestRestart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	c, slept := newClient(t, address, client.Options{})
	if err := c.Ping(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatal(err)
	}
	for i, d := range slept.list() {
		if limit := 500 * time.Millisecond << i; d < limit/2+time.Second || d > limit+time.Second {
			t.Errorf("wait %d is %v, want %v to %v", i, d, limit/2+time.Second, limit+time.Second)
		}
	}
	if n := len(slept.list()); n != 5 {
		t.Errorf("%d waits, want 5", n)
	}
	naps := 0
	c, _ = newClient(t, address, client.Options{Sleep: func(context.Context, time.Duration) error {
		if naps++; naps == 5 {
			again, err := net.Listen("tcp", address)
			if err != nil {
				t.Skip("another process took the port")
			}
			server := &httptest.Server{Listener: again, Config: &http.Server{Handler: newRegistry(t)}}
			server.Start()
			t.Cleanup(server.Close)
		}
		return nil
	}})
	if err := c.Ping(t.Context()); err != nil || naps != 5 {
		t.Errorf("%v after %d waits", err, naps)
	}
}

// TestUnreachable: persistent errors are not retried.
func TestUnreachable(t *testing.T) {
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	tls.Config.ErrorLog = nil
	t.Cleanup(tls.Close)
	for name, address := range map[string]string{"unknown authority": tls.URL, "no TLS": "https" + serve(t, http.NotFoundHandler())[len("http"):]} {
		c, slept := newClient(t, address, client.Options{})
		if err := c.Ping(t.Context()); err == nil || len(slept.list()) != 0 {
			t.Errorf("%s: %v after %d waits", name, err, len(slept.list()))
		}
	}
}
