package server_test

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

// updates counts the rows that are written.
type updates struct {
	registry.Metadata
	n atomic.Int64
}

func (u *updates) Update(ctx context.Context, w registry.Write) (registry.Row, error) {
	u.n.Add(1)
	return u.Metadata.Update(ctx, w)
}

// TestAnonymousHead: HEAD of a blob whose lease is old renews it for a caller who may
// push, and writes nothing for one without credentials.
func TestAnonymousHead(t *testing.T) {
	meta, blobs := storetest.Open(t)
	counted := &updates{Metadata: meta}
	s := &site{t: t}
	s.reg = registry.New(counted, blobs, registry.Options{
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Now().Add(s.late) },
	})
	opts := server.Options{Log: slog.New(slog.DiscardHandler), ServeBlobs: true}
	open := server.All(s.reg, opts)
	token, sum := access.NewToken()
	guard, err := auth.New(sum, access.NewDirectory(meta, access.Options{AnonymousPull: true}))
	if err != nil {
		t.Fatal(err)
	}
	opts.Authorize = guard.Authorize
	guarded := server.All(s.reg, opts)
	s.handler = open
	d := s.pushBlob("a", content)
	for i, c := range []struct {
		handler       http.Handler
		authorization string
		status        int
		renews        bool
	}{
		{guarded, "Bearer anonymous", http.StatusOK, false},
		{guarded, "", http.StatusUnauthorized, false},
		{guarded, "Bearer " + token, http.StatusOK, true},
		{open, "", http.StatusOK, true},
	} {
		s.late = time.Duration(i+1) * 30 * 24 * time.Hour
		s.handler = c.handler
		var head []string
		if c.authorization != "" {
			head = []string{"Authorization", c.authorization}
		}
		before := counted.n.Load()
		s.do("HEAD", "/v2/a/blobs/"+string(d), nil, head...).want(t, c.status)
		if wrote := counted.n.Load() > before; wrote != c.renews {
			t.Errorf("HEAD with %q renews the lease: %v", c.authorization, wrote)
		}
	}
}
