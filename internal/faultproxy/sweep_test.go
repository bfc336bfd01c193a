//go:build localstack

package faultproxy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/faultproxy"
	"github.com/pierless/pierless/pkg/registry"
)

// kept is the repository of an image that stays.
const kept = "kept/app"

// TestFaultsOfSweeps: each kind of call of a sweep fails once, or until the sweep is out of time. The
// next sweep without faults frees the garbage; nothing in use is lost.
func TestFaultsOfSweeps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keeper := w.process(t, kept, settings{})
	keeper.image("v1", padding)
	ahead := time.Duration(0)
	s := settings{backoff: 10 * time.Millisecond, now: func() time.Time { return time.Now().Add(ahead) }}
	sweeper := w.process(t, "sweeper", s)
	ahead = w.garbage(t, "first", ahead)
	sweeper.proxy.Break()
	if err := sweepAll(t.Context(), sweeper.reg); err != nil {
		t.Fatal(err)
	}
	n, runs := 0, 0
	for _, rule := range kindsOf(sweeper.proxy.Calls()) {
		for i, f := range faults() {
			if !slices.Contains(sweepFaults(), f.name) || !f.on(faultproxy.Call{Operation: rule.Operation, Key: rule.Prefix}) {
				continue
			}
			if n++; os.Getenv("PIERLESS_WIRE") != "full" && n%8 != 0 {
				continue
			}
			runs++
			rule.Fault, rule.Count = f.Fault, i%2
			name := fmt.Sprintf("%s %s/%s", rule.Operation, rule.Prefix, f.name)
			ahead = w.garbage(t, fmt.Sprintf("g%d", runs), ahead)
			sweeper.proxy.Break(rule)
			ctx, cancel := context.WithTimeout(t.Context(), outOfTime(rule.Count))
			err := sweepAll(ctx, sweeper.reg)
			cancel()
			if sweeper.proxy.Hits() == 0 && rule.Count > 0 { // else it may be out of time before
				t.Errorf("%s: the fault has hit no call", name)
			}
			if err != nil && rule.Count > 0 {
				t.Errorf("%s: one fault is not repeated: %v", name, err)
			}
			sweeper.proxy.Break()
			sweeper.proxy.Release()
			keeper.check()
		}
	}
	if err := sweepAll(t.Context(), sweeper.reg); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d combinations", runs)
	keeper.check()
	keeper.clear()
	w.empty(t, ahead)
}

// outOfTime is the time of a sweep whose fault hits count calls: little if it hits all.
func outOfTime(count int) time.Duration {
	if count == 0 {
		return 500 * time.Millisecond
	}
	return time.Minute
}

// sweepFaults are the faults that sweeps meet.
func sweepFaults() []string {
	return []string{
		"SlowDown", "applied, then InternalError", "ProvisionedThroughputExceeded", "applied, then InternalServerError",
		"canceled by TransactionConflict", "cut after", "half of the answer", "short pages", "sent again later", "unprocessed keys",
	}
}

// garbage leaves a deleted image with a large manifest, a blob without an image, an open upload and
// an open direct upload in parts. It returns the clock at which all of it can be freed.
func (w *world) garbage(t *testing.T, repo string, ahead time.Duration) time.Duration {
	t.Helper()
	c := w.process(t, repo, settings{now: func() time.Time { return time.Now().Add(ahead) }})
	c.postBlob(c.content(0))
	c.postBlob(c.content(1))
	c.put("v1", c.manifest(padding))
	c.want(c.send("DELETE", c.path("manifests/%s", digest(c.pushed[0])), nil), http.StatusAccepted)
	at := c.start()
	c.patch(at, c.content(2))
	c.want(c.send("POST", c.path("_pierless/uploads"), fmt.Appendf(nil, `{"digest":%q,"size":3,"parts":true}`, digest([]byte("abc")))), http.StatusAccepted)
	return ahead + 49*time.Hour
}

// sweepAll makes three steps, as the delete of a link queues its blob, and returns their errors.
func sweepAll(ctx context.Context, reg *registry.Registry) error {
	return errors.Join(sweepOnce(ctx, reg), sweepOnce(ctx, reg), sweepOnce(ctx, reg))
}

func sweepOnce(ctx context.Context, reg *registry.Registry) error {
	_, err := reg.Collect(ctx, registry.MaxPage)
	_, expireErr := reg.ExpireUploads(ctx, registry.MaxPage)
	return errors.Join(err, expireErr)
}

// kindsOf returns a rule for each kind of call.
func kindsOf(calls []faultproxy.Call) (rules []faultproxy.Rule) {
	for _, call := range calls {
		same := func(r faultproxy.Rule) bool { return r.Operation == call.Operation && r.Prefix == call.Prefix() }
		if !slices.ContainsFunc(rules, same) {
			rules = append(rules, faultproxy.Rule{Operation: call.Operation, Prefix: call.Prefix()})
		}
	}
	return rules
}
