package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Errors that an Invoker returns.
var (
	ErrTooLarge  = errors.New("gateway: the event exceeds the size limit of functions")
	ErrThrottled = errors.New("gateway: the function is at its concurrency limit")
)

const (
	// drainFor limits the time in which the rest of a rejected body is read, so that a client
	// that reads only after it has sent everything gets the response. A client that
	// compresses a large layer while it sends may need most of it.
	drainFor = 2 * time.Minute
	// refuseAfter simulates network latency. Without it, the client can see the rejection
	// before the end of its request: regctl 0.11.7 then reads the layer for this request and
	// for the first chunk at the same time, and reports a digest mismatch.
	refuseAfter = time.Second
)

// Stats count requests since the start.
type Stats struct {
	Requests int64         `json:"requests"`
	Statuses map[int]int64 `json:"statuses"`
	BytesIn  int64         `json:"bytesIn"`  // bodies of requests
	BytesOut int64         `json:"bytesOut"` // bodies of responses
}

// Gateway is an HTTP API. Use New.
type Gateway struct {
	options Options
	router  *router

	mu    sync.Mutex
	stats Stats
}

// New checks routes and options.
func New(routes []Route, options Options) (*Gateway, error) {
	if options.Head != HeadComputed && options.Head != HeadHandler {
		return nil, fmt.Errorf("gateway: head is %q: use %s or %s", options.Head, HeadComputed, HeadHandler)
	}
	if options.TrailingSlash != SlashKeep && options.TrailingSlash != SlashStrip {
		return nil, fmt.Errorf("gateway: trailing slash is %q: use %s or %s", options.TrailingSlash, SlashKeep, SlashStrip)
	}
	r, err := newRouter(routes)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return &Gateway{options: options, router: r, stats: Stats{Statuses: map[int]int64{}}}, nil
}

// Stats returns the counts so far.
func (g *Gateway) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.Statuses = make(map[int]int64, len(g.stats.Statuses))
	for status, n := range g.stats.Statuses {
		s.Statuses[status] = n
	}
	return s
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	id := newRequestID()
	path := rawPath(r, g.options.TrailingSlash)
	route, variables := g.router.find(r.Method, path)
	out, received, err := g.answer(r, route, path, variables, id, began)
	if err != nil {
		out = g.finish(failureOf(err), nil, r.Method, id)
	} else {
		out = g.finish(out, route.mappings, r.Method, id)
	}
	g.write(w, r, out)
	g.account(r, route, out, received, id, time.Since(began), err)
}

func (g *Gateway) answer(r *http.Request, route *compiled, path string, variables map[string]string, id string, now time.Time) (response, int, error) {
	if headSize(r) > MaxHead {
		return response{}, 0, errHead
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	switch {
	case err != nil:
		return response{}, len(body), fmt.Errorf("%w: %w", errBody, err)
	case len(body) > MaxBody:
		return response{}, len(body), ErrTooLarge
	case route == nil:
		return response{}, len(body), errNotFound
	case !route.Permitted:
		return response{}, len(body), errNotPermitted
	}
	payload, err := g.newEvent(r, route, path, variables, body, id, now)
	if err != nil {
		return response{}, len(body), err
	}
	// As on AWS, a client that disconnects does not end the invocation.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), route.Timeout)
	defer cancel()
	result, err := g.options.Invoke(ctx, route.Function, payload)
	if err != nil {
		return response{}, len(body), err
	}
	out, err := parseResponse(result)
	return out, len(body), err
}

var (
	errHead         = errors.New("gateway: request line and headers are too large")
	errBody         = errors.New("gateway: the request body is incomplete")
	errNotFound     = errors.New("gateway: there is no route")
	errNotPermitted = errors.New("gateway: no AWS::Lambda::Permission lets the API invoke the function")
)

// failureOf returns API Gateway's response to an error.
func failureOf(err error) response {
	switch {
	case errors.Is(err, errHead):
		return failure(http.StatusRequestHeaderFieldsTooLarge, "Request Header Fields Too Large")
	case errors.Is(err, errBody):
		return failure(http.StatusBadRequest, "Bad Request")
	case errors.Is(err, ErrTooLarge):
		return failure(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
	case errors.Is(err, errNotFound):
		return failure(http.StatusNotFound, "Not Found")
	case errors.Is(err, ErrThrottled), errors.Is(err, context.DeadlineExceeded):
		return failure(http.StatusServiceUnavailable, "Service Unavailable")
	}
	return failure(http.StatusInternalServerError, "Internal Server Error")
}

// headSize returns the size of the request line and headers in bytes.
func headSize(r *http.Request) int {
	const extra = len(": \r\n")
	size := len(r.Method) + len(" ") + len(r.RequestURI) + len(" HTTP/1.1\r\n") + len("Host") + len(r.Host) + extra
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value) + extra
		}
	}
	return size + len("\r\n")
}

func (g *Gateway) write(w http.ResponseWriter, r *http.Request, out response) {
	control := http.NewResponseController(w)
	unread := out.status == http.StatusRequestEntityTooLarge || out.status == http.StatusRequestHeaderFieldsTooLarge
	if unread {
		w.Header().Set("Connection", "close") // stops net/http from reading the body
		_ = control.SetReadDeadline(time.Now().Add(drainFor))
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(refuseAfter)
	}
	for name, values := range out.header {
		w.Header()[name] = values
	}
	w.WriteHeader(out.status)
	if r.Method != http.MethodHead {
		_, _ = io.Copy(w, bytes.NewReader(out.body)) // fails only if the client is gone
	}
}

func (g *Gateway) account(r *http.Request, route *compiled, out response, received int, id string, took time.Duration, err error) {
	key := ""
	if route != nil {
		key = route.Key
	}
	attrs := []any{
		"id", id, "method", r.Method, "route", key, "status", out.status,
		"received", received, "sent", len(out.body), "took", took.Round(10 * time.Microsecond),
	}
	if err != nil {
		attrs = append(attrs, "error", err.Error())
	}
	g.options.Log.Info("request", attrs...)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Requests++
	g.stats.Statuses[out.status]++
	g.stats.BytesIn += int64(received)
	g.stats.BytesOut += int64(len(out.body))
}

// newRequestID returns an ID in the format of API Gateway's extended request IDs.
func newRequestID() string {
	b := make([]byte, 11)
	_, _ = rand.Read(b) // documented never to fail
	return base64.RawURLEncoding.EncodeToString(b) + "="
}
