package proxy

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

// TestTurnThatEndsLate: a request that was taken over may still come to its end, with a
// blob in the registry. The one that took over must not write on, into a new file in
// which the first bytes are missing.
func TestTurnThatEndsLate(t *testing.T) {
	spool, err := openSpool(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer spool.close()
	s := &session{spool: spool, hashes: newHashes(oci.SHA256), used: time.Now()}
	d := oci.SHA256.FromBytes([]byte("abc"))
	first, err := s.take(t.Context(), -1, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(first.write([]byte("abc")), first.keep()); err != nil {
		t.Fatal(err)
	}
	second, err := s.take(t.Context(), 3, "")
	if err != nil {
		t.Fatal(err)
	}
	first.close(d)
	first.end()
	unknown := &oci.Error{Code: oci.BlobUploadUnknown}
	if err := second.write([]byte("def")); !errors.Is(err, unknown) {
		t.Errorf("write: %v", err)
	}
	if err := second.keep(); !errors.Is(err, unknown) {
		t.Errorf("keep: %v", err)
	}
	second.end()
	if s.file != nil || spool.used != 0 || s.closed() != d {
		t.Errorf("%d bytes are left of a session that is %q", spool.used, s.closed())
	}
}

// TestBrokenBody: the error says how much of the request's own body came.
func TestBrokenBody(t *testing.T) {
	spool, err := openSpool(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer spool.close()
	s := &session{spool: spool, hashes: newHashes(oci.SHA256), used: time.Now()}
	turn, err := s.take(t.Context(), -1, "")
	if err != nil {
		t.Fatal(err)
	}
	defer turn.end()
	if err := turn.read(strings.NewReader("abc"), 3); err != nil {
		t.Fatal(err)
	}
	err = turn.read(io.MultiReader(strings.NewReader("defg"), iotest.ErrReader(errors.New("cut"))), -1)
	if err == nil || !strings.Contains(err.Error(), "after 4 bytes") {
		t.Errorf("got %v", err)
	}
}

// TestNewHashes: sha512 runs only for a client that announced it.
func TestNewHashes(t *testing.T) {
	for announced, want := range map[oci.Algorithm]int{"": 1, oci.SHA256: 1, oci.SHA512: 2} {
		if hs := newHashes(announced); len(hs) != want {
			t.Errorf("%q: %d hashes run, want %d", announced, len(hs), want)
		}
	}
}
