package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/registry"
)

// slow is a store whose reads fail, each after some time of a clock.
type slow struct {
	registry.Metadata
	clock *time.Time
	takes time.Duration
	err   error
	calls int
}

func (s *slow) Get(context.Context, ...registry.Key) ([]registry.Row, error) {
	s.calls++
	*s.clock = s.clock.Add(s.takes)
	return nil, s.err
}

// errThrottled is the error of an adapter whose store throttles.
var errThrottled = fmt.Errorf("%w: %w", registry.ErrContended, registry.ErrUnavailable)

// TestPatience: a store that does not answer or throttles for long is not asked again. Other faults, and
// quick ones, have three tries; an answer has one.
func TestPatience(t *testing.T) {
	for _, tt := range []struct {
		err   error
		takes time.Duration
		calls int
	}{
		{registry.ErrUnavailable, 0, 3},
		{registry.ErrUnavailable, 1500 * time.Millisecond, 2},
		{registry.ErrUnavailable, 2 * time.Second, 1},
		{errThrottled, 0, 12},
		{errThrottled, 1100 * time.Millisecond, 2}, // with the pauses of the SDK
		{registry.ErrContended, time.Minute, 12},
		{errors.New("another fault"), time.Minute, 3},
		{registry.ErrTaken, 0, 1},
		{registry.ErrNoContent, 0, 1},
		{registry.ErrEncoded, 0, 1},
	} {
		clock := time.Unix(1e9, 0)
		names := &slow{clock: &clock, takes: tt.takes, err: fmt.Errorf("%w: cause", tt.err)}
		reg := registry.New(names, nil, registry.Options{
			Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return clock },
			Sleep: func(context.Context, time.Duration) error { return nil },
		})
		if _, err := reg.UploadStatus(t.Context(), "app", "id"); !errors.Is(err, tt.err) || names.calls != tt.calls {
			t.Errorf("%v after %s: %d calls, want %d; %v", tt.err, tt.takes, names.calls, tt.calls, err)
		}
	}
}
