package registrytest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
)

// ErrInjected is a fault that leaves the outcome of a write open: it was applied, was not,
// or will be.
var ErrInjected = errors.New("injected fault")

// Fault is the treatment of one call, on two axes: whether the write is applied, and the
// reported result.
type Fault int

// The faults. Reads know None and Failed; of Open, Lost breaks off the content.
const (
	None      Fault = iota
	Lost            // applied, but ErrInjected is reported
	Failed          // not applied, ErrInjected
	Contended       // not applied, ErrContended; of Discard, Delete, StartParts and Append, Failed
	Late            // ErrInjected, applied some writes later; of Blobs, Failed
)

// Rates are the probabilities of the faults of one call, each from 0 to 1, those
// of writes at most 1 in all.
type Rates struct {
	Lost, Failed, Contended, Late float64 // of writes
	Read                          float64 // of reads
}

// Decide returns the fault of the next call. It must be safe for concurrent use if two
// ports share it, as a pair of Metadata and Blobs may; one port calls it once at a time.
type Decide func(read bool) Fault

// Random decides by rates: the same for the same seed and order of calls. Ports
// may share it.
func Random(seed uint64, rates Rates) Decide {
	dice := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex
	return func(read bool) Fault {
		mu.Lock()
		n := dice.Float64()
		mu.Unlock()
		limits := []float64{rates.Lost, rates.Failed, rates.Contended, rates.Late}
		if read {
			limits = []float64{rates.Read / 2, rates.Read / 2}
		}
		for i, limit := range limits {
			if n < limit {
				return Lost + Fault(i)
			}
			n -= limit
		}
		return None
	}
}

// Faulty puts faults in front of rows: Faulty(meta, Random(seed, Rates{Lost: 0.1})).
func Faulty(meta registry.Metadata, decide Decide) registry.Metadata {
	return &faultyMetadata{meta, faults{decide: decide}}
}

// FaultyBlobs puts faults in front of content.
func FaultyBlobs(blobs registry.Blobs, decide Decide) registry.Blobs {
	return &faultyBlobs{blobs, faults{decide: decide}}
}

// faults decides on calls and keeps the late ones.
type faults struct {
	decide Decide
	mu     sync.Mutex
	writes int
	late   map[int][]func() // by the number of the write that they come before
}

func (f *faults) read() Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.decide(true)
}

// next decides on a write and returns the late writes that come before it. A late
// write comes before one of the next four, in turn.
func (f *faults) next(apply func()) (fault Fault, due []func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	due = f.late[f.writes]
	delete(f.late, f.writes)
	if fault = f.decide(false); fault == Late && apply != nil {
		if f.late == nil {
			f.late = map[int][]func(){}
		}
		at := f.writes + 1 + f.writes%4
		f.late[at] = append(f.late[at], apply)
	}
	return fault, due
}

type faultyMetadata struct {
	meta registry.Metadata
	faults
}

func (n *faultyMetadata) Get(ctx context.Context, keys ...registry.Key) ([]registry.Row, error) {
	if n.read() != None {
		return nil, ErrInjected
	}
	return n.meta.Get(ctx, keys...)
}

func (n *faultyMetadata) Query(ctx context.Context, q registry.Query) (registry.Page, error) {
	if n.read() != None {
		return registry.Page{}, ErrInjected
	}
	return n.meta.Query(ctx, q)
}

func (n *faultyMetadata) Update(ctx context.Context, w registry.Write) (registry.Row, error) {
	return n.write(ctx, func(ctx context.Context) (registry.Row, error) { return n.meta.Update(ctx, w) })
}

func (n *faultyMetadata) Transact(ctx context.Context, token string, writes ...registry.Write) error {
	_, err := n.write(ctx, func(ctx context.Context) (registry.Row, error) {
		return registry.Row{}, n.meta.Transact(ctx, token, writes...)
	})
	return err
}

// write hands apply's results on as values: a late call must not write into
// variables of a caller that has gone on.
func (n *faultyMetadata) write(
	ctx context.Context, apply func(context.Context) (registry.Row, error),
) (registry.Row, error) {
	fault, due := n.next(func() {
		apply(context.WithoutCancel(ctx)) //nolint:errcheck // its result is lost
	})
	for _, late := range due {
		late()
	}
	switch fault {
	case Lost:
		apply(ctx) //nolint:errcheck // this is the answer that is lost
		return registry.Row{}, ErrInjected
	case Contended:
		return registry.Row{}, registry.ErrContended
	case Failed, Late:
		return registry.Row{}, ErrInjected
	case None:
	}
	return apply(ctx)
}

// faultyBlobs presigns without faults: that makes no call that could fail.
type faultyBlobs struct {
	registry.Blobs
	faults
}

func (b *faultyBlobs) Put(ctx context.Context, key string, content []byte) error {
	return b.contend(func() error { return b.Blobs.Put(ctx, key, content) })
}

func (b *faultyBlobs) Complete(ctx context.Context, key string, stored registry.Stored) error {
	return b.contend(func() error { return b.Blobs.Complete(ctx, key, stored) })
}

func (b *faultyBlobs) Discard(ctx context.Context, key string, stored, keep registry.Stored) error {
	return b.write(func() error { return b.Blobs.Discard(ctx, key, stored, keep) })
}

func (b *faultyBlobs) Delete(ctx context.Context, key string) error {
	return b.write(func() error { return b.Blobs.Delete(ctx, key) })
}

func (b *faultyBlobs) StartParts(ctx context.Context, key string) (stored registry.Stored, err error) {
	err = b.write(func() (err error) {
		stored, err = b.Blobs.StartParts(ctx, key)
		return err
	})
	if err != nil {
		return registry.Stored{}, err
	}
	return stored, nil
}

func (b *faultyBlobs) ListParts(ctx context.Context, key string, stored registry.Stored) ([]direct.Part, error) {
	if b.read() != None {
		return nil, ErrInjected
	}
	return b.Blobs.ListParts(ctx, key, stored)
}

func (b *faultyBlobs) CompleteParts(
	ctx context.Context, key string, stored registry.Stored, check func([]direct.Part) error,
) error {
	return b.contend(func() error { return b.Blobs.CompleteParts(ctx, key, stored, check) })
}

func (b *faultyBlobs) Stat(ctx context.Context, key string, sum bool) (int64, oci.Digest, error) {
	if b.read() != None {
		return 0, "", ErrInjected
	}
	return b.Blobs.Stat(ctx, key, sum)
}

func (b *faultyBlobs) write(apply func() error) error {
	fault, _ := b.next(nil)
	return meet(fault, apply)
}

// contend is write for a call that may meet another one.
func (b *faultyBlobs) contend(apply func() error) error {
	fault, _ := b.next(nil)
	if fault == Contended {
		return registry.ErrContended
	}
	return meet(fault, apply)
}

func meet(fault Fault, apply func() error) error {
	if fault == None {
		return apply()
	}
	if fault == Lost {
		apply() //nolint:errcheck // this is the answer that is lost
	}
	return ErrInjected
}

// brokenAfter is how much of a body or of content passes before a fault, in bytes.
const brokenAfter = 1000

// Append that fails has read the beginning of its body; one whose answer is lost
// has read it all.
func (b *faultyBlobs) Append(
	ctx context.Context, key string, claim registry.Claim, stored registry.Stored, body io.Reader,
) (after registry.Stored, err error) {
	fault, _ := b.next(nil)
	if fault != None && fault != Lost {
		body = broken(body)
	}
	after, err = b.Blobs.Append(ctx, key, claim, stored, body)
	if fault != None {
		return registry.Stored{}, ErrInjected
	}
	return after, err
}

func (b *faultyBlobs) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	fault := b.read()
	if fault != None && fault != Lost {
		return nil, ErrInjected
	}
	r, err := b.Blobs.Open(ctx, key, offset, length)
	if err != nil || fault == None {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{broken(r), r}, nil
}

// broken reads the beginning and then fails.
func broken(r io.Reader) io.Reader {
	return io.MultiReader(io.LimitReader(r, brokenAfter), readerFunc(func([]byte) (int, error) { return 0, ErrInjected }))
}
