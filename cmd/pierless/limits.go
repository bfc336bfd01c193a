package main

import (
	"net/http"
	"time"

	"github.com/pierless/pierless/internal/guard"
	"github.com/pierless/pierless/internal/idle"
	"github.com/pierless/pierless/pkg/oci"
)

const (
	// maxBodies is the number of request bodies that one process takes at a time. Each
	// holds a buffer and an open file, or a part of one in memory.
	maxBodies = 256
	// bodyWait is how long a request waits for its turn.
	bodyWait = 30 * time.Second
)

// refusal answers with an error, as server.Refuse does.
type refusal func(w http.ResponseWriter, r *http.Request, err error)

// withLimits ends requests whose client makes no progress.
func withLimits(limits idle.Limits, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r = idle.Watch(w, r, limits)
		next.ServeHTTP(w, r)
	})
}

// withoutPages refuses what web pages send.
func withoutPages(g guard.Guard, refuse refusal, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.Check(r); err != nil {
			refuse(w, r, oci.NewError(oci.Denied, "%s", err))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limitBodies lets at most n requests with a body through at a time. The others wait, and
// are refused if it takes too long. Requests without a body, as pulls are, never wait.
func limitBodies(n int, wait time.Duration, refuse refusal, next http.Handler) http.Handler {
	turns := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		timeout := time.NewTimer(wait)
		defer timeout.Stop()
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
			next.ServeHTTP(w, r)
		case <-timeout.C:
			refuse(w, r, oci.NewError(oci.Unavailable, "%d other uploads are under way: try again", n))
		}
	})
}
