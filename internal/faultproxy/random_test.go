//go:build localstack

package faultproxy_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/faultproxy"
)

// TestRandomFaults: in each run all faults hit the calls of one kind of request at random, by a seed,
// one call in ten. PIERLESS_WIRE_RUNS is the number of runs.
func TestRandomFaults(t *testing.T) {
	t.Parallel()
	runs := 2 * len(scenarios())
	if text := os.Getenv("PIERLESS_WIRE_RUNS"); text != "" {
		var err error
		if runs, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	var noticed, hits atomic.Int64
	t.Run("runs", func(t *testing.T) {
		inParallel(runs, 8, func(i int) {
			s := scenarios()[i%len(scenarios())]
			if s.large {
				return
			}
			t.Run(fmt.Sprintf("seed %d/%s", i, s.name), func(t *testing.T) {
				c := w.process(t, fmt.Sprintf("s%d/%s", i, slug(s.name)), settings{serveBlobs: s.serve, backoff: 10 * time.Millisecond, seed: uint64(i)})
				c.refuses = func(status int) bool { return status == http.StatusInternalServerError } // halves of requests, expired tokens
				request := s.prepare(c)
				c.proxy.Break(randomFaults(uint64(i))...)
				request()
				hits.Add(int64(c.proxy.Hits()))
				noticed.Add(int64(c.failures))
				c.proxy.Break()
				c.proxy.Release()
				c.check()
				c.clear()
			})
		})
	})
	t.Logf("%d runs, %d faults, the clients noticed %d", runs, hits.Load(), noticed.Load())
	w.empty(t, 0)
}

// randomFaults returns a rule for each operation and each of its faults, in an order by the seed.
func randomFaults(seed uint64) (rules []faultproxy.Rule) {
	for _, operation := range []string{
		"GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "PutObject", "GetObject",
		"HeadObject", "DeleteObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "ListParts",
	} {
		for _, f := range faults() {
			if f.Delay == 0 && f.on(faultproxy.Call{Operation: operation, Key: "blobs/"}) {
				rules = append(rules, faultproxy.Rule{Operation: operation, Probability: 0.008, Fault: f.Fault})
			}
		}
	}
	rand.New(rand.NewPCG(seed, 1)).Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	return rules
}
