package start

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/registry"
)

type swept struct{ err error }

func (swept) Collect(context.Context, int) (registry.Collected, error) {
	return registry.Collected{Blobs: 1, Bytes: 7}, nil
}

func (s swept) ExpireUploads(context.Context, int) (registry.Expired, error) {
	return registry.Expired{Ended: 2, Kept: 1}, s.err
}

// TestSweeper: any event starts a sweep, the answer and the log have its figures, and a
// failed sweep fails the invocation.
func TestSweeper(t *testing.T) {
	for _, payload := range []string{"", "{}", `{"source":"aws.events"}`, "no JSON"} {
		var log bytes.Buffer
		out, err := sweeper{swept{}, slog.New(slog.NewTextHandler(&log, nil))}.Invoke(t.Context(), []byte(payload))
		if err != nil || string(out) != `{"garbage":{"links":0,"blobs":1,"bytes":7,"repositories":0,"kept":0,"later":0,"failed":0},"uploads":{"ended":2,"kept":1,"done":0,"failed":0},"complete":true}` {
			t.Errorf("%q: %s, %v", payload, out, err)
		}
		if !strings.Contains(log.String(), "ended=2 kept=1 done=0 failed=0 complete=true") {
			t.Errorf("logged: %s", &log)
		}
	}
	var log bytes.Buffer
	broken := errors.New("the store is gone")
	if _, err := (sweeper{swept{broken}, slog.New(slog.NewTextHandler(&log, nil))}).Invoke(t.Context(), nil); !errors.Is(err, broken) || !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("%v, logged: %s", err, &log)
	}
}
