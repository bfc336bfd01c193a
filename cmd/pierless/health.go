package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
)

const (
	healthTimeout = 3 * time.Second // for the store to answer a probe
	healthFresh   = 5 * time.Second // for which its answer stands: probers cost no more calls
)

// health answers probes by what the store last answered.
type health struct {
	check func(context.Context, time.Duration) error
	log   *slog.Logger

	mu    sync.Mutex // held while the store is asked: probers that come meanwhile share the answer
	asked time.Time
	err   error
}

// ask asks the store, unless it was asked a moment ago.
func (h *health) ask(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.asked) < healthFresh {
		return h.err
	}
	before := h.err
	h.err = h.check(ctx, healthTimeout)
	h.asked = time.Now()
	switch {
	case h.err != nil && before == nil:
		h.log.Error("the store cannot be read", "error", h.err)
	case h.err == nil && before != nil:
		h.log.Info("the store can be read again")
	}
	return h.err
}

// ServeHTTP implements http.Handler. The cause of a fault is in the log only.
func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A prober that leaves does not make the store ill.
	err := h.ask(context.WithoutCancel(r.Context()))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	answer := "ok\n"
	switch {
	case err == nil:
	case errors.Is(err, registry.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		answer = "the store does not answer\n"
	default:
		answer = "the store cannot be used: see the log\n"
	}
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = io.WriteString(w, answer) // a prober that left needs no answer
}

// withHealth answers /healthz beside the registry, to every host name and without
// credentials: probers have none.
func withHealth(h *health, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			oci.SetSecurityHeaders(w.Header())
			h.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
