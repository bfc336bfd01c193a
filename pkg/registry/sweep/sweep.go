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

// A step takes a few seconds.
const (
	batch   = 50  // uploads per step
	reviews = 100 // reviews per step and shard of their queue
)

// reserve is ample time for a step: none begins with less.
const reserve = 20 * time.Second

// Registry is the part of *registry.Registry that a sweep calls.
type Registry interface {
	Collect(ctx context.Context, limit int) (registry.Collected, error)
	ExpireUploads(ctx context.Context, limit int) (registry.Expired, error)
}

// Report is the progress of a run.
type Report struct {
	// Garbage and Uploads sum the steps; Failed counts those of the last step, as they are tried
	// again. Garbage.Oldest is that of the first step.
	Garbage registry.Collected `json:"garbage"`
	Uploads registry.Expired   `json:"uploads"`
	// Complete is true if there was nothing left to do.
	Complete bool `json:"complete"`
}

// Run sweeps until there is nothing left to do, or ctx's deadline is near: then the report
// is not Complete, and the next run continues. progress, if non-nil, is called after each
// step. A review or an upload that fails does not stop a run, which continues as long as a
// step makes progress, and returns the last error with the full report.
func Run(ctx context.Context, reg Registry, progress func(Report)) (Report, error) {
	var r Report
	var failed error
	for timeLeft(ctx) {
		more, err := r.step(ctx, reg)
		if progress != nil {
			progress(r)
		}
		if err != nil {
			failed = fmt.Errorf("sweep: %w", err)
		}
		if !more {
			return r, failed
		}
	}
	if err := ctx.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return r, fmt.Errorf("sweep: %w", err)
	}
	return r, failed
}

// step collects garbage, then deletes the bytes of what it found and of expired uploads. more is
// true if another step has work to do.
func (r *Report) step(ctx context.Context, reg Registry) (more bool, err error) {
	before := r.Checked()
	collected, err := reg.Collect(ctx, reviews)
	expired, expireErr := reg.ExpireUploads(ctx, batch)
	err = errors.Join(err, expireErr)
	if r.Garbage.Oldest == 0 {
		r.Garbage.Oldest = collected.Oldest
	}
	r.Garbage.Links += collected.Links
	r.Garbage.Blobs += collected.Blobs
	r.Garbage.Bytes += collected.Bytes
	r.Garbage.Repos += collected.Repos
	r.Garbage.Kept += collected.Kept
	r.Garbage.Later += collected.Later
	r.Garbage.Failed = collected.Failed
	r.Uploads.Ended += expired.Ended
	r.Uploads.Kept += expired.Kept
	r.Uploads.Done += expired.Done
	r.Uploads.Failed = expired.Failed
	left := collected.More || expired.More || collected.Links > 0 // a deleted link has queued its blob
	r.Complete = !left && err == nil
	return left && r.Checked() > before, err
}

// timeLeft reports whether there is time for a step.
func timeLeft(ctx context.Context) bool {
	deadline, bounded := ctx.Deadline()
	return ctx.Err() == nil && (!bounded || time.Until(deadline) > reserve)
}

// Log writes the report of a run as one line, with a higher level if it failed.
func Log(ctx context.Context, log *slog.Logger, r Report, took time.Duration, err error) {
	level, attrs := slog.LevelInfo, []slog.Attr{
		slog.Int("links", r.Garbage.Links), slog.Int("blobs", r.Garbage.Blobs), slog.Int64("bytes", r.Garbage.Bytes),
		slog.Int("repositories", r.Garbage.Repos),
		slog.Int("in_use", r.Garbage.Kept), slog.Int("later", r.Garbage.Later), slog.Int("failed_reviews", r.Garbage.Failed),
		slog.Duration("oldest", r.Age(time.Now())),
		slog.Int("ended", r.Uploads.Ended), slog.Int("kept", r.Uploads.Kept), slog.Int("done", r.Uploads.Done), slog.Int("failed", r.Uploads.Failed), slog.Bool("complete", r.Complete), slog.Duration("took", took),
	}
	if err != nil {
		level, attrs = slog.LevelError, append(attrs, slog.String("error", err.Error()))
	}
	log.LogAttrs(ctx, level, "sweep", attrs...)
}

// Checked returns the number of reviews and uploads that the run has handled.
func (r Report) Checked() int {
	return r.Garbage.Links + r.Garbage.Blobs + r.Garbage.Repos + r.Garbage.Kept + r.Garbage.Later + r.Uploads.Ended + r.Uploads.Kept + r.Uploads.Done
}

// Age returns how long the oldest review was due when the run began, at most until now: a sweep
// that keeps up stays below its interval.
func (r Report) Age(now time.Time) time.Duration {
	if r.Garbage.Oldest == 0 {
		return 0
	}
	return now.Sub(time.UnixMilli(r.Garbage.Oldest)).Round(time.Second)
}

// Every runs at once and then every interval, and logs, until ctx ends. Each run may take as long as
// the interval, and at least a minute.
func Every(ctx context.Context, interval time.Duration, reg Registry, log *slog.Logger) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		start := time.Now()
		bounded, cancel := context.WithTimeout(ctx, max(interval, time.Minute))
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
