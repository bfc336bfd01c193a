package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/pierless/pierless/pkg/client"
)

// noticeEvery is the interval between two lines for the same cause.
const noticeEvery = time.Minute

// notices is a log for the terminal. A cause that stops many layers gives one line a minute.
type notices struct {
	w   io.Writer
	now func() time.Time

	mu    sync.Mutex
	shown map[string]time.Time
}

func newNotices(w io.Writer) *notices {
	return &notices{w: w, now: time.Now, shown: map[string]time.Time{}}
}

// Enabled implements slog.Handler: it selects warnings and errors.
func (n *notices) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (n *notices) Handle(_ context.Context, r slog.Record) error {
	line := "warning: " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			line += ": " + cause(err)
		}
		return true
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	if at, ok := n.shown[line]; ok && n.now().Sub(at) < noticeEvery {
		return nil
	}
	n.shown[line] = n.now()
	_, err := fmt.Fprintln(n.w, line)
	return err
}

// WithAttrs implements slog.Handler. pkg/client does not use it.
func (n *notices) WithAttrs([]slog.Attr) slog.Handler { return n }

// WithGroup implements slog.Handler. pkg/client does not use it.
func (n *notices) WithGroup(string) slog.Handler { return n }

// cause returns the text of an error without its request: it is the same for all requests that
// fail by one fault.
func cause(err error) string {
	var connection *net.OpError
	var answer *client.Error
	switch {
	case errors.As(err, &connection) && connection.Addr != nil:
		return fmt.Sprintf("%s %s: %v", connection.Op, connection.Addr, connection.Err)
	case errors.As(err, &answer):
		short := *answer
		short.Method = ""
		return short.Error()
	}
	return err.Error()
}
