package registry

import (
	"context"
	"encoding/hex"
	"io"
	"sort"
	"sync"
	"time"
)

// objectIndex remembers the sizes of objects, in 16 bytes each: of a key it has the first 64 bits.
// The keys are random, so a lost object has those of another one once in 10^12 objects of a registry
// with ten million.
type objectIndex struct {
	keys  []uint64 // sorted
	sizes []int64
}

// add appends an object, whose key sorts after all others.
func (x *objectIndex) add(o Object) {
	x.keys, x.sizes = append(x.keys, keyBits(o.Key)), append(x.sizes, o.Size)
}

// has reports whether an object was listed with this size.
func (x *objectIndex) has(key string, size int64) bool {
	bits := keyBits(key)
	i := sort.Search(len(x.keys), func(i int) bool { return x.keys[i] >= bits })
	for ; i < len(x.keys) && x.keys[i] == bits; i++ {
		if x.sizes[i] == size {
			return true
		}
	}
	return false
}

func keyBits(key string) (bits uint64) {
	raw, _ := hex.DecodeString(key[:min(len(key), 16)]) // a content key is hexadecimal
	for _, b := range raw {
		bits = bits<<8 | uint64(b)
	}
	return bits
}

// pace limits the bytes that all readers together take per second.
type pace struct {
	rate  int64 // bytes per second; 0: no limit
	clock func() time.Time
	sleep func(context.Context, time.Duration) error

	mu   sync.Mutex
	next time.Time // the end of the time that the bytes until now are worth
}

// wait waits until the bytes that were read before are paid for, and accounts for n more.
func (p *pace) wait(ctx context.Context, n int) error {
	if p.rate <= 0 {
		return nil
	}
	p.mu.Lock()
	now := p.clock()
	if p.next.Before(now) {
		p.next = now
	}
	left := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	p.mu.Unlock()
	if left <= 0 {
		return nil
	}
	return p.sleep(ctx, left)
}

// pacedReader reads at the pace.
type pacedReader struct {
	ctx  context.Context //nolint:containedctx // io.Reader has no parameter for it
	from io.Reader
	pace *pace
}

// Read implements io.Reader.
func (r pacedReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if waited := r.pace.wait(r.ctx, n); waited != nil {
		return n, waited
	}
	return n, err
}
