package registrytest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/pierless/pierless/pkg/registry"
)

// testBlobPut writes content once, and never again.
func testBlobPut(u upload) {
	for _, content := range [][]byte{{}, []byte("x"), random(5 * mib)} {
		u := u.another()
		u.empty()
		if err := u.Put(u.t.Context(), u.key, content); err != nil {
			u.t.Fatal(err)
		}
		u.taken("another put", u.Put(u.t.Context(), u.key, []byte("other")))
		u.taken("the same put", u.Put(u.t.Context(), u.key, content))
		u.holds(content)
		u.restarted().holds(content)
	}
}

// testPutRace has many put different content under one key.
func testPutRace(u upload) {
	for range 3 {
		u := u.another()
		contents := make([][]byte, 8)
		for i := range contents {
			contents[i] = random(100_000 + i)
		}
		u.race(contents, func(i int) error { return u.Put(u.t.Context(), u.key, contents[i]) })
	}
}

// testCompleteRace has many complete different appends to one upload.
func testCompleteRace(u upload) {
	for _, size := range []int{1000, 6 * mib} {
		u := u.another()
		base := random(size)
		stored := u.append(registry.Stored{}, base)
		contents, appended := make([][]byte, 4), make([]registry.Stored, 4)
		for i := range contents {
			piece := random(1000 + i)
			appended[i] = u.append(stored, piece)
			contents[i] = join(base, piece)
		}
		u.race(contents, func(i int) error { return u.Complete(u.t.Context(), u.key, appended[i]) })
	}
}

// race fails unless exactly one wins and its content is there.
func (u upload) race(contents [][]byte, run func(i int) error) {
	u.t.Helper()
	var won atomic.Int64
	won.Store(-1)
	together(len(contents), func(i int) {
		err := run(i)
		if err == nil && !won.CompareAndSwap(-1, int64(i)) {
			u.t.Error("two have won")
		}
		if err != nil {
			u.taken("a loser", err)
		}
	})
	if won.Load() < 0 {
		u.t.Fatal("nobody has won")
	}
	u.holds(contents[won.Load()])
}

// testCompleteTwice repeats a Complete, as after a lost answer.
func testCompleteTwice(u upload) {
	for _, sizes := range [][]int{{}, {10}, {6 * mib}, {6 * mib, 3 * mib}, {3, 4}} {
		u := u.another()
		var stored registry.Stored
		var content []byte
		for _, size := range sizes {
			piece := random(size)
			stored = u.append(stored, piece)
			content = append(content, piece...)
		}
		u.complete(stored, content)
		u.taken(fmt.Sprintf("complete %v twice", sizes), u.Complete(u.t.Context(), u.key, stored))
		u.taken("complete in a new process", u.restarted().Complete(u.t.Context(), u.key, stored))
		u.taken("complete nothing", u.Complete(u.t.Context(), u.key, registry.Stored{}))
		u.taken("put", u.Put(u.t.Context(), u.key, []byte("x")))
		u.holds(content)
	}
}

// testCompleteTaken completes a key that was put.
func testCompleteTaken(u upload) {
	for _, size := range []int{100, 6 * mib} {
		u := u.another()
		stored := u.append(u.append(registry.Stored{}, random(size)), random(7))
		if err := u.Put(u.t.Context(), u.key, []byte("put")); err != nil {
			u.t.Fatal(err)
		}
		u.taken("complete", u.Complete(u.t.Context(), u.key, stored))
		if err := u.Discard(u.t.Context(), u.key, stored, registry.Stored{}); err != nil {
			u.t.Errorf("discard: %v", err)
		}
		u.holds([]byte("put"))
	}
}

// testPresign uses URLs as clients do, if the store has them.
func testPresign(u upload) {
	content := random(10_000)
	if err := u.Put(u.t.Context(), u.key, content); err != nil {
		u.t.Fatal(err)
	}
	for _, test := range []struct {
		method, byteRange string
		status            int
		want              []byte
		length            int64
	}{
		{http.MethodGet, "", http.StatusOK, content, 10_000},
		{http.MethodGet, "bytes=100-199", http.StatusPartialContent, content[100:200], 100},
		{http.MethodGet, "bytes=9000-", http.StatusPartialContent, content[9000:], 1000},
		{http.MethodHead, "", http.StatusOK, nil, 10_000},
	} {
		url, err := u.Presign(u.t.Context(), test.method, u.key)
		if err != nil {
			u.t.Fatal(err)
		}
		if url == "" {
			u.t.Skip("the store has no URLs")
		}
		res, body, err := fetch(u, test.method, url, test.byteRange)
		if err != nil {
			u.t.Fatal(err)
		}
		if res.StatusCode != test.status || res.ContentLength != test.length || !bytes.Equal(body, test.want) {
			u.t.Errorf("%s %s: %s with %d bytes", test.method, test.byteRange, res.Status, res.ContentLength)
		}
	}
	if _, err := u.Presign(u.t.Context(), http.MethodGet, u.another().key); err != nil {
		u.t.Errorf("presign needs no content: %v", err)
	}
}

func fetch(u upload, method, url, byteRange string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(u.t.Context(), method, url, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	if byteRange != "" {
		req.Header.Set("Range", byteRange)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(res.Body)
	if len(body) == 0 {
		body = nil
	}
	return res, body, errors.Join(err, res.Body.Close())
}
