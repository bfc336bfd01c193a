package main

import (
	"context"
	"net/http"
	"time"

	"github.com/pierless/pierless/internal/guard"
	"github.com/pierless/pierless/internal/idle"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

const (
	// maxBodies is the number of request bodies that one process reads at a time. Each
	// needs a buffer and an open file, or a part in memory.
	maxBodies = 256
	// bodyWait is how long a request waits for a free slot.
	bodyWait = 30 * time.Second
)

// withLimits ends requests whose client makes no progress.
func withLimits(limits idle.Limits, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r = idle.Watch(w, r, limits)
		next.ServeHTTP(w, r)
	})
}

// withoutPages refuses requests that web pages send. A page has no token, so with access control,
// which is up to next unless it is nil, only callers without credentials are checked.
func withoutPages(g guard.Guard, next server.Authorize) server.Authorize {
	return func(w http.ResponseWriter, r *http.Request, req route.Request, need route.Method) (context.Context, error) {
		ctx := r.Context()
		if next != nil {
			var err error
			if ctx, err = next(w, r, req, need); err != nil || !auth.Caller(ctx).Anonymous {
				return ctx, err
			}
		}
		if err := g.Check(r); err != nil {
			return ctx, oci.NewError(oci.Denied, "%s", err)
		}
		return ctx, nil
	}
}

// limitBodies admits n requests with a body at a time. Others wait for up to the given
// time and are then refused. Requests without a body, such as pulls, never wait.
func limitBodies(n int, wait time.Duration) func(*http.Request) (release func(), err error) {
	slots := make(chan struct{}, n)
	return func(r *http.Request) (func(), error) {
		if r.ContentLength == 0 {
			return func() {}, nil
		}
		timeout := time.NewTimer(wait)
		defer timeout.Stop()
		select {
		case slots <- struct{}{}:
			return func() { <-slots }, nil
		case <-timeout.C:
			return nil, oci.NewError(oci.Unavailable, "%d other uploads are in progress: try again", n)
		}
	}
}
