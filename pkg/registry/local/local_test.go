package local

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/registrytest"
)

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	store, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestNames(t *testing.T) {
	t.Parallel()
	store := openStore(t, t.TempDir())
	registrytest.Metadata(t, func(*testing.T) registry.Metadata { return store.Metadata() })
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := openStore(t, dir)
	t.Run("Contract", func(t *testing.T) {
		registrytest.Blobs(t, func(*testing.T) registry.Blobs { return store.Blobs() })
	})
	left, err := os.ReadDir(filepath.Join(dir, "blobs"))
	if err != nil || len(left) != 256 {
		t.Errorf("%d folders of content, %v", len(left), err)
	}
}

// TestFaults runs the contract behind the wrappers, which without faults change
// nothing.
func TestFaults(t *testing.T) {
	t.Parallel()
	store := openStore(t, t.TempDir())
	none := registrytest.Random(1, registrytest.Rates{})
	registrytest.Metadata(t, func(*testing.T) registry.Metadata { return registrytest.Faulty(store.Metadata(), none) })
}

func TestInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openStore(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second open: %v", err)
	}
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil || errors.Is(err, ErrInUse) {
		t.Errorf("open of a file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "names.db"), bytes.Repeat([]byte("no database"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || errors.Is(err, ErrInUse) {
		t.Errorf("open of no database: %v", err)
	}
}

// TestReopen looks for everything again after a restart.
func TestReopen(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	put, uploaded := strings.Repeat("a", 64), strings.Repeat("b", 64)
	key := registry.Key{PK: "p", SK: "s"}
	store, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	stored := registry.Stored{}
	for _, piece := range []string{"one ", "two "} {
		stored, err = store.Blobs().Append(ctx, uploaded, registry.Claim{}, stored, strings.NewReader(piece))
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = store.Metadata().Update(ctx, registry.Write{Key: key, Attrs: registry.Attrs{"stored": stored.State}})
	if err := errors.Join(err, store.Blobs().Put(ctx, put, []byte("put")), store.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Metadata().Update(ctx, registry.Write{Key: key}); err == nil {
		t.Error("a closed store took a write")
	}

	store = openStore(t, dir)
	rows, err := store.Metadata().Get(ctx, key)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%v, %v", rows, err)
	}
	stored.State, _ = rows[0].Attrs["stored"].([]byte)
	if err := store.Blobs().Complete(ctx, uploaded, stored); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{put: "put", uploaded: "one two "} {
		if have := read(t, store, key); have != want {
			t.Errorf("read %q, want %q", have, want)
		}
	}
	if left := uploads(t, dir); len(left) != 0 {
		t.Errorf("left in uploads/: %q", left)
	}
}

// TestLeftovers opens a directory as kills leave it: with the files of writes that
// were under way. Those of a week ago are dropped.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	dir, key := t.TempDir(), strings.Repeat("c", 64)
	folder := filepath.Join(dir, "uploads")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"old": 8 * 24 * time.Hour, "young": 6 * 24 * time.Hour} {
		path := filepath.Join(folder, key+"."+name)
		when := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, []byte("half"), 0o600), os.Chtimes(path, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	store := openStore(t, dir)
	if left := uploads(t, dir); len(left) != 1 || !strings.HasSuffix(left[0], "young") {
		t.Errorf("left in uploads/: %q", left)
	}
	if err := store.Blobs().Put(t.Context(), key, []byte("whole")); err != nil || read(t, store, key) != "whole" {
		t.Errorf("put beside leftovers: %v", err)
	}
}

// TestKilledComplete stands for a kill between the link and the removal of the
// segment: the content is there, and a second Complete says so.
func TestKilledComplete(t *testing.T) {
	t.Parallel()
	dir, key := t.TempDir(), strings.Repeat("d", 64)
	store := openStore(t, dir)
	stored, err := store.Blobs().Append(t.Context(), key, registry.Claim{}, registry.Stored{}, strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	segment := filepath.Join(dir, "uploads", uploads(t, dir)[0])
	if err := os.Link(segment, filepath.Join(dir, "blobs", "dd", key)); err != nil {
		t.Fatal(err)
	}
	if err := store.Blobs().Complete(t.Context(), key, stored); !errors.Is(err, registry.ErrTaken) {
		t.Errorf("complete: %v", err)
	}
	if have := read(t, store, key); have != "content" {
		t.Errorf("read %q", have)
	}
}

// TestDamage cuts a segment short: that is no content, and not ErrTaken either.
func TestDamage(t *testing.T) {
	t.Parallel()
	dir, key := t.TempDir(), strings.Repeat("e", 64)
	store := openStore(t, dir)
	var stored registry.Stored
	var err error
	for range 2 {
		stored, err = store.Blobs().Append(t.Context(), key, registry.Claim{}, stored, strings.NewReader("content"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, "uploads", uploads(t, dir)[0]), 3); err != nil {
			t.Fatal(err)
		}
		if err := store.Blobs().Complete(t.Context(), key, stored); err == nil || errors.Is(err, registry.ErrTaken) {
			t.Errorf("complete %d bytes: %v", stored.Size, err)
		}
	}
	for _, bad := range []registry.Stored{
		{Size: 1},
		{Size: -1},
		{Size: stored.Size + 1, State: stored.State},
		{Size: stored.Size - 1, State: stored.State},
		{Size: stored.Size, State: stored.State[:5]},
		{Size: stored.Size, State: stored.State[:12]},
	} {
		if err := store.Blobs().Complete(t.Context(), key, bad); !errors.Is(err, errState) {
			t.Errorf("complete %v: %v", bad, err)
		}
	}
}

// TestFailedAppendLeavesNothing counts the files after bodies that broke.
func TestFailedAppendLeavesNothing(t *testing.T) {
	t.Parallel()
	dir, key := t.TempDir(), strings.Repeat("f", 64)
	blobs := registrytest.FaultyBlobs(openStore(t, dir).Blobs(), func(bool) registrytest.Fault { return registrytest.Failed })
	for range 3 {
		_, err := blobs.Append(t.Context(), key, registry.Claim{}, registry.Stored{}, io.LimitReader(rand.Reader, 1<<20))
		if !errors.Is(err, registrytest.ErrInjected) {
			t.Errorf("append: %v", err)
		}
	}
	if left := uploads(t, dir); len(left) != 0 {
		t.Errorf("left in uploads/: %q", left)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), openStore(t, t.TempDir())
	meta, blobs := store.Metadata(), store.Blobs()
	key := registry.Key{PK: "p", SK: "s"}
	for i, w := range []registry.Write{
		{Key: registry.Key{PK: "a\x00b", SK: "s"}},
		{Key: key, Op: registry.Check},
		{Key: key, Op: registry.Check + 1},
		{Key: key, Attrs: registry.Attrs{"n": 1}},
		{Key: key, Attrs: registry.Attrs{"n": nil}},
		{Key: key, Attrs: registry.Attrs{"n": int64(1)}, Add: map[string]int64{"n": 1}},
	} {
		if _, err := meta.Update(ctx, w); !errors.Is(err, errInvalid) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	for _, limit := range []int{-1, 0, registry.MaxPage + 1} {
		if _, err := meta.Query(ctx, registry.Query{PK: "p", Limit: limit}); !errors.Is(err, errInvalid) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	if err := meta.Transact(ctx, strings.Repeat("t", 37), registry.Write{Key: key}); !errors.Is(err, errInvalid) {
		t.Errorf("long token: %v", err)
	}
	for _, key := range []string{
		"", "a", strings.Repeat("A", 64), strings.Repeat("a", 65), "../" + strings.Repeat("a", 61), strings.Repeat("g", 64),
	} {
		if err := blobs.Put(ctx, key, nil); !errors.Is(err, errInvalid) {
			t.Errorf("content key %q: %v", key, err)
		}
	}
}

func TestTooManySegments(t *testing.T) {
	t.Parallel()
	store := openStore(t, t.TempDir())
	var stored registry.Stored
	for range maxSegments {
		stored = registry.Stored{Size: stored.Size + 1, State: append(append(stored.State, make([]byte, 12)...), 1)}
	}
	_, err := store.Blobs().Append(t.Context(), strings.Repeat("a", 64), registry.Claim{}, stored, strings.NewReader("x"))
	if !errors.Is(err, registry.ErrTooLarge) {
		t.Errorf("append: %v", err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	var tokens tokens
	now := time.Now()
	tokens.add("a", now)
	tokens.add("b", now.Add(tokenLife+1))
	if !tokens.has("a") || !tokens.has("b") || tokens.has("c") || tokens.has("") {
		t.Error("tokens of two generations")
	}
	tokens.add("c", now.Add(2*tokenLife+2))
	tokens.forget([]string{"b"})
	if tokens.has("a") || tokens.has("b") || !tokens.has("c") {
		t.Error("tokens of the third generation")
	}
	for i := range 3 * maxTokens {
		tokens.add(fmt.Sprint(i), now)
	}
	if len(tokens.young)+len(tokens.old) > 2*maxTokens {
		t.Error("tokens without bound")
	}
}

// FuzzDecodeRow reads any bytes without a panic; what it accepts it writes again.
func FuzzDecodeRow(f *testing.F) {
	attrs := registry.Attrs{"s": "text", "n": int64(-5), "b": []byte{0, 1}, "e": ""}
	row, err := encodeRow(registry.Key{PK: "p", SK: "s"}, attrs)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add([]byte{rowFormat})
	f.Add([]byte{rowFormat + 1})
	for i := range row {
		f.Add(row[:i+1])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		attrs, err := decodeRow(data)
		if err != nil {
			if !errors.Is(err, errCorrupt) {
				t.Error(err)
			}
			return
		}
		again, err := encodeRow(registry.Key{}, attrs)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeRow(again); err != nil || len(back) != len(attrs) {
			t.Errorf("%v, %v", back, err)
		}
	})
}

func read(t *testing.T, store *Store, key string) string {
	t.Helper()
	r, err := store.Blobs().Open(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// uploads lists the files that are no content yet.
func uploads(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "uploads"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
