package faultproxy

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Rule says which calls a fault hits. Its zero fields match every call.
type Rule struct {
	Operation string
	Prefix    string // of Call.Key
	// Skip is the number of matching calls that pass first; Count is the number of calls that the
	// fault then hits, and 0 means all of them.
	Skip, Count int
	// Probability of a hit, from 0 to 1; 0 means 1.
	Probability float64
	Fault       Fault
}

func (r Rule) matches(c Call) bool {
	return (r.Operation == "" || r.Operation == c.Operation) && strings.HasPrefix(c.Key, r.Prefix)
}

// Proxy forwards calls to S3 and DynamoDB at one address. Use New.
type Proxy struct {
	// URL is the endpoint of both services.
	URL string

	s3, dynamo string // their endpoints
	transport  http.RoundTripper
	mu         sync.Mutex
	dice       *rand.Rand
	rules      []Rule
	matched    []int // calls by rule
	calls      []Call
	hits       int
	held       []func()
	clock      *time.Duration
}

// New starts a proxy to the endpoints of S3 and DynamoDB, which ends with the test. Equal seeds and
// calls give equal faults.
func New(t testing.TB, s3, dynamo string, seed uint64) *Proxy {
	p := &Proxy{
		s3: s3, dynamo: dynamo, dice: rand.New(rand.NewPCG(seed, 0)),
		transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
	}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// Break replaces the rules and begins to record calls. The first matching rule decides.
func (p *Proxy) Break(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules, p.matched, p.calls, p.hits = rules, make([]int, len(rules)), nil, 0
}

// Calls returns the calls since Break.
func (p *Proxy) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

// Hits is the number of calls since Break that a fault has hit.
func (p *Proxy) Hits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hits
}

// Release sends the calls that the faults Again and Later have held back.
func (p *Proxy) Release() {
	p.mu.Lock()
	held := p.held
	p.held = nil
	p.mu.Unlock()
	for _, send := range held {
		send()
	}
}

func (p *Proxy) hold(send func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = append(p.held, send)
}

// decide returns the fault of a call.
func (p *Proxy) decide(c Call) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, c)
	for i, rule := range p.rules {
		if !rule.matches(c) {
			continue
		}
		p.matched[i]++
		n := p.matched[i] - rule.Skip
		if n > 0 && (rule.Count == 0 || n <= rule.Count) && (rule.Probability == 0 || p.dice.Float64() < rule.Probability) {
			p.hits++
			return rule.Fault
		}
	}
	return Fault{}
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller has left
	}
	if refused := p.skewed(r); refused != nil {
		refused.write(w, r.Method)
		return
	}
	c := callOf(r, body)
	f := p.decide(c)
	answer, err := p.send(r, body, c, f)
	if now := p.now(); answer.header != nil && !now.IsZero() {
		answer.header.Set("Date", now.Format(http.TimeFormat))
	}
	if f.Send != Slow && f.Delay > 0 {
		time.Sleep(f.Delay)
	}
	if err != nil {
		reset(w)
		return
	}
	p.answer(w, r, body, answer, c, f)
}

// send passes the call on as the fault says, and returns the store's answer. It is empty if the
// store has not seen the call.
func (p *Proxy) send(r *http.Request, body []byte, c Call, f Fault) (response, error) {
	ctx := context.WithoutCancel(r.Context())
	forward := func() (response, error) { return p.forward(ctx, r, body, c, len(body)) }
	again := func() { _, _ = forward() } // its answer is for nobody
	switch f.Send {
	case Never:
		return response{}, nil
	case Later:
		p.hold(again)
		return response{}, nil
	case Again:
		p.hold(again)
	case Twice:
		again()
	case Slow:
		time.Sleep(f.Delay)
	case Half:
		body = body[:len(body)/2]
	case Broken:
		_, _ = p.forward(ctx, r, body[:len(body)/2], c, len(body)) // fails by itself
		return response{}, nil
	case OneRow:
		body = oneRow(body)
	case Once:
	}
	return forward()
}

func (p *Proxy) answer(w http.ResponseWriter, r *http.Request, request []byte, real response, c Call, f Fault) {
	switch f.Answer {
	case Real:
		if real.status == 0 {
			reset(w)
			return
		}
		real.write(w, r.Method)
	case Refusal:
		f.refusal(c).write(w, r.Method)
	case Page:
		f.page().write(w, r.Method)
	case Unprocessed:
		unprocessed(request).write(w, r.Method)
	case Cut:
		reset(w)
	case Short:
		real.cut(w)
	}
}

// response is an answer in memory.
type response struct {
	status int
	header http.Header
	body   []byte
}

// forward sends a call whose announced length may differ from that of its body.
func (p *Proxy) forward(ctx context.Context, r *http.Request, body []byte, c Call, length int) (response, error) {
	base := p.s3
	if c.Dynamo() {
		base = p.dynamo
	}
	at, err := url.Parse(base)
	if err != nil {
		return response{}, err
	}
	out := r.Clone(ctx)
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host = at.Scheme, at.Host // Host, which is signed, stays
	out.Header.Del("Expect")
	out.Body, out.ContentLength, out.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(length), nil
	if length == 0 {
		out.Body = http.NoBody
	}
	resp, err := p.transport.RoundTrip(out)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, resp.Header, content}, err
}

func (a response) head(w http.ResponseWriter, method string) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if method != http.MethodHead && a.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
}

func (a response) write(w http.ResponseWriter, method string) {
	a.head(w, method)
	if method != http.MethodHead {
		_, _ = w.Write(a.body) // the caller may have left
	}
}

// cut sends the first half of the body, and then ends the connection.
func (a response) cut(w http.ResponseWriter) {
	if len(a.body) == 0 {
		reset(w)
		return
	}
	a.head(w, http.MethodGet)
	_, _ = w.Write(a.body[:len(a.body)/2])
	_ = http.NewResponseController(w).Flush() // the caller may have left
	panic(http.ErrAbortHandler)
}

// reset ends the connection without an answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // RST, not FIN
	}
	_ = conn.Close()
}
