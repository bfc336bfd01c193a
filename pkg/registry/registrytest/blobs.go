package registrytest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"testing"

	"github.com/pierless/pierless/pkg/registry"
)

// Blobs runs the contract of registry.Blobs as parallel subtests. open returns the port
// over one store; a subtest that plays another process, or a crash, calls open again. A
// store with direct uploads must implement Clock, too.
func Blobs(t *testing.T, open func(t *testing.T) registry.Blobs) {
	t.Helper()
	run(t, open, []contractTest{
		{"Put", testBlobPut},
		{"PutRace", testPutRace},
		{"Ranges", testRanges},
		{"Delete", testBlobDelete},
		{"Presign", testPresign},
		{"Uploads", testUploads},
		{"ShortReads", testShortReads},
		{"CompleteTwice", testCompleteTwice},
		{"CompleteTaken", testCompleteTaken},
		{"CompleteRace", testCompleteRace},
		{"BodyFails", testBodyFails},
		{"Crashes", testCrashes},
		{"ZombieBeside", testZombieBeside},
		{"ZombieBlocked", testZombieBlocked},
		{"ZombieAfterComplete", testZombieAfterComplete},
		{"NumbersComeBack", testNumbersComeBack},
		{"ExtendedClaim", testExtendedClaim},
		{"Discard", testDiscard},
		{"DiscardKeeps", testDiscardKeeps},
	})
	Direct(t, open)
}

// Direct runs the part of Blobs for registry.Direct, with real requests if the store
// supports it.
func Direct(t *testing.T, open func(t *testing.T) registry.Blobs) {
	t.Helper()
	run(t, open, []contractTest{
		{"Stat", testStat},
		{"DirectNone", testDirectNone},
		{"DirectPut", testDirectPut},
		{"DirectPutRace", testDirectPutRace},
		{"DirectPutTaken", testDirectPutTaken},
		{"DirectPutMisused", testDirectPutMisused},
		{"DirectPutEncoded", testDirectPutEncoded},
		{"DirectPutHeaders", testDirectPutHeaders},
		{"DirectParts", testDirectParts},
		{"DirectPartMisused", testDirectPartMisused},
		{"DirectPartsAgain", testDirectPartsAgain},
		{"DirectPartsChecked", testDirectPartsChecked},
		{"DirectPartsTaken", testDirectPartsTaken},
		{"DirectPartsDiscard", testDirectPartsDiscard},
	})
}

type contractTest struct {
	name string
	run  func(upload)
}

func run(t *testing.T, open func(t *testing.T) registry.Blobs, tests []contractTest) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(newUpload(t, open))
		})
	}
}

// partsPerClaim leaves room for bodies of 33 MiB in parts of 5 MiB, and for 400
// claims of S3's 10,000 parts.
const partsPerClaim = 25

// claimer gives out claims on one key as the rules do: fresh nonces, and part
// numbers from 1 that no other claim has.
type claimer struct{ given int64 }

func (c *claimer) claim() registry.Claim { return c.claimOf(partsPerClaim) }

func (c *claimer) claimOf(count int64) registry.Claim {
	return registry.Claim{Nonce: rand.Text(), First: c.more(count), Count: count}
}

func (c *claimer) more(count int64) (first int64) {
	c.given += count
	return c.given - count + 1
}

// giveBack takes the unused numbers of the last claim back.
func (c *claimer) giveBack(ended registry.Stored) { c.given -= ended.Unused }

// upload is a Blobs under test with one key, and helpers that fail the test.
type upload struct {
	registry.Blobs
	t      *testing.T
	open   func(t *testing.T) registry.Blobs
	key    string
	claims *claimer
}

func newUpload(t *testing.T, open func(t *testing.T) registry.Blobs) upload {
	t.Helper()
	return upload{open(t), t, open, randomKey(), &claimer{}}
}

// another returns an upload of another key to the same store.
func (u upload) another() upload {
	u.key, u.claims = randomKey(), &claimer{}
	return u
}

// restarted returns the same upload in a process that has just begun.
func (u upload) restarted() upload {
	u.Blobs = u.open(u.t)
	return u
}

// random returns content that compresses to nothing and is unlike any other.
func random(size int) []byte {
	content, key := make([]byte, size), make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // for another length of the key only
	}
	cipher.NewCTR(block, key[:aes.BlockSize]).XORKeyStream(content, content)
	return content
}

// stream hides all of a reader but Read, as the body of a request does.
type stream struct{ io.Reader }

// append appends content to a state, and fails the test on error.
func (u upload) append(stored registry.Stored, content []byte) registry.Stored {
	u.t.Helper()
	after, err := u.Append(u.t.Context(), u.key, u.claims.claim(), stored, stream{bytes.NewReader(content)})
	if err != nil {
		u.t.Fatalf("append %d bytes to %d: %v", len(content), stored.Size, err)
	}
	if after.Size != stored.Size+int64(len(content)) {
		u.t.Fatalf("size is %d after %d bytes were appended to %d", after.Size, len(content), stored.Size)
	}
	return after
}

// complete completes the upload and checks its content.
func (u upload) complete(stored registry.Stored, want []byte) {
	u.t.Helper()
	if err := u.Complete(u.t.Context(), u.key, stored); err != nil {
		u.t.Fatalf("complete %d bytes: %v", stored.Size, err)
	}
	u.holds(want)
}

// holds fails unless the key has this content.
func (u upload) holds(want []byte) {
	u.t.Helper()
	have := u.read(0, -1, len(want))
	if len(have) != len(want) || sha256.Sum256(have) != sha256.Sum256(want) {
		u.t.Errorf("content has %d bytes, want %d; the first difference is at %d", len(have), len(want), differs(have, want))
	}
}

// empty fails unless the key has no content.
func (u upload) empty() {
	u.t.Helper()
	if r, err := u.Open(u.t.Context(), u.key, 0, -1); !errors.Is(err, registry.ErrNoContent) {
		u.t.Errorf("open returned %v, want ErrNoContent", err)
		if err == nil {
			r.Close()
		}
	}
}

// read reads a range of the content, of which it expects a number of bytes.
func (u upload) read(offset, length int64, expected int) []byte {
	u.t.Helper()
	r, err := u.Open(u.t.Context(), u.key, offset, length)
	if err != nil {
		u.t.Fatalf("open: %v", err)
	}
	have := bytes.NewBuffer(make([]byte, 0, expected+bytes.MinRead))
	_, err = have.ReadFrom(stream{r})
	if err := errors.Join(err, r.Close()); err != nil {
		u.t.Fatalf("read: %v", err)
	}
	return have.Bytes()
}

// taken fails unless err is ErrTaken.
func (u upload) taken(what string, err error) {
	u.t.Helper()
	if !errors.Is(err, registry.ErrTaken) {
		u.t.Errorf("%s: %v, want ErrTaken", what, err)
	}
}

func differs(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func join(contents ...[]byte) []byte { return bytes.Join(contents, nil) }

const mib = 1 << 20

// testUploads goes through the sizes at which S3's rules change.
func testUploads(u upload) {
	for _, sizes := range [][]int{
		{},
		{0},
		{0, 0},
		{1},
		{4 * mib},
		{5*mib - 1},
		{5 * mib},
		{5*mib + 1},
		{12 * mib},
		{33 * mib},
		{1, 1, 1},
		{0, 7, 0},
		{4 * mib, 4 * mib, 100, 4*mib + 12345},
		{5*mib - 1, 1, 5*mib + 1},
		{5 * mib, 5 * mib, 0, 5 * mib},
		{12 * mib, 1, 12*mib + 1, 4*mib - 1},
		{1, 11 * mib, 1},
	} {
		u.t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			t.Parallel()
			u := newUpload(t, u.open)
			var stored registry.Stored
			var content []byte
			for _, size := range sizes {
				piece := random(size)
				stored = u.append(stored, piece)
				content = append(content, piece...)
			}
			u.empty()
			u.complete(stored, content)
			half := len(content) / 2
			if !bytes.Equal(u.read(int64(half), -1, len(content)-half), content[half:]) {
				t.Error("the second half differs")
			}
		})
	}
}

// testShortReads has a body that comes in pieces of odd sizes.
func testShortReads(u upload) {
	content := random(11*mib + 77)
	body := &trickle{content: content}
	stored, err := u.Append(u.t.Context(), u.key, u.claims.claim(), registry.Stored{}, body)
	if err != nil || stored.Size != int64(len(content)) {
		u.t.Fatalf("size %d, %v", stored.Size, err)
	}
	u.complete(stored, content)
}

// trickle returns from 0 to 64 KiB at a time, and the end together with the last
// bytes, all of which an io.Reader may do.
type trickle struct{ content []byte }

func (r *trickle) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), mathrand.IntN(64<<10))], r.content)
	r.content = r.content[n:]
	if len(r.content) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func testRanges(u upload) {
	content := random(100_000)
	if err := u.Put(u.t.Context(), u.key, content); err != nil {
		u.t.Fatal(err)
	}
	for _, r := range []struct{ offset, length, end int64 }{
		{0, -1, 100_000},
		{0, 100_000, 100_000},
		{0, 1, 1},
		{0, 0, 0},
		{1, 99_998, 99_999},
		{50_000, 100, 50_100},
		{50_000, -1, 100_000},
		{50_000, 50_000, 100_000},
		{50_000, 0, 50_000},
		{99_999, 1, 100_000},
		{99_999, -1, 100_000},
		{100_000, -1, 100_000},
		{100_000, 0, 100_000},
	} {
		if !bytes.Equal(u.read(r.offset, r.length, 0), content[r.offset:r.end]) {
			u.t.Errorf("%d bytes from %d differ", r.length, r.offset)
		}
	}
	r, err := u.Open(u.t.Context(), u.key, 10, 60_000)
	if err != nil {
		u.t.Fatal(err)
	}
	var sent bytes.Buffer
	if n, err := io.Copy(&sent, r); n != 60_000 || err != nil || !bytes.Equal(sent.Bytes(), content[10:60_010]) {
		u.t.Errorf("io.Copy of a range: %d bytes, %v", n, err)
	}
	if err := r.Close(); err != nil {
		u.t.Error(err)
	}
}

func testBlobDelete(u upload) {
	u.empty()
	if err := u.Delete(u.t.Context(), u.key); err != nil {
		u.t.Errorf("delete of nothing: %v", err)
	}
	if err := u.Put(u.t.Context(), u.key, []byte("content")); err != nil {
		u.t.Fatal(err)
	}
	other := u.another()
	if err := other.Put(u.t.Context(), other.key, []byte("other")); err != nil {
		u.t.Fatal(err)
	}
	for range 2 {
		if err := u.Delete(u.t.Context(), u.key); err != nil {
			u.t.Errorf("delete: %v", err)
		}
		u.empty()
		u.restarted().empty()
	}
	other.holds([]byte("other"))
}
