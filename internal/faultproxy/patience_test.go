//go:build localstack

package faultproxy_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/faultproxy"
)

// TestThrottledForLong: with the pauses of the product, a client gets its 503 after some seconds.
// API Gateway waits 30 seconds, and then answers with an error of its own.
func TestThrottledForLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	throttled := refusal(never, http.StatusBadRequest, "ProvisionedThroughputExceededException")
	for operation, fault := range map[string]faultproxy.Fault{
		"PutItem":            throttled,
		"TransactWriteItems": throttled,
		"BatchGetItem":       {Send: never, Answer: faultproxy.Unprocessed},
		"PutObject":          refusal(never, http.StatusServiceUnavailable, "SlowDown"),
	} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			c := w.process(t, "throttled/"+slug(operation), settings{})
			c.postBlob(c.content(0))
			c.postBlob(c.content(1))
			c.proxy.Break(faultproxy.Rule{Operation: operation, Fault: fault})
			began := time.Now()
			a := c.try("PUT", c.path("manifests/v1"), c.manifest(padding), "Content-Type", imageManifest)
			if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
				t.Errorf("%d %s", a.status, a.body)
			}
			took := time.Since(began)
			t.Logf("%s", took.Round(100*time.Millisecond))
			if took > 10*time.Second {
				t.Errorf("the answer comes after %s", took)
			}
		})
	}
}

// TestRetryQuota: the SDK stops its retries when too many of them fail. The answers stay 503, and
// the registry recovers with the store.
func TestRetryQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.process(t, "quota/app", settings{backoff: time.Millisecond})
	c.image("v1", 0)
	c.proxy.Break(faultproxy.Rule{Operation: "GetItem", Fault: refusal(never, http.StatusInternalServerError, "InternalServerError")})
	const requests = 40
	for range requests {
		a := c.try("GET", c.path("manifests/v1"), nil)
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Fatalf("%d %s, because of %q", a.status, a.body, c.causes)
		}
	}
	if attempts := len(c.proxy.Calls()); attempts >= 9*requests {
		t.Errorf("%d attempts: the quota is not used up", attempts)
	}
	c.proxy.Break()
	c.want(c.try("GET", c.path("manifests/v1"), nil), http.StatusOK)
}
