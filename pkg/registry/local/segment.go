package local

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/pierless/pierless/pkg/registry"
)

// maxSegments of one upload, as many as S3 takes parts. The limit keeps the state, and with
// it the row, under 200 KB.
const maxSegments = 10_000

var errState = errors.New("malformed state of an upload")

// fileID distinguishes the files of one key in uploads/. It is random, not derived from the
// claim: no two calls ever write to the same file, even if a claim were used twice.
type fileID [12]byte

func newFileID() (id fileID) {
	rand.Read(id[:])
	return id
}

// segment is the content of one Append.
type segment struct {
	id   fileID
	size int64
}

// path returns the path of a file of the key in the uploads directory.
func (id fileID) path(uploads, key string) string {
	return filepath.Join(uploads, key+"."+hex.EncodeToString(id[:]))
}

// addSegment returns stored with one more segment. The two share no memory.
func addSegment(stored registry.Stored, s segment) registry.Stored {
	state := append(slices.Clone(stored.State), s.id[:]...)
	return registry.Stored{Size: stored.Size + s.size, State: binary.AppendUvarint(state, uint64(s.size))}
}

// segmentsOf reads the state of an upload. It fails unless the sizes of the segments add up
// to that of the upload.
func segmentsOf(stored registry.Stored) ([]segment, error) {
	var segments []segment
	size := stored.Size
	for state := stored.State; len(state) > 0; {
		var s segment
		if len(state) < len(s.id) {
			return nil, errState
		}
		copy(s.id[:], state)
		n, length := binary.Uvarint(state[len(s.id):])
		if length <= 0 || n > uint64(max(size, 0)) {
			return nil, errState
		}
		s.size = int64(n)
		size -= s.size
		segments = append(segments, s)
		state = state[len(s.id)+length:]
	}
	if size != 0 {
		return nil, fmt.Errorf("%w: %d bytes are missing", errState, size)
	}
	return segments, nil
}
