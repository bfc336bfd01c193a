// Package sweep drops what nobody needs any more, in small batches, until there is
// nothing left or the time is up. A scheduled function, a server in the background and
// a command run it; any number of them at once, beside all other requests.
//
// What may go, pkg/registry decides. It must not know when it is run, or who looks at
// what it reports.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pierless/pierless/pkg/registry"
)

// batch is the number of uploads that one step goes through: a few seconds' work.
const batch = 50

// reserve is the time that a step needs, amply: none begins with less.
const reserve = 20 * time.Second

// Registry is what is swept.
type Registry interface {
	ExpireUploads(ctx context.Context, limit int) (registry.Expired, error)
}

// Report is what a run did so far.
type Report struct {
	Uploads Uploads `json:"uploads"`
	// Complete says that there was nothing left to do.
	Complete bool `json:"complete"`
}

// Uploads counts uploads that nobody completed in time.
type Uploads struct {
	Ended int `json:"ended"` // with the bytes that they had stored
	Kept  int `json:"kept"`  // that had gone on meanwhile
	Done  int `json:"done"`  // that were completed or cancelled before
	// Failed is how many could not be ended in the last step; they are tried again.
	Failed int `json:"failed"`
}

// Run sweeps until there is nothing left to do, or ctx's deadline is near: then the
// report is not Complete, and the next run goes on. progress, unless it is nil, is told
// after each step. What cannot be ended does not keep a run from the rest: it goes on as
// long as a step does something, and returns the last error with all that was done.
func Run(ctx context.Context, reg Registry, progress func(Report)) (Report, error) {
	var r Report
	var failed error
	for timeLeft(ctx) {
		expired, err := reg.ExpireUploads(ctx, batch)
		r.Uploads.Ended += expired.Ended
		r.Uploads.Kept += expired.Kept
		r.Uploads.Done += expired.Done
		r.Uploads.Failed = expired.Failed
		r.Complete = !expired.More && err == nil
		if progress != nil {
			progress(r)
		}
		if err != nil {
			failed = fmt.Errorf("sweep uploads: %w", err)
		}
		if idle := expired.Ended+expired.Kept+expired.Done == 0; !expired.More || err != nil && idle {
			return r, failed
		}
	}
	if err := ctx.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return r, fmt.Errorf("sweep: %w", err)
	}
	return r, failed
}

// timeLeft reports whether there is time for a step.
func timeLeft(ctx context.Context) bool {
	deadline, bounded := ctx.Deadline()
	return ctx.Err() == nil && (!bounded || time.Until(deadline) > reserve)
}

// Log writes what a run did: one line, louder where it failed.
func Log(ctx context.Context, log *slog.Logger, r Report, took time.Duration, err error) {
	level, attrs := slog.LevelInfo, []slog.Attr{
		slog.Int("ended", r.Uploads.Ended), slog.Int("kept", r.Uploads.Kept), slog.Int("done", r.Uploads.Done), slog.Int("failed", r.Uploads.Failed), slog.Bool("complete", r.Complete), slog.Duration("took", took),
	}
	if err != nil {
		level, attrs = slog.LevelError, append(attrs, slog.String("error", err.Error()))
	}
	log.LogAttrs(ctx, level, "sweep", attrs...)
}

// Every runs at once and then every interval, and logs, until ctx ends. Each run may
// take as long as the interval.
func Every(ctx context.Context, interval time.Duration, reg Registry, log *slog.Logger) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		start := time.Now()
		bounded, cancel := context.WithTimeout(ctx, interval)
		r, err := Run(bounded, reg, nil)
		cancel()
		if ctx.Err() != nil {
			return
		}
		Log(ctx, log, r, time.Since(start), err)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
