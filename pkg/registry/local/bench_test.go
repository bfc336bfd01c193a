package local

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/pierless/pierless/pkg/registry"
)

// BenchmarkUpdate swaps rows, with one writer and with many that share commits.
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			meta := openStore(b, b.TempDir()).Metadata()
			var next atomic.Int64
			b.SetParallelism(writers) // times GOMAXPROCS
			if writers == 1 {
				for b.Loop() {
					swap(b, meta, registry.Key{PK: "p", SK: "row"})
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				key := registry.Key{PK: "p", SK: fmt.Sprint(next.Add(1))}
				for pb.Next() {
					swap(b, meta, key)
				}
			})
		})
	}
}

func swap(b *testing.B, meta registry.Metadata, key registry.Key) {
	b.Helper()
	_, err := meta.Update(b.Context(), registry.Write{
		Key:   key,
		Attrs: registry.Attrs{"w": rand.Text(), "s": "live"}, Add: map[string]int64{"n": 1},
	})
	if err != nil {
		b.Error(err)
	}
}

func BenchmarkGet(b *testing.B) {
	meta := openStore(b, b.TempDir()).Metadata()
	keys := make([]registry.Key, 100)
	for i := range keys {
		keys[i] = registry.Key{PK: "p", SK: fmt.Sprint(i)}
		swap(b, meta, keys[i])
	}
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := meta.Get(b.Context(), keys[:n]...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkUpload appends and completes 64 MiB, in one body and in many.
func BenchmarkUpload(b *testing.B) {
	content := make([]byte, 64<<20)
	rand.Read(content)
	for _, pieces := range []int{1, 16} {
		b.Run(fmt.Sprintf("pieces=%d", pieces), func(b *testing.B) {
			blobs := openStore(b, b.TempDir()).Blobs()
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for b.Loop() {
				key := randomKey()
				upload(b, blobs, key, content, pieces)
				if err := blobs.Delete(b.Context(), key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func upload(b *testing.B, blobs registry.Blobs, key string, content []byte, pieces int) {
	b.Helper()
	var stored registry.Stored
	var err error
	size := len(content) / pieces
	for i := range pieces {
		body := struct{ io.Reader }{bytes.NewReader(content[i*size : (i+1)*size])}
		if stored, err = blobs.Append(b.Context(), key, registry.Claim{}, stored, body); err != nil {
			b.Fatal(err)
		}
	}
	if err := blobs.Complete(b.Context(), key, stored); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkPut(b *testing.B) {
	blobs := openStore(b, b.TempDir()).Blobs()
	content := make([]byte, 2048)
	for b.Loop() {
		if err := blobs.Put(b.Context(), randomKey(), content); err != nil {
			b.Fatal(err)
		}
	}
}

func randomKey() string {
	var key [32]byte
	rand.Read(key[:])
	return hex.EncodeToString(key[:])
}
