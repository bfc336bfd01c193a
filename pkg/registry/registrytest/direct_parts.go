package registrytest

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
)

// startParts begins content that comes in parts.
func (u upload) startParts() registry.Stored {
	u.t.Helper()
	stored, err := u.StartParts(u.t.Context(), u.key)
	if err != nil {
		u.t.Fatalf("start: %v", err)
	}
	return stored
}

// lists fails unless these parts are there, and no others.
func (u upload) lists(stored registry.Stored, want ...direct.Part) {
	u.t.Helper()
	have, err := u.ListParts(u.t.Context(), u.key, stored)
	if err != nil || !slices.Equal(have, want) {
		u.t.Errorf("parts %v, %v, want %v", have, err, want)
	}
}

// gone fails unless the upload can neither be listed nor completed.
func (u upload) gone(stored registry.Stored) {
	u.t.Helper()
	if parts, err := u.ListParts(u.t.Context(), u.key, stored); !errors.Is(err, registry.ErrNoContent) {
		u.t.Errorf("list: %d parts, %v, want ErrNoContent", len(parts), err)
	}
	u.taken("complete", u.CompleteParts(u.t.Context(), u.key, stored, noCheck))
}

// completeParts completes an upload whose parts must be these.
func (u upload) completeParts(stored registry.Stored, content []byte, want ...direct.Part) {
	u.t.Helper()
	err := u.CompleteParts(u.t.Context(), u.key, stored, func(parts []direct.Part) error {
		if !slices.Equal(parts, want) {
			u.t.Errorf("asked about %v, want %v", parts, want)
		}
		return nil
	})
	if err != nil {
		u.t.Fatalf("complete: %v", err)
	}
	u.holds(content)
	u.stat(content, false)
}

func cut(contents ...[]byte) (parts []direct.Part) {
	for i, content := range contents {
		parts = append(parts, part(i+1, content))
	}
	return parts
}

// testDirectParts sends parts in any order and in parallel, in more than one process.
func testDirectParts(u upload) {
	u.direct()
	for _, sizes := range [][]int{{1}, {5 * mib}, {5 * mib, 1}, {5 * mib, 6 * mib, 5 * mib, 5 * mib, small}} {
		u := u.another()
		contents := make([][]byte, len(sizes))
		for i, size := range sizes {
			contents[i] = random(size)
		}
		parts := cut(contents...)
		stored := u.startParts()
		u.lists(stored)
		wrong := bytes.Clone(contents[0])
		wrong[sizes[0]/2] ^= 1
		u.refuses(u.signPart(stored, 1, contents[0]), wrong, http.StatusBadRequest)
		u.lists(stored)
		last := len(sizes) - 1
		u.stores(u.signPart(stored, last+1, contents[last]), contents[last])
		u.lists(stored, parts[last])
		u = u.restarted()
		together(last, func(i int) { u.stores(u.signPart(stored, i+1, contents[i]), contents[i]) })
		u.lists(stored, parts...)
		u.empty()
		u.restarted().completeParts(stored, join(contents...), parts...)
		late := random(small)
		u.refuses(u.signPart(stored, 1, late), late, http.StatusNotFound)
		u.gone(stored)
		if err := u.Discard(u.t.Context(), u.key, stored, registry.Stored{}); err != nil {
			u.t.Errorf("discard after complete: %v", err)
		}
		u.holds(join(contents...))
	}
}

// testDirectPartMisused has nothing but the right request store a part.
func testDirectPartMisused(u upload) {
	u.direct()
	content, otherContent, other := random(small), random(small), u.another()
	stored, others := u.startParts(), other.startParts()
	right := u.signPart(stored, 3, content)
	all := append(misuses(right, u.signPart(stored, 3, otherContent), otherContent, u.key, other.key),
		misuse{"another number", func(r *direct.Request, _ *[]byte) {
			r.URL = strings.Replace(r.URL, "partNumber=3", "partNumber=4", 1)
		}, http.StatusForbidden},
		misuse{"the whole content", func(r *direct.Request, _ *[]byte) {
			before, after, _ := strings.Cut(r.URL, "partNumber=3")
			_, after, _ = strings.Cut(strings.TrimPrefix(after, "&"), "&") // the upload's id
			r.URL = before + after
		}, 0})
	for _, m := range all {
		u.misused(right, content, []misuse{m})
		u.lists(stored)
		other.lists(others)
		u.empty()
	}
	u.refuses(u.past().signPart(stored, 3, content), content, http.StatusForbidden)
	u.lists(stored)
	u.stores(right, content) // it was good all the time
	u.lists(stored, part(3, content))
	u.misused(right, content, slices.DeleteFunc(all, func(m misuse) bool { return m.status != http.StatusBadRequest }))
	u.lists(stored, part(3, content))
}

// testDirectPartsAgain stores parts again: the same, and others under their number.
func testDirectPartsAgain(u upload) {
	u.direct()
	first, old, last := random(5*mib), random(5*mib), random(small)
	stored := u.startParts()
	request := u.signPart(stored, 1, first)
	for range 3 {
		u.stores(request, first)
	}
	u.stores(u.signPart(stored, 2, old), old)
	u.lists(stored, cut(first, old)...)
	u.stores(u.signPart(stored, 2, last), last)
	u.lists(stored, cut(first, last)...)
	u.completeParts(stored, join(first, last), cut(first, last)...)
}

// testDirectPartsChecked has the caller find that a part is missing.
func testDirectPartsChecked(u upload) {
	u.direct()
	contents := [][]byte{random(5 * mib), random(5 * mib), random(small)}
	parts := cut(contents...)
	stored := u.startParts()
	u.stores(u.signPart(stored, 1, contents[0]), contents[0])
	u.stores(u.signPart(stored, 3, contents[2]), contents[2])
	for range 2 {
		err := u.CompleteParts(u.t.Context(), u.key, stored, func(have []direct.Part) error {
			if !slices.Equal(have, []direct.Part{parts[0], parts[2]}) {
				u.t.Errorf("asked about %v", have)
			}
			return errBody
		})
		if err != errBody { //nolint:errorlint // it must come back as it is
			u.t.Errorf("complete without a part: %v, want what check says", err)
		}
		u.empty()
	}
	u.stores(u.signPart(stored, 2, contents[1]), contents[1])
	u.completeParts(stored, join(contents...), parts...)
}

// testDirectPartsTaken completes a key that has content, from elsewhere or from
// another upload of the same key.
func testDirectPartsTaken(u upload) {
	u.direct()
	content := random(small)
	first, second := u.startParts(), u.startParts()
	for _, stored := range []registry.Stored{first, second} {
		u.stores(u.signPart(stored, 1, content), content)
	}
	u.completeParts(first, content, part(1, content))
	yes := func([]direct.Part) error { return nil }
	u.taken("complete another upload", u.CompleteParts(u.t.Context(), u.key, second, yes))
	if err := u.Discard(u.t.Context(), u.key, second, registry.Stored{}); err != nil {
		u.t.Errorf("discard: %v", err)
	}
	u.holds(content)

	u = u.another()
	stored := u.startParts()
	u.stores(u.signPart(stored, 1, content), content)
	if err := u.Put(u.t.Context(), u.key, []byte("put")); err != nil {
		u.t.Fatal(err)
	}
	u.taken("complete what was put", u.CompleteParts(u.t.Context(), u.key, stored, yes))
	if err := u.Discard(u.t.Context(), u.key, stored, registry.Stored{}); err != nil {
		u.t.Errorf("discard: %v", err)
	}
	u.gone(stored)
	u.holds([]byte("put"))
}

// testDirectPartsDiscard drops an upload: nothing of it can be used afterwards.
func testDirectPartsDiscard(u upload) {
	u.direct()
	content := random(small)
	stored, kept := u.startParts(), u.startParts()
	request := u.signPart(stored, 1, content)
	u.stores(request, content)
	u.stores(u.signPart(kept, 1, content), content)
	if err := u.Discard(u.t.Context(), u.key, stored, stored); err != nil {
		u.t.Errorf("discard what is kept: %v", err)
	}
	u.lists(stored, part(1, content))
	for range 2 {
		if err := u.Discard(u.t.Context(), u.key, stored, registry.Stored{}); err != nil {
			u.t.Errorf("discard: %v", err)
		}
		u.gone(stored)
	}
	u.refuses(request, content, http.StatusNotFound)
	u.gone(stored)
	u.empty()
	u.completeParts(kept, content, part(1, content))
}
