//go:build localstack

package faultproxy_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/registry"
)

// TestSkewedClock: the clock of the host and that of AWS are hours apart. The SDK corrects the time
// of its own calls by the first refusal, of S3 and of DynamoDB. Presigned URLs are not corrected:
// S3 refuses them.
func TestSkewedClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, skew := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		c := w.process(t, fmt.Sprintf("skewed/by%d", int(skew.Hours())+3), settings{backoff: time.Millisecond})
		c.proxy.SetClock(skew)
		m := c.image("v1", padding)
		if c.failures > 0 {
			t.Errorf("%s: a push fails: %v, because of %q", skew, c.failed, c.causes)
		}
		if a := c.send("GET", c.path("manifests/%s", digest(m)), nil); a.status != http.StatusOK {
			t.Errorf("%s: GET manifest: %d %s", skew, a.status, a.body)
		}
		at := c.want(c.send("GET", c.path("blobs/%s", digest(c.blobs[0])), nil), http.StatusTemporaryRedirect).header.Get("Location")
		if a := c.try("GET", at, nil); a.status != http.StatusForbidden {
			t.Errorf("%s: the presigned URL gets %d: mend docs/operations.md", skew, a.status)
		}
		c.check()
	}
}

// TestClocksApart: the clocks of the processes are apart, and each of them sweeps between the
// requests of a push. Below half a grace no push is refused. Above a grace it may be, but then the
// client's next attempt without a sweep succeeds. What was acknowledged stays.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	const pushes = 4
	for _, apart := range []time.Duration{registry.DefaultGrace/2 - time.Hour, registry.DefaultGrace + 6*time.Hour} {
		w := newWorld(t)
		var processes []*client
		for _, ahead := range []time.Duration{-apart / 2, 0, apart / 2} {
			now := func() time.Time { return time.Now().Add(ahead) }
			processes = append(processes, w.process(t, "apart/app", settings{now: now}))
		}
		refused := 0
		for i := range pushes {
			image := &client{t: t, world: w, repo: fmt.Sprintf("apart/r%d", i%2), proxy: processes[0].proxy}
			push := func(sweep bool) bool {
				turn := i
				next := func() {
					turn++
					image.url = processes[turn%3].url
					if reg := processes[(turn+i/3)%3].reg; sweep {
						if err := sweepOnce(t.Context(), reg); err != nil {
							t.Fatal(err)
						}
					}
				}
				for n := range 2 {
					next()
					image.postBlob(fmt.Appendf(nil, "blob %d of image %d apart", n, i))
				}
				next()
				a := image.send("PUT", image.path("manifests/v%d", i), image.manifest(i%2*padding), "Content-Type", imageManifest)
				if a.status == http.StatusBadRequest {
					image.blobs = nil
					return false
				}
				image.want(a, http.StatusCreated)
				return true
			}
			if !push(true) {
				if refused++; !push(false) {
					t.Fatal("a push without a sweep is refused")
				}
			}
			m := image.manifest(i % 2 * padding)
			image.manifests = map[string][]byte{fmt.Sprintf("v%d", i): m}
			image.pushed = [][]byte{m}
			defer image.clear()
			defer image.check()
		}
		for _, p := range processes {
			if err := sweepOnce(t.Context(), p.reg); err != nil {
				t.Error(err)
			}
		}
		t.Logf("clocks %s apart: %d of %d pushes refused at first", apart, refused, pushes)
		if refused > 0 && apart < registry.DefaultGrace/2 {
			t.Errorf("clocks %s apart: %d pushes are refused", apart, refused)
		}
	}
}

// TestDirectUploadWithSkewedClock: a presigned PUT of a host whose clock is wrong is refused by the
// store. The completion says that the bytes are missing, and nothing is acknowledged.
func TestDirectUploadWithSkewedClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.process(t, "skewed/direct", settings{now: func() time.Time { return time.Now().Add(-5 * time.Hour) }})
	content := c.content(0)
	var u struct {
		ID  string
		Put presigned
	}
	offer := fmt.Appendf(nil, `{"digest":%q,"size":%d}`, digest(content), len(content))
	c.decode(c.want(c.send("POST", c.path("_pierless/uploads"), offer), http.StatusAccepted), &u)
	if a := c.try("PUT", u.Put.URL, content, "If-None-Match", "*", "x-amz-checksum-sha256", u.Put.Headers["X-Amz-Checksum-Sha256"]); a.status != http.StatusForbidden {
		t.Errorf("the store answers %d %s", a.status, a.body)
	}
	c.want(c.send("PUT", c.path("_pierless/uploads/%s", u.ID), nil), http.StatusBadRequest)
	if a := c.ask("GET", c.path("blobs/%s", digest(content))); a.status != http.StatusNotFound {
		t.Errorf("GET blob: %d", a.status)
	}
}
