package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
)

// T is the state of one case, in the manner of testing.T. Its methods end the case with
// a panic that the runner turns into a result, so that a case reads as a list of steps.
type T struct {
	ctx     context.Context
	client  *Client
	maxBody int64      // the registry's limit for request bodies, in bytes; 0: no limit
	repo    repository // the case's own
	other   repository // a second one, for mounts
	rand    *random
	// lenient accepts requests without a response.
	lenient bool
}

// resultOf runs a case.
func (t *T) resultOf(run func(*T)) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			r = resultOfPanic(p)
		}
	}()
	run(t)
	return Result{Status: Passed}
}

// resultOfPanic is the result of a case that panicked.
func resultOfPanic(p any) Result {
	if r, ours := p.(Result); ours {
		return r
	}
	return Result{Status: Failed, Detail: fmt.Sprintf("a fault of the suite, not of the registry: %v\n%s", p, debug.Stack())}
}

// end ends the case. a may be nil.
func (t *T) end(status Status, a *answer, format string, args ...any) {
	r := Result{Status: status, Detail: fmt.Sprintf(format, args...)}
	if a != nil {
		r.Exchange = &a.Exchange
	}
	panic(r)
}

// fail ends the case: the registry does not meet the requirement. a may be nil.
func (t *T) fail(a *answer, format string, args ...any) { t.end(Failed, a, format, args...) }

// notOffered ends the case: the spec lets a registry omit the feature, and this one does.
func (t *T) notOffered(a *answer, detail string) { t.end(NotOffered, a, "%s", detail) }

// want fails the case unless ok.
func (t *T) want(ok bool, format string, args ...any) {
	if !ok {
		t.fail(nil, format, args...)
	}
}

// setup takes steps that the case is not about: if they fail, the case is skipped, and
// another case reports the fault.
func (t *T) setup(steps func()) {
	defer func() {
		p := recover()
		if r, ours := p.(Result); ours && r.Status == Failed {
			r.Status, r.Detail = Skipped, "setup failed: "+r.Detail
			p = r
		}
		if p != nil {
			panic(p)
		}
	}()
	steps()
}

// setupWith is setup for steps that return a response.
func (t *T) setupWith(steps func() *answer) (a *answer) {
	t.setup(func() { a = steps() })
	return a
}

// parallel runs f n times at once, each with its number. The case ends like the first
// run that failed or, if none did, like the first that did not pass.
func (t *T) parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	ended := make([]Result, n)
	for i := range n {
		wg.Go(func() { ended[i] = t.resultOf(func(*T) { f(i) }) })
	}
	wg.Wait()
	rank := map[Status]int{Failed: -1, Passed: 1}
	worst := slices.MinFunc(ended, func(a, b Result) int { return rank[a.Status] - rank[b.Status] })
	if worst.Status != Passed {
		panic(worst)
	}
}

// option changes a request.
type option func(*Request)

func withHeader(name, value string) option { return func(r *Request) { r.Header.Add(name, value) } }

func withBody(body []byte) option { return func(r *Request) { r.Body = body } }

// octets is a body of any content.
func octets(content []byte) option {
	return func(r *Request) { withHeader("Content-Type", octetStream)(r); r.Body = content }
}

// asStream sends the body without Content-Length.
func asStream() option { return func(r *Request) { r.Stream = true } }

// cutAfter aborts the request after n bytes of the body.
func cutAfter(n int) option { return func(r *Request) { r.cut = n } }

// anonymous omits the credentials.
func anonymous() option { return func(r *Request) { r.Anonymous = true } }

// asIs sends the target unchanged.
func asIs() option { return func(r *Request) { r.raw = true } }

// try sends a request and returns the response, complete or not.
func (t *T) try(method, target string, opts ...option) *answer {
	r := Request{Method: method, Target: target, Header: http.Header{}}
	for _, o := range opts {
		o(&r)
	}
	a := &answer{t: t, Reply: t.client.follow(t.ctx, r)}
	t.checkLimit(r, a)
	return a
}

// checkLimit ends a case whose request exceeds the registry's limit: only a refusal with
// 413 can be observed.
func (t *T) checkLimit(r Request, a *answer) {
	if t.maxBody == 0 || int64(len(r.Body)) <= t.maxBody {
		return
	}
	if a.Status != http.StatusRequestEntityTooLarge {
		t.fail(a, "a body of %d bytes exceeds the limit of %d: expected 413", len(r.Body), t.maxBody)
	}
	t.end(OverLimit, a, "needs a body of %d bytes: refused with 413, as expected", len(r.Body))
}

// do sends a request that must get a complete response, unless the case is lenient.
func (t *T) do(method, target string, opts ...option) *answer {
	a := t.try(method, target, opts...)
	if a.Err != nil && !t.lenient {
		t.fail(a, "expected a response")
	}
	return a
}

func (t *T) get(target string, opts ...option) *answer { return t.do(http.MethodGet, target, opts...) }

func (t *T) head(target string, opts ...option) *answer {
	return t.do(http.MethodHead, target, opts...)
}

func (t *T) post(target string, opts ...option) *answer {
	return t.do(http.MethodPost, target, opts...)
}

func (t *T) put(target string, opts ...option) *answer { return t.do(http.MethodPut, target, opts...) }

func (t *T) patch(target string, opts ...option) *answer {
	return t.do(http.MethodPatch, target, opts...)
}

func (t *T) delete(target string, opts ...option) *answer {
	return t.do(http.MethodDelete, target, opts...)
}

// random is a source of bytes that the goroutines of a case share.
type random struct {
	mu  sync.Mutex
	src *rand.ChaCha8
}

func (r *random) bytes(n int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := make([]byte, n)
	_, _ = r.src.Read(b) // never fails
	return b
}
