package access_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

// world is a store with a clock, and two processes over it: one that administrates, and one that
// answers requests.
type world struct {
	t     *testing.T
	store *watched
	now   time.Time
	log   bytes.Buffer
	admin *access.Admin
	dir   *access.Directory
}

func newWorld(t *testing.T) *world {
	t.Helper()
	meta, _ := storetest.Open(t)
	// In the future: the store deletes rows whose ttl is over.
	w := &world{t: t, now: time.Date(2126, 11, 21, 12, 0, 0, 0, time.UTC)}
	w.store = &watched{Metadata: meta}
	opts := access.Options{Now: func() time.Time { return w.now }, Log: slog.New(slog.NewTextHandler(&w.log, nil))}
	w.dir = access.NewDirectory(w.store, opts)
	w.admin = access.NewAdmin(access.NewDirectory(meta, opts))
	return w
}

// watched counts the calls of one process, and lets them fail.
type watched struct {
	registry.Metadata
	mu     sync.Mutex
	reads  int // calls of Get and Query
	writes int
	keys   int // of the last Get
	during func()
	failed error // of Get, Query
	broken error // of Update, Transact
}

func (m *watched) read(keys int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	m.keys = keys
	if m.during != nil {
		m.during()
	}
	return m.failed
}

func (m *watched) write() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	return m.broken
}

// Get implements registry.Metadata.
func (m *watched) Get(ctx context.Context, keys ...registry.Key) ([]registry.Row, error) {
	rows, err := m.Metadata.Get(ctx, keys...)
	return rows, errors.Join(err, m.read(len(keys)))
}

// Query implements registry.Metadata.
func (m *watched) Query(ctx context.Context, q registry.Query) (registry.Page, error) {
	page, err := m.Metadata.Query(ctx, q)
	return page, errors.Join(err, m.read(0))
}

// Update implements registry.Metadata.
func (m *watched) Update(ctx context.Context, w registry.Write) (registry.Row, error) {
	if err := m.write(); err != nil {
		return registry.Row{}, err
	}
	return m.Metadata.Update(ctx, w)
}

// Transact implements registry.Metadata.
func (m *watched) Transact(ctx context.Context, token string, writes ...registry.Write) error {
	if err := m.write(); err != nil {
		return err
	}
	return m.Metadata.Transact(ctx, token, writes...)
}

// root is the administrator of the deployment.
func root() access.Actor { return access.Actor{Caller: access.Administrator(), IP: "192.0.2.1"} }

// delegate may administrate the repositories of a pattern.
func delegate(name, pattern string) access.Actor {
	return access.Actor{Caller: access.Caller{Name: name, Grants: grants(pattern, route.Admin)}}
}

// create makes a token that may pull from team/app.
func (w *world) create(name, life string) access.Issued {
	w.t.Helper()
	issued, err := w.admin.Create(w.t.Context(), root(), access.NewTokenRequest{Name: name, Grants: grants("team/app", route.Pull), Life: life})
	if err != nil {
		w.t.Fatal(err)
	}
	return issued
}

func (w *world) revoke(name string) {
	w.t.Helper()
	if _, err := w.admin.Revoke(w.t.Context(), root(), name); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) set(s access.Settings) {
	w.t.Helper()
	if err := w.admin.SetSettings(w.t.Context(), root(), s, "*"); err != nil {
		w.t.Fatal(err)
	}
}

// finds reports whether the directory knows a token, and fails if it needs another number of reads.
func (w *world) finds(secret string, reads int) (access.Caller, bool) {
	w.t.Helper()
	before := w.store.reads
	c, found, err := w.dir.Find(w.t.Context(), secret)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := w.store.reads - before; got != reads {
		w.t.Errorf("%d reads, want %d", got, reads)
	}
	return c, found
}

// entries returns the log of changes.
func (w *world) entries() []access.Entry {
	w.t.Helper()
	page, err := w.admin.Log(w.t.Context(), time.Time{}, "", registry.MaxPage)
	if err != nil {
		w.t.Fatal(err)
	}
	return page.Entries
}

// wantCode fails unless err is an *oci.Error with the code and status.
func wantCode(t *testing.T, what string, err error, code oci.Code, status int) {
	t.Helper()
	var shown *oci.Error
	if !errors.As(err, &shown) || shown.Code != code || (oci.Errors{shown}).Status() != status {
		t.Errorf("%s: %v, want %s with %d", what, err, code, status)
	}
}
