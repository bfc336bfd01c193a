//go:build localstack

package faultproxy_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/faultproxy"
)

const (
	never = faultproxy.Never
	// shortTimeout is the limit of the SDK in processes that meet delays, late the delay. A slow
	// machine may exceed the limit without a fault.
	shortTimeout = 2 * time.Second
	late         = 3 * time.Second
)

// namedFault is a fault, and the calls that can meet it.
type namedFault struct {
	name string
	on   func(c faultproxy.Call) bool
	// plain faults are expected to be repeated by the SDK or the registry if they hit one call: the
	// client must not notice.
	plain bool
	// refuses are statuses besides 503 that the answer may have if the fault stays.
	refuses []int
	faultproxy.Fault
}

func refusal(send faultproxy.Send, status int, code string, reasons ...string) faultproxy.Fault {
	return faultproxy.Fault{Send: send, Answer: faultproxy.Refusal, Status: status, Code: code, Reasons: reasons}
}

func faults() []namedFault {
	all := func(faultproxy.Call) bool { return true }
	dynamo := func(c faultproxy.Call) bool { return c.Dynamo() }
	store := func(c faultproxy.Call) bool { return !c.Dynamo() }
	operation := func(names ...string) func(faultproxy.Call) bool {
		return func(c faultproxy.Call) bool { return slices.Contains(names, c.Operation) }
	}
	transaction := operation("TransactWriteItems")
	row := operation("PutItem", "UpdateItem", "DeleteItem")
	writes := func(c faultproxy.Call) bool { return c.Writes() }
	conditional := func(c faultproxy.Call) bool {
		return (c.Operation == "PutObject" || c.Operation == "CompleteMultipartUpload") && c.Prefix() == "blobs/"
	}
	withBody := func(c faultproxy.Call) bool {
		return c.Dynamo() || operation("PutObject", "UploadPart", "CompleteMultipartUpload")(c)
	}
	const bad, gone = http.StatusBadRequest, http.StatusServiceUnavailable
	return []namedFault{
		{name: "SlowDown", on: store, plain: true, Fault: refusal(never, gone, "SlowDown")},
		{name: "InternalError", on: store, plain: true, Fault: refusal(never, 500, "InternalError")},
		{name: "RequestTimeout", on: operation("PutObject", "UploadPart"), plain: true, Fault: refusal(never, bad, "RequestTimeout")},
		{name: "applied, then InternalError", on: store, plain: true, Fault: refusal(faultproxy.Once, 500, "InternalError")},
		{name: "InternalError with status 200", on: operation("CompleteMultipartUpload"), plain: true, Fault: refusal(never, 200, "InternalError")},
		{name: "ConditionalRequestConflict", on: conditional, plain: true, Fault: refusal(never, http.StatusConflict, "ConditionalRequestConflict")},
		{name: "applied, then PreconditionFailed", on: conditional, plain: true, Fault: refusal(faultproxy.Once, http.StatusPreconditionFailed, "PreconditionFailed")},
		{name: "ProvisionedThroughputExceeded", on: dynamo, plain: true, Fault: refusal(never, bad, "ProvisionedThroughputExceededException")},
		{name: "Throttling", on: dynamo, plain: true, Fault: refusal(never, bad, "ThrottlingException")},
		{name: "RequestLimitExceeded", on: dynamo, plain: true, Fault: refusal(never, bad, "RequestLimitExceeded")},
		{name: "InternalServerError", on: dynamo, plain: true, Fault: refusal(never, 500, "InternalServerError")},
		{name: "applied, then InternalServerError", on: dynamo, plain: true, Fault: refusal(faultproxy.Once, 500, "InternalServerError")},
		{name: "TransactionConflict", on: row, plain: true, Fault: refusal(never, bad, "TransactionConflictException")},
		{name: "canceled by TransactionConflict", on: transaction, plain: true, Fault: refusal(never, bad, "TransactionCanceledException", "None", "TransactionConflict")},
		{name: "canceled by throttling", on: transaction, plain: true, Fault: refusal(never, bad, "TransactionCanceledException", "ThrottlingError", "None")},
		{name: "TransactionInProgress", on: transaction, plain: true, Fault: refusal(never, bad, "TransactionInProgressException")},
		{name: "unprocessed keys", on: operation("BatchGetItem"), plain: true, Fault: faultproxy.Fault{Send: never, Answer: faultproxy.Unprocessed}},
		{name: "short pages", on: operation("Query"), plain: true, Fault: faultproxy.Fault{Send: faultproxy.OneRow}},
		{name: "cut before", on: all, plain: true, Fault: faultproxy.Fault{Send: never, Answer: faultproxy.Cut}},
		{name: "cut after", on: all, plain: true, Fault: faultproxy.Fault{Answer: faultproxy.Cut}},
		{name: "half of the answer", on: all, Fault: faultproxy.Fault{Answer: faultproxy.Short}},
		{name: "late", on: all, Fault: faultproxy.Fault{Send: faultproxy.Slow, Delay: late}},
		{name: "late answer", on: all, Fault: faultproxy.Fault{Delay: late}},
		{name: "applied after all tries", on: writes, plain: true, Fault: faultproxy.Fault{Send: faultproxy.Later, Answer: faultproxy.Cut}},
		{name: "sent twice", on: writes, plain: true, Fault: faultproxy.Fault{Send: faultproxy.Twice}},
		{name: "sent again later", on: writes, plain: true, Fault: faultproxy.Fault{Send: faultproxy.Again}},
		{name: "half of the request", on: withBody, refuses: []int{500}, Fault: faultproxy.Fault{Send: faultproxy.Half}},
		{name: "request cut off", on: withBody, plain: true, Fault: faultproxy.Fault{Send: faultproxy.Broken}},
		{name: "ExpiredToken", on: store, refuses: []int{500}, Fault: refusal(never, bad, "ExpiredToken")},
		{name: "ExpiredTokenException", on: dynamo, refuses: []int{500}, Fault: refusal(never, bad, "ExpiredTokenException")},
		{name: "502 with HTML", on: all, plain: true, Fault: faultproxy.Fault{Send: never, Answer: faultproxy.Page, Status: 502}},
	}
}

// largeFaults are those of scenarios that move megabytes.
func largeFaults() []string {
	return []string{"SlowDown", "applied, then InternalError", "InternalError with status 200", "applied, then PreconditionFailed", "cut after", "half of the request", "sent again later"}
}

// run is one cell of the matrix: a fault hits a call of a scenario.
type run struct {
	scenario scenario
	fault    namedFault
	rule     faultproxy.Rule
	stays    bool // until a request of the client fails
	own      bool // the client itself makes the call
	number   int
}

func (r run) String() string {
	howLong := "once"
	if r.stays {
		howLong = "stays"
	}
	return fmt.Sprintf("%s/%s_%s%d/%s_%s", r.scenario.name, r.rule.Operation, strings.TrimRight(r.rule.Prefix, "#/"), r.rule.Skip+1, r.fault.name, howLong)
}

// calls returns the calls of a scenario without faults, each with a rule that hits it: its
// operation and the kind of its row, and the number of such calls before it.
func (w *world) calls(t *testing.T, s scenario) (calls []faultproxy.Call, rules []faultproxy.Rule) {
	t.Helper()
	c := w.process(t, "plain/"+slug(s.name), settings{serveBlobs: s.serve})
	request := s.prepare(c)
	c.proxy.Break()
	request()
	calls = c.proxy.Calls()
	if len(calls) == 0 {
		t.Errorf("%s makes no calls", s.name)
	}
	before := map[string]int{}
	for _, call := range calls {
		rule := faultproxy.Rule{Operation: call.Operation, Prefix: call.Prefix()}
		kind := rule.Operation + rule.Prefix
		rule.Skip = before[kind]
		before[kind]++
		rules = append(rules, rule)
	}
	c.check()
	c.clear()
	return calls, rules
}

func slug(name string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name)), "-")
}

// sampled is how many runs of the matrix there are for one that is made without PIERLESS_WIRE=full.
// It is odd: a fault that hits once alternates with one that stays.
const sampled = 13

// matrix returns the runs of all scenarios, or a sample with each call and each fault.
func (w *world) matrix(t *testing.T, full bool) (runs []run) {
	t.Helper()
	all := scenarios()
	calls, rules := make([][]faultproxy.Call, len(all)), make([][]faultproxy.Rule, len(all))
	inParallel(len(all), 8, func(i int) { calls[i], rules[i] = w.calls(t, all[i]) })
	seen, n := map[string]bool{}, 0
	for at, s := range all {
		for i, call := range calls[at] {
			for _, f := range faults() {
				if !f.on(call) || s.large && !slices.Contains(largeFaults(), f.name) {
					continue
				}
				for _, stays := range []bool{true, false} {
					if n++; !full && n%sampled != 0 && seen[f.name] {
						continue
					}
					seen[f.name] = true
					rule := rules[at][i]
					rule.Fault = f.Fault
					if !stays {
						rule.Count = 1
					}
					runs = append(runs, run{scenario: s, fault: f, rule: rule, stays: stays, own: call.Presigned, number: len(runs)})
				}
			}
		}
	}
	return runs
}

// TestFaults: each call of AWS of each kind of request meets each fault, once or until the client
// gets an error. The answer is 503 with Retry-After, never a success that is none; the client's
// repetition succeeds; what was acknowledged can be pulled; the sweep leaves nothing.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	runs := w.matrix(t, os.Getenv("PIERLESS_WIRE") == "full")
	began := time.Now()
	var noticed, absorbed atomic.Int64
	t.Run("matrix", func(t *testing.T) {
		inParallel(len(runs), 24, func(i int) {
			t.Run(runs[i].String(), func(t *testing.T) {
				if w.meet(t, runs[i]) > 0 {
					noticed.Add(1)
				} else {
					absorbed.Add(1)
				}
			})
		})
	})
	t.Logf("%d combinations in %s: the client noticed %d", len(runs), time.Since(began).Round(time.Second), noticed.Load())
	if noticed.Load() == 0 || absorbed.Load() == 0 {
		t.Error("no fault, or every fault, reached the client")
	}
	w.empty(t, 0)
}

// meet makes one run, and returns how many requests failed.
func (w *world) meet(t *testing.T, r run) int {
	s := settings{serveBlobs: r.scenario.serve, backoff: 10 * time.Millisecond}
	if r.fault.Delay > 0 {
		s.timeout = shortTimeout
	}
	c := w.process(t, fmt.Sprintf("r%d/%s", r.number, slug(r.scenario.name)), s)
	request := r.scenario.prepare(c)
	c.stays = r.stays
	c.refuses = func(status int) bool { return slices.Contains(r.fault.refuses, status) }
	c.proxy.Break(r.rule)
	request()
	if c.failures == 0 && c.proxy.Hits() == 0 {
		t.Error("the fault has hit no call")
	}
	if c.failures > 0 && !r.stays && r.fault.plain && !r.own {
		t.Errorf("one fault of one call is not repeated: %v, because of %q", c.failed, c.causes)
	}
	c.proxy.Break()
	c.proxy.Release()
	c.check()
	c.clear()
	return c.failures
}
