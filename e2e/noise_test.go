//go:build e2e

package e2e

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// noise is a stream of incompressible bytes that is the same in every run and can be read from any
// offset: block n depends only on n.
type noise struct {
	seed   byte
	offset int64
	end    int64
	block  []byte // rest of the current block
}

// newNoise returns the bytes [from, to) of the stream for a seed.
func newNoise(seed byte, from, to int64) *noise {
	return &noise{seed: seed, offset: from, end: to}
}

func (n *noise) Read(p []byte) (int, error) {
	if n.offset >= n.end {
		return 0, io.EOF
	}
	if len(n.block) == 0 {
		n.block = noiseBlock(n.seed, n.offset/mib)[n.offset%mib:]
	}
	size := copy(p[:min(int64(len(p)), n.end-n.offset)], n.block)
	n.block = n.block[size:]
	n.offset += int64(size)
	return size, nil
}

func noiseBlock(seed byte, index int64) []byte {
	key := [32]byte{seed}
	binary.LittleEndian.PutUint64(key[8:], uint64(index))
	block := make([]byte, mib)
	rand.NewChaCha8(key).Read(block)
	return block
}
