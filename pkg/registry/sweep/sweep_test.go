package sweep_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/sweep"
)

// fake has so many uploads that expired; every step takes a while.
type fake struct {
	mu               sync.Mutex
	due, kept, steps int
	stuck            int // of them in each step
	takes            time.Duration
	fail             error
}

func (f *fake) ExpireUploads(ctx context.Context, limit int) (registry.Expired, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps++
	select {
	case <-time.After(f.takes):
	case <-ctx.Done():
		return registry.Expired{}, ctx.Err()
	}
	n := min(limit-f.stuck, f.due)
	f.due -= n
	kept := f.kept
	f.kept = 0
	return registry.Expired{Ended: n, Kept: kept, Done: kept, Failed: f.stuck, More: f.due > 0}, f.fail
}

func (f *fake) Collect(context.Context, int) (registry.Collected, error) {
	return registry.Collected{}, nil
}

func TestRunGoesOnToTheEnd(t *testing.T) {
	f := &fake{due: 120, kept: 3}
	var told []sweep.Report
	got, err := sweep.Run(t.Context(), f, func(r sweep.Report) { told = append(told, r) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sweep.Report{Uploads: registry.Expired{Ended: 120, Kept: 3, Done: 3}, Complete: true}, got); diff != "" || f.due != 0 {
		t.Errorf("%s, %d left", diff, f.due)
	}
	if len(told) != f.steps || f.steps < 2 || told[len(told)-1] != got || told[0].Complete {
		t.Errorf("%d steps, told %+v", f.steps, told)
	}
}

// TestRunEndsInTime: what is not done when the time is up is the next run's, and no
// failure.
func TestRunEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{due: 100_000, takes: 5 * time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		r, err := sweep.Run(ctx, f, nil)
		if took := time.Since(start); err != nil || r.Complete || r.Uploads.Ended == 0 || ctx.Err() != nil || took < 35*time.Second {
			t.Errorf("%+v, %v after %v", r, err, took)
		}
		again, err := sweep.Run(t.Context(), f, nil)
		if err != nil || !again.Complete || again.Uploads.Ended+r.Uploads.Ended != 100_000 {
			t.Errorf("the next run: %+v, %v", again, err)
		}
	})
}

// TestEveryShortInterval: an interval that is shorter than a run's reserve leaves time for a run.
func TestEveryShortInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{due: 120, takes: time.Second}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			sweep.Every(ctx, time.Second, f, slog.New(slog.DiscardHandler))
		}()
		time.Sleep(5 * time.Second)
		cancel()
		<-done
		if f.due != 0 || f.steps < 4 {
			t.Errorf("%d steps in five seconds, %d uploads left", f.steps, f.due)
		}
	})
}

func TestRunFails(t *testing.T) {
	broken := errors.New("the store is gone")
	r, err := sweep.Run(t.Context(), &fake{due: 5, fail: broken}, nil)
	if !errors.Is(err, broken) || r.Uploads.Ended != 5 || r.Complete {
		t.Errorf("%+v, %v", r, err)
	}
	// What cannot be ended keeps none of the others; where nothing else is left in a step,
	// the run ends.
	stuck := &fake{due: 120, stuck: 2, fail: broken}
	if r, err := sweep.Run(t.Context(), stuck, nil); !errors.Is(err, broken) || r.Uploads.Ended != 120 || r.Uploads.Failed != 2 || r.Complete {
		t.Errorf("with two that cannot be ended: %+v, %v", r, err)
	}
	stuck = &fake{due: 120, stuck: 50, fail: broken}
	if r, err := sweep.Run(t.Context(), stuck, nil); !errors.Is(err, broken) || stuck.steps != 1 || r.Complete {
		t.Errorf("with nothing that can be ended: %d steps, %+v, %v", stuck.steps, r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := sweep.Run(ctx, &fake{}, nil); !errors.Is(err, context.Canceled) || r.Complete {
		t.Errorf("cancelled: %+v, %v", r, err)
	}
}

// TestEvery: at the start and every interval, past failures, until it is told to end.
func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{due: 1}
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			sweep.Every(ctx, time.Hour, f, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		// from now on each step fails, or none, until the next one has been taken
		then := func(fail error) {
			synctest.Wait()
			f.mu.Lock()
			f.fail = fail
			f.mu.Unlock()
			time.Sleep(time.Hour)
		}
		synctest.Wait()
		f.mu.Lock()
		if f.steps != 1 {
			t.Errorf("%d steps at the start", f.steps)
		}
		f.mu.Unlock()
		then(errors.New("for an hour"))
		then(nil)
		synctest.Wait()
		cancel()
		<-done
		if f.steps != 3 {
			t.Errorf("%d steps in two hours", f.steps)
		}
		if got := log.String(); strings.Count(got, "msg=sweep") != 3 || strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "ended=1") {
			t.Errorf("logged: %s", got)
		}
	})
}
