// Package sweep deletes garbage in small batches, until there is none left or the time is
// up. A scheduled function, a server in the background and a command run it; any number of
// sweeps may run at once, beside all other requests.
//
// pkg/registry decides what is garbage. This package must not know its schedule or the
// readers of its reports.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pierless/pierless/pkg/registry"
)

// batch is the number of uploads per step, which takes a few seconds.
const batch = 50

// reserve is ample time for a step: none begins with less.
const reserve = 20 * time.Second

// Registry is the part of *registry.Registry that a sweep calls.
type Registry interface {
	ExpireUploads(ctx context.Context, limit int) (registry.Expired, error)
}

// Report is the progress of a run.
type Report struct {
	// Uploads sums the steps; Failed counts those of the last step, as they are tried again.
	Uploads registry.Expired `json:"uploads"`
	// Complete is true if there was nothing left to do.
	Complete bool `json:"complete"`
}

// Run sweeps until there is nothing left to do, or ctx's deadline is near: then the report
// is not Complete, and the next run continues. progress, if non-nil, is called after each
// step. An upload that cannot be ended does not stop a run, which continues as long as a
// step ends any, and returns the last error with the full report.
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

// Log writes the report of a run as one line, with a higher level if it failed.
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
