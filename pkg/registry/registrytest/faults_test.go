package registrytest_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/local"
	"github.com/pierless/pierless/pkg/registry/registrytest"
)

// script returns one fault after the other, then none.
func script(faults ...registrytest.Fault) registrytest.Decide {
	return func(bool) (fault registrytest.Fault) {
		if len(faults) > 0 {
			fault, faults = faults[0], faults[1:]
		}
		return fault
	}
}

func open(t *testing.T) *local.Store {
	t.Helper()
	store, err := local.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func TestRandom(t *testing.T) {
	t.Parallel()
	rates := registrytest.Rates{Lost: 0.1, Failed: 0.2, Contended: 0.3, Late: 0.1, Read: 0.5}
	one, two := registrytest.Random(7, rates), registrytest.Random(7, rates)
	counts := map[registrytest.Fault]int{}
	reads := 0
	for range 10_000 {
		fault := one(false)
		if fault != two(false) {
			t.Fatal("one seed, two answers")
		}
		counts[fault]++
		if one(true) != registrytest.None {
			reads++
		}
		two(true)
	}
	for fault, want := range []int{3000, 1000, 2000, 3000, 1000} {
		if n := counts[registrytest.Fault(fault)]; n < want-300 || n > want+300 {
			t.Errorf("fault %d came %d times, want about %d", fault, n, want)
		}
	}
	if reads < 4700 || reads > 5300 {
		t.Errorf("%d reads failed, want about 5000", reads)
	}
}

// TestFaultyNames adds 1 per write and looks at the sum in the store itself.
func TestFaultyNames(t *testing.T) {
	t.Parallel()
	store := open(t)
	meta := registrytest.Faulty(store.Metadata(), script(
		registrytest.Lost, registrytest.Failed, registrytest.Contended, registrytest.Late))
	key := registry.Key{PK: "p", SK: "s"}
	for i, want := range []struct {
		err error
		sum int64
	}{
		{registrytest.ErrInjected, 1},
		{registrytest.ErrInjected, 1},
		{registry.ErrContended, 1},
		{registrytest.ErrInjected, 1},
		{nil, 3}, // the late one came before
	} {
		_, err := meta.Update(t.Context(), registry.Write{Key: key, Add: map[string]int64{"n": 1}})
		if !errors.Is(err, want.err) {
			t.Errorf("write %d: %v, want %v", i, err, want.err)
		}
		rows, err := store.Metadata().Get(t.Context(), key)
		if err != nil || rows[0].Attrs["n"] != want.sum {
			t.Errorf("after write %d: %v, %v, want %d", i, rows, err, want.sum)
		}
	}
	broken := registrytest.Faulty(store.Metadata(), script(registrytest.Failed, registrytest.Failed))
	if _, err := broken.Get(t.Context(), key); !errors.Is(err, registrytest.ErrInjected) {
		t.Errorf("get: %v", err)
	}
	if _, err := broken.Query(t.Context(), registry.Query{PK: "p", Limit: 1}); !errors.Is(err, registrytest.ErrInjected) {
		t.Errorf("query: %v", err)
	}
}

func TestFaultyBlobs(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), open(t)
	key := strings.Repeat("a", 64)
	content := strings.Repeat("content", 1000)
	blobs := registrytest.FaultyBlobs(store.Blobs(), script(
		registrytest.Failed, registrytest.Lost, registrytest.None, registrytest.Lost, registrytest.Failed))
	var faults []bool
	note := func(err error) {
		if err != nil && !errors.Is(err, registrytest.ErrInjected) && !errors.Is(err, registry.ErrTaken) {
			t.Errorf("error is %v", err)
		}
		faults = append(faults, errors.Is(err, registrytest.ErrInjected))
	}
	var stored registry.Stored
	for range 3 {
		after, err := blobs.Append(ctx, key, registry.Claim{}, registry.Stored{}, strings.NewReader(content))
		note(err)
		stored = after
	}
	note(blobs.Complete(ctx, key, stored)) // lost
	_, err := blobs.Open(ctx, key, 0, -1)
	note(err)
	if want := []bool{true, true, false, true, true}; !slices.Equal(faults, want) {
		t.Errorf("faults %v, want %v", faults, want)
	}
	for _, test := range []struct {
		fault registrytest.Fault
		err   error
	}{{registrytest.None, nil}, {registrytest.Lost, registrytest.ErrInjected}} {
		r, err := registrytest.FaultyBlobs(store.Blobs(), script(test.fault)).Open(ctx, key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		have, err := io.ReadAll(r)
		if !errors.Is(err, test.err) || !strings.HasPrefix(content, string(have)) || err == nil && string(have) != content {
			t.Errorf("read %d bytes, %v", len(have), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFaultyBlobsContended: only the calls that may meet another write say so.
func TestFaultyBlobsContended(t *testing.T) {
	t.Parallel()
	ctx, store, key := t.Context(), open(t), strings.Repeat("a", 64)
	for name, test := range map[string]struct {
		call func(registry.Blobs) error
		want error
	}{
		"Put":           {func(b registry.Blobs) error { return b.Put(ctx, key, nil) }, registry.ErrContended},
		"Complete":      {func(b registry.Blobs) error { return b.Complete(ctx, key, registry.Stored{}) }, registry.ErrContended},
		"CompleteParts": {func(b registry.Blobs) error { return b.CompleteParts(ctx, key, registry.Stored{}, nil) }, registry.ErrContended},
		"Delete":        {func(b registry.Blobs) error { return b.Delete(ctx, key) }, registrytest.ErrInjected},
	} {
		err := test.call(registrytest.FaultyBlobs(store.Blobs(), script(registrytest.Contended)))
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if r, err := store.Blobs().Open(ctx, key, 0, -1); !errors.Is(err, registry.ErrNoContent) {
			t.Errorf("%s was applied: %v, %v", name, r, err)
		}
	}
}

// directStore counts the calls that reach it.
type directStore struct {
	registry.Blobs
	calls map[string]int
}

func (d directStore) StartParts(context.Context, string) (registry.Stored, error) {
	d.calls["StartParts"]++
	return registry.Stored{State: []byte("started")}, nil
}

func (d directStore) ListParts(context.Context, string, registry.Stored) ([]direct.Part, error) {
	d.calls["ListParts"]++
	return []direct.Part{{Number: 1}}, nil
}

func (d directStore) CompleteParts(_ context.Context, _ string, _ registry.Stored, check func([]direct.Part) error) error {
	d.calls["CompleteParts"]++
	return check([]direct.Part{{Number: 1}})
}

func (d directStore) Stat(context.Context, string, bool) (int64, oci.Digest, error) {
	d.calls["Stat"]++
	return 7, "digest", nil
}

// TestFaultyDirect: without a fault each call passes with what it returns; a failed
// one does not reach the store, a lost one of a write does.
func TestFaultyDirect(t *testing.T) {
	t.Parallel()
	ctx, refused := t.Context(), errors.New("refused")
	for name, call := range map[string]func(registry.Blobs) (passed bool, err error){
		"StartParts": func(b registry.Blobs) (bool, error) {
			stored, err := b.StartParts(ctx, "key")
			return string(stored.State) == "started", err
		},
		"ListParts": func(b registry.Blobs) (bool, error) {
			parts, err := b.ListParts(ctx, "key", registry.Stored{})
			return len(parts) == 1, err
		},
		"CompleteParts": func(b registry.Blobs) (bool, error) {
			err := b.CompleteParts(ctx, "key", registry.Stored{}, func([]direct.Part) error { return refused })
			if passed := errors.Is(err, refused); passed {
				return true, nil
			}
			return false, err
		},
		"Stat": func(b registry.Blobs) (bool, error) {
			size, d, err := b.Stat(ctx, "key", true)
			return size == 7 && d == "digest", err
		},
	} {
		store := directStore{calls: map[string]int{}}
		blobs := registrytest.FaultyBlobs(store, script(registrytest.None, registrytest.Failed))
		if passed, err := call(blobs); !passed || err != nil || store.calls[name] != 1 {
			t.Errorf("%s: %t, %v, %d calls", name, passed, err, store.calls[name])
		}
		if passed, err := call(blobs); passed || !errors.Is(err, registrytest.ErrInjected) || store.calls[name] != 1 {
			t.Errorf("%s failed: %t, %v, %d calls", name, passed, err, store.calls[name])
		}
		lost := 1
		if name == "StartParts" || name == "CompleteParts" {
			lost = 2
		}
		blobs = registrytest.FaultyBlobs(store, script(registrytest.Lost))
		if passed, err := call(blobs); passed || !errors.Is(err, registrytest.ErrInjected) || store.calls[name] != lost {
			t.Errorf("%s lost: %t, %v, %d calls", name, passed, err, store.calls[name])
		}
	}
}
