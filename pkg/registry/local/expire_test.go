package local

import (
	"fmt"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/registry"
)

// TestRowsExpire: later writes delete rows whose time is over, and no others.
func TestRowsExpire(t *testing.T) {
	store := openStore(t, t.TempDir())
	meta := store.Metadata()
	put := func(name string, op registry.Op, attrs registry.Attrs) {
		t.Helper()
		if _, err := meta.Update(t.Context(), registry.Write{Key: registry.Key{PK: "p", SK: name}, Op: op, Attrs: attrs}); err != nil {
			t.Fatal(err)
		}
	}
	past, future := time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
	for i := range 2 * maxExpired {
		put(fmt.Sprintf("over %d", i), registry.Put, registry.Attrs{"ttl": future, "a": "b"})
		put(fmt.Sprintf("over %d", i), registry.Set, registry.Attrs{"ttl": past})
	}
	put("lives", registry.Put, registry.Attrs{"ttl": future})
	put("prolonged", registry.Put, registry.Attrs{"ttl": past - 10})
	for _, name := range []string{"lives", "lasting"} {
		put(name, registry.Put, registry.Attrs{"a": "b"})
	}
	put("kept", registry.Put, registry.Attrs{"ttl": future})
	for range 4 {
		put("other", registry.Put, registry.Attrs{"a": "b"})
	}
	page, err := meta.Query(t.Context(), registry.Query{PK: "p", Limit: registry.MaxPage})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, row := range page.Rows {
		left = append(left, row.Key.SK)
	}
	if got := fmt.Sprint(left); got != "[kept lasting lives other]" {
		t.Errorf("left: %s", got)
	}
}
