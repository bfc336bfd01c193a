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
	healthFresh   = 5 * time.Second // for which its answer is reused
)

// health answers probes with the state of the store.
type health struct {
	check func(context.Context, time.Duration) error
	log   *slog.Logger

	mu    sync.Mutex // held during a check: concurrent probes share its result
	asked time.Time
	err   error
}

// ask checks the store, unless the last check is younger than healthFresh.
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

// ServeHTTP implements http.Handler. Only the log has the cause of a fault.
func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	// A probe that is cancelled must not count as a fault of the store.
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
	_, _ = io.WriteString(w, answer) // fails only if the prober has left
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
