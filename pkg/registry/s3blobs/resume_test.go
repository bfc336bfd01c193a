package s3blobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/registry"
)

// numbered is content in which each place is unlike the others.
func numbered(size int) []byte {
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return content
}

// TestReadGoesOn: wherever S3 breaks off, the reader gets the bytes that it asked for.
func TestReadGoesOn(t *testing.T) {
	t.Parallel()
	content := numbered(3 << 20)
	for name, test := range map[string]struct {
		offset, length int64
		cut            int
		calls          int
	}{
		"not broken off":           {0, -1, -1, 1},
		"whole":                    {0, -1, 1 << 20, 3},
		"from an offset":           {1 << 20, -1, 1 << 20, 2},
		"a range":                  {1 << 20, 3 << 19, 1 << 20, 2},
		"after the last byte":      {0, 1 << 20, 1 << 20, 1},
		"before the first, always": {0, -1, 0, 1 + resumeTries},
		"no progress":              {0, -1, 1000, 1 + resumeTries},
	} {
		t.Run(name, func(t *testing.T) {
			fake, blobs := newFake(t, nil)
			fake.put("blobs/key", content)
			fake.cut = func(int) int { return test.cut }
			r, err := blobs.Open(t.Context(), "key", test.offset, test.length)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			have, err := io.ReadAll(r)
			want := content[test.offset:]
			if test.length >= 0 {
				want = want[:test.length]
			}
			if test.calls > resumeTries {
				if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, registry.ErrUnavailable) || !bytes.HasPrefix(want, have) {
					t.Errorf("%d bytes, %v", len(have), err)
				}
			} else if err != nil || !bytes.Equal(have, want) {
				t.Errorf("%d bytes, %v", len(have), err)
			}
			if calls := fake.called(http.MethodGet); calls != test.calls {
				t.Errorf("%d calls, want %d", calls, test.calls)
			}
		})
	}
}

// TestReadGoesOnInOneObject: bytes of another object never follow those of the first,
// and neither do other bytes than were asked for.
func TestReadGoesOnInOneObject(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fakeS3, *http.Request){
		"another object": func(f *fakeS3, _ *http.Request) { f.put("blobs/key", make([]byte, 1<<20)) },
		"a server that knows no ranges": func(_ *fakeS3, r *http.Request) {
			r.Header.Del("Range")
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake, blobs := newFake(t, nil)
			content := numbered(1 << 20)
			fake.put("blobs/key", content)
			fake.cut = func(count int) int { return []int{1000, -1}[min(count, 2)-1] }
			fake.fail = func(_ string, count int, _ http.ResponseWriter, r *http.Request) bool {
				if count > 1 {
					change(fake, r)
				}
				return false
			}
			r, err := blobs.Open(t.Context(), "key", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if have, err := io.ReadAll(r); err == nil || !bytes.HasPrefix(content, have) {
				t.Errorf("%d bytes, %v", len(have), err)
			}
		})
	}
}

// TestReadEndsWithItsContext: nothing goes on for a caller that has gone.
func TestReadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	fake, blobs := newFake(t, nil)
	fake.put("blobs/key", numbered(1<<20))
	fake.cut = func(int) int { return 1000 }
	ctx, cancel := context.WithCancel(t.Context())
	r, err := blobs.Open(ctx, "key", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) || fake.called(http.MethodGet) != 1 {
		t.Errorf("%v after %d calls", err, fake.called(http.MethodGet))
	}
}

// TestTailIsReadAgain: a tail that breaks off is read again, and compared with its
// checksum all the same.
func TestTailIsReadAgain(t *testing.T) {
	t.Parallel()
	tail := numbered(1 << 20)
	for name, test := range map[string]struct {
		cuts   []int
		damage bool
		calls  int
		ok     bool
	}{
		"whole":             {[]int{-1}, false, 1, true},
		"broken off":        {[]int{1000, 0, -1}, false, 3, true},
		"always":            {[]int{1000}, false, tailTries, false},
		"damaged":           {[]int{-1}, true, tailTries, false},
		"at the very end":   {[]int{1 << 20, -1}, false, 1, true},
		"of another length": {[]int{-1}, false, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			fake, blobs := newFake(t, nil)
			stored, err := blobs.Append(t.Context(), "key", registry.Claim{Nonce: "n"}, registry.Stored{}, bytes.NewReader(tail))
			if err != nil {
				t.Fatal(err)
			}
			if name == "of another length" {
				fake.put("tails/key/n", tail[1:])
			}
			fake.cut = func(count int) int { return test.cuts[min(count, len(test.cuts))-1] }
			if test.damage {
				fake.fail = func(call string, _ int, w http.ResponseWriter, r *http.Request) bool {
					if call == http.MethodGet {
						w.Header().Set("X-Amz-Checksum-Crc32", crc(tail))
						w.Header().Set("Content-Length", strconv.Itoa(len(tail)))
						_, _ = w.Write(append([]byte{^tail[0]}, tail[1:]...))
					}
					return call == http.MethodGet
				}
			}
			_, err = blobs.Append(t.Context(), "key", registry.Claim{Nonce: "m"}, stored, strings.NewReader("x"))
			if (err == nil) != test.ok || fake.called(http.MethodGet) != test.calls {
				t.Fatalf("%v after %d calls", err, fake.called(http.MethodGet))
			}
			if errors.Is(err, registry.ErrUnavailable) != (name == "always") {
				t.Errorf("a later attempt helps against broken connections only: %v", err)
			}
			if test.ok && !bytes.Equal(fake.get("/bucket/tails/key/m"), append(bytes.Clone(tail), 'x')) {
				t.Error("the new tail is another")
			}
		})
	}
}
