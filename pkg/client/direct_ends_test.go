package client_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// TestDirectStoreForgets: a rule of the bucket drops parts after days. The upload begins
// anew, once, and nothing leads to the old one.
func TestDirectStoreForgets(t *testing.T) {
	address, s := newDirectRegistry(t)
	kept := &memory{ids: map[oci.Digest]string{}}
	content := randomBytes(1, 33*mib) // 3 parts
	b := fileOf(t, content)
	b.Parts = true
	var forgotten atomic.Bool
	s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n != 2 || !forgotten.CompareAndSwap(false, true) {
			return false
		}
		s.forget()
		refuse(w, http.StatusNotFound, "NoSuchUpload")
		return true
	}
	r := newRepository(t, address, "a", client.Options{Resume: kept})
	if got, err := r.PushBlob(t.Context(), b); err != nil || got.Method != client.Direct {
		t.Fatalf("%+v, %v", got, err)
	}
	wantBlob(t, r, content)
	if !forgotten.Load() || len(kept.ids) != 0 {
		t.Errorf("forgotten: %v, remembered after the end: %v", forgotten.Load(), kept.ids)
	}
}
