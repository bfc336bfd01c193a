// Package registrytest is the contract of registry's ports as a test suite, which every
// pair of adapters must pass, and a library of faults to put between the rules and an
// adapter.
//
// The store behind an adapter may be shared and have other rows: each subtest works under
// random keys and does not clean up.
//
// It must not know any adapter, nor the rules.
package registrytest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/registry"
)

// patience is how long a test repeats a write that is contended.
const patience = 5 * time.Minute

// randomKey returns a fresh content key.
func randomKey() string {
	var key [32]byte
	rand.Read(key[:])
	return hex.EncodeToString(key[:])
}

// randomPK returns a fresh partition key.
func randomPK() string { return "registrytest#" + rand.Text() }

// randomRow returns a row key in a fresh partition.
func randomRow() registry.Key { return registry.Key{PK: randomPK(), SK: "row"} }

// retry repeats f while another write is in its way.
func retry(ctx context.Context, f func() error) error {
	end := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := f()
		if !errors.Is(err, registry.ErrContended) || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
		time.Sleep(mathrand.N(pause) + 1)
	}
}

// table is a Metadata under test, with helpers that fail the test.
type table struct {
	registry.Metadata
	t *testing.T
}

func (tb table) update(w registry.Write) (row registry.Row, err error) {
	err = retry(tb.t.Context(), func() (err error) {
		row, err = tb.Update(tb.t.Context(), w)
		return err
	})
	return row, err
}

func (tb table) transact(token string, writes ...registry.Write) error {
	return retry(tb.t.Context(), func() error { return tb.Transact(tb.t.Context(), token, writes...) })
}

// put stores a row, whatever was there.
func (tb table) put(key registry.Key, attrs registry.Attrs) {
	tb.t.Helper()
	if _, err := tb.update(registry.Write{Key: key, Op: registry.Put, Attrs: attrs}); err != nil {
		tb.t.Fatalf("put %q: %v", key, err)
	}
}

// putAll stores rows with one attribute "name", by transactions of MaxTransact.
func (tb table) putAll(pk string, sortKeys []string) {
	tb.t.Helper()
	var writes []registry.Write
	for i, sk := range sortKeys {
		writes = append(writes, registry.Write{
			Key: registry.Key{PK: pk, SK: sk}, Op: registry.Put, Attrs: registry.Attrs{"name": sk},
		})
		if len(writes) < registry.MaxTransact && i < len(sortKeys)-1 {
			continue
		}
		if err := tb.transact(rand.Text(), writes...); err != nil {
			tb.t.Fatalf("put rows of %q: %v", pk, err)
		}
		writes = nil
	}
}

// get reads one row.
func (tb table) get(key registry.Key) registry.Attrs {
	tb.t.Helper()
	rows, err := tb.Get(tb.t.Context(), key)
	if err != nil || len(rows) != 1 {
		tb.t.Fatalf("get %q: %d rows, %v", key, len(rows), err)
	}
	return rows[0].Attrs
}

// wants fails unless a row has these attributes; nil means that there is none.
func (tb table) wants(key registry.Key, want registry.Attrs) {
	tb.t.Helper()
	if have := tb.get(key); !same(have, want) {
		tb.t.Errorf("row %q is %s, want %s", key, show(have), show(want))
	}
}

// conflict fails the test unless err is a *Conflict, and returns its rows.
func (tb table) conflict(err error) []*registry.Row {
	tb.t.Helper()
	var conflict *registry.Conflict
	if !errors.As(err, &conflict) {
		tb.t.Fatalf("error is %v, want a *Conflict", err)
	}
	return conflict.Old
}

// refused fails the test unless a request was rejected as invalid.
func (tb table) refused(err error) {
	tb.t.Helper()
	var conflict *registry.Conflict
	if err == nil || errors.As(err, &conflict) || errors.Is(err, registry.ErrContended) {
		tb.t.Errorf("error is %v, want a refusal", err)
	}
}

// same compares attributes; "no row" is not the same as "a row with none".
func same(a, b registry.Attrs) bool { return reflect.DeepEqual(a, b) }

func show(attrs registry.Attrs) string {
	if attrs == nil {
		return "no row"
	}
	text := fmt.Sprintf("%#v", map[string]any(attrs))
	return text[:min(len(text), 500)]
}
