package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// probe is what a case runs with. Its methods end the case with a panic that the
// runner turns into a result, so that a case reads as the steps that it takes.
type probe struct {
	ctx   context.Context
	conn  *conn
	repo  repository // the case's own
	other repository // a second one, for mounts
	rand  *random
	left  *leftovers
	// lenient lets a request go without an answer.
	lenient bool
}

// outcome is what a probe panics with.
type outcome struct {
	status   Status
	detail   string
	exchange *Exchange
}

// outcomeOfPanic is what a case ends with that panicked with r.
func outcomeOfPanic(r any) outcome {
	if o, ours := r.(outcome); ours {
		return o
	}
	return outcome{status: Failed, detail: fmt.Sprintf("a fault of the suite, not of the registry: %v\n%s", r, debug.Stack())}
}

// fail ends the case: the registry breaks the rule. a may be nil.
func (p *probe) fail(a *answer, format string, args ...any) {
	o := outcome{status: Failed, detail: fmt.Sprintf(format, args...)}
	if a != nil {
		o.exchange = &a.exchange
	}
	panic(o)
}

// want fails the case unless ok.
func (p *probe) want(ok bool, format string, args ...any) {
	if !ok {
		p.fail(nil, format, args...)
	}
}

// notOffered ends the case: it is about something that the spec lets a registry
// leave out, and this one does.
func (p *probe) notOffered(a *answer, what string) {
	panic(outcome{status: NotOffered, detail: what, exchange: &a.exchange})
}

// given takes steps that are not what the case is about: where they fail, the case
// is skipped and another one shows the fault.
func (p *probe) given(steps func()) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case outcome:
			if r.status == Failed {
				r.status, r.detail = Skipped, "could not be prepared: "+r.detail
			}
			panic(r)
		default:
			panic(r)
		}
	}()
	steps()
}

// each runs f n times at once, each with its number, and ends the case as the
// first of them that did not pass.
func (p *probe) each(n int, f func(i int)) {
	var wg sync.WaitGroup
	ended := make([]*outcome, n)
	for i := range n {
		wg.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					o := outcomeOfPanic(r)
					ended[i] = &o
				}
			}()
			f(i)
		})
	}
	wg.Wait()
	ended = slices.DeleteFunc(ended, func(o *outcome) bool { return o == nil })
	if i := slices.IndexFunc(ended, func(o *outcome) bool { return o.status == Failed }); i > 0 {
		panic(*ended[i])
	}
	if len(ended) > 0 {
		panic(*ended[0])
	}
}

// option changes a request.
type option func(*request)

func withHeader(name, value string) option {
	return func(r *request) { r.header.Add(name, value) }
}

func withBody(body []byte) option {
	return func(r *request) { r.body = body }
}

// asStream sends the body without Content-Length.
func asStream() option { return func(r *request) { r.stream = true } }

// cutAfter breaks the request off after n bytes of the body.
func cutAfter(n int) option { return func(r *request) { r.cut = n } }

// anonymous leaves the credentials out.
func anonymous() option { return func(r *request) { r.anonymous = true } }

// asIs sends the target without looking at it.
func asIs() option { return func(r *request) { r.raw = true } }

// try sends a request, and returns what there was of an answer, even none.
func (p *probe) try(method, target string, opts ...option) *answer {
	r := request{method: method, target: target, header: http.Header{}}
	for _, o := range opts {
		o(&r)
	}
	resp, body, hops, err := p.conn.roundTrip(p.ctx, r)
	a := &answer{p: p, body: body, header: http.Header{}, hops: hops, err: err}
	a.exchange = Exchange{
		Method: method, URL: target, RequestHeader: redacted(r.header),
		RequestBody: shown(r.body), RequestLength: int64(len(r.body)),
	}
	if r.stream {
		a.exchange.RequestLength = -1
	}
	for _, h := range hops {
		a.exchange.Redirects = append(a.exchange.Redirects, fmt.Sprintf("%d, Location: %s", h.status, withoutQuery(h.header.Get("Location"))))
	}
	if resp != nil {
		a.status, a.header, a.url = resp.StatusCode, resp.Header, resp.Request.URL
		a.exchange.Status, a.exchange.ResponseHeader = resp.StatusCode, redacted(resp.Header)
		a.exchange.ResponseBody, a.exchange.ResponseLength = shown(body), int64(len(body))
		p.left.see(r, a)
	}
	if err != nil {
		a.exchange.Error = err.Error()
	}
	p.checkLimit(r, a)
	return a
}

// checkLimit ends a case whose request is larger than the registry takes: then a
// refusal with 413 is all that can be seen.
func (p *probe) checkLimit(r request, a *answer) {
	if p.conn.maxBody == 0 || int64(len(r.body)) <= p.conn.maxBody {
		return
	}
	if a.status != http.StatusRequestEntityTooLarge {
		p.fail(a, "a body of %d bytes is over the limit of %d: expected 413", len(r.body), p.conn.maxBody)
	}
	panic(outcome{status: OverLimit, detail: fmt.Sprintf("needs a body of %d bytes: refused with 413, as it must be", len(r.body)), exchange: &a.exchange})
}

// withoutQuery keeps signatures out of reports.
func withoutQuery(location string) string {
	place, _, cut := strings.Cut(location, "?")
	if cut {
		place += "?…"
	}
	return place
}

// do sends a request that must be answered, unless the probe is lenient.
func (p *probe) do(method, target string, opts ...option) *answer {
	a := p.try(method, target, opts...)
	if a.err != nil && !p.lenient {
		p.fail(a, "expected an answer")
	}
	return a
}

func (p *probe) get(target string, opts ...option) *answer {
	return p.do(http.MethodGet, target, opts...)
}

func (p *probe) head(target string, opts ...option) *answer {
	return p.do(http.MethodHead, target, opts...)
}

func (p *probe) post(target string, opts ...option) *answer {
	return p.do(http.MethodPost, target, opts...)
}

func (p *probe) put(target string, opts ...option) *answer {
	return p.do(http.MethodPut, target, opts...)
}

func (p *probe) patch(target string, opts ...option) *answer {
	return p.do(http.MethodPatch, target, opts...)
}

func (p *probe) delete(target string, opts ...option) *answer {
	return p.do(http.MethodDelete, target, opts...)
}

// random is a source that the goroutines of a case share.
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

// leftovers remembers what a case has put into the registry, to take it away.
type leftovers struct {
	mu                         sync.Mutex
	manifests, blobs, sessions []string
}

// see looks at an exchange for something new.
func (l *leftovers) see(r request, a *answer) {
	if r.method != http.MethodPut && r.method != http.MethodPost {
		return
	}
	loc, err := a.url.Parse(a.header.Get("Location"))
	if err != nil || a.header.Get("Location") == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case a.status == http.StatusAccepted:
		l.sessions = append(l.sessions, loc.String())
	case a.status != http.StatusCreated:
	case strings.Contains(loc.Path, "/manifests/"):
		l.manifests = append(l.manifests, loc.String())
	case strings.Contains(loc.Path, "/blobs/"):
		l.blobs = append(l.blobs, loc.String())
		// A session that ended is gone.
		l.sessions = slices.DeleteFunc(l.sessions, func(s string) bool { return samePath(s, a.url) })
	}
}

func samePath(s string, u *url.URL) bool {
	v, err := url.Parse(s)
	return err == nil && v.Path == u.Path
}

// cleanUp takes away what the case has left, as far as the registry allows it. What
// came last goes first: an index before what it lists, which some insist on.
func (p *probe) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cleanUpTimeout)
	defer cancel()
	p.left.mu.Lock()
	sessions, manifests, blobs := p.left.sessions, p.left.manifests, p.left.blobs
	p.left.mu.Unlock()
	for _, kind := range [][]string{sessions, manifests, blobs} {
		gone := map[string]bool{}
		for _, target := range slices.Backward(kind) {
			if gone[target] {
				continue
			}
			gone[target] = true
			_, _, _, err := p.conn.roundTrip(ctx, request{method: http.MethodDelete, target: target, header: http.Header{}})
			if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				return
			}
		}
	}
}
