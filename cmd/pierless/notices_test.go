package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/client"
)

// TestNotices: a cause that stops four layers is one line, and one more each minute.
func TestNotices(t *testing.T) {
	var out bytes.Buffer
	n := newNotices(&out)
	now := time.Now()
	n.now = func() time.Time { return now }
	log := slog.New(n)
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5000}
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: at, Err: syscall.ECONNREFUSED}
	for range 2 {
		for layer := range 4 {
			log.Warn("request is repeated", "path", layer, "error", fmt.Errorf("POST 127.0.0.1:5000/v2/%d: %w", layer, refused))
			busy := &client.Error{Method: "POST", Path: fmt.Sprint(layer), Status: http.StatusServiceUnavailable}
			log.Warn("request is repeated", "error", busy)
			log.Info("mount failed", "error", refused)
		}
		now = now.Add(noticeEvery)
	}
	want := strings.Repeat("warning: request is repeated: dial 127.0.0.1:5000: connection refused\n"+
		"warning: request is repeated: 503 Service Unavailable\n", 2)
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
}

// TestRefusedConnection: an unreachable registry is one short line while the push retries.
func TestRefusedConnection(t *testing.T) {
	alone(t)
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.Listener.Addr().String()
	server.Close()
	// Two blobs have tried three times each until then.
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	_, progress, err := copyRun(ctx, bytes.NewReader(savedImage(t, "app:1")), "push", "docker-archive:-", address+"/app:1")
	if err == nil || strings.Count(progress, "\n") != 1 || len(progress) > 120 || !strings.Contains(progress, "refused") {
		t.Errorf("%v, %q, want one short line", err, progress)
	}
}
