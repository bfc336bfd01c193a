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
