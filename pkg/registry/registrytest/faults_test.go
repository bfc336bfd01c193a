package registrytest_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/local"
	"github.com/pierless/pierless/pkg/registry"
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
	names := registrytest.Faulty(store.Names(), script(
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
		_, err := names.Update(t.Context(), registry.Write{Key: key, Add: map[string]int64{"n": 1}})
		if !errors.Is(err, want.err) {
			t.Errorf("write %d: %v, want %v", i, err, want.err)
		}
		rows, err := store.Names().Get(t.Context(), key)
		if err != nil || rows[0].Attrs["n"] != want.sum {
			t.Errorf("after write %d: %v, %v, want %d", i, rows, err, want.sum)
		}
	}
	broken := registrytest.Faulty(store.Names(), script(registrytest.Failed, registrytest.Failed))
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
