package s3blobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/registry"
)

var errGone = errors.New("the client is gone")

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// then is a body that ends with an error, after do.
func then(content []byte, do func()) io.Reader {
	return io.MultiReader(bytes.NewReader(content), readerFunc(func([]byte) (int, error) {
		do()
		return 0, errGone
	}))
}

// begun returns an upload that has one part of 5 MiB.
func begun(t *testing.T, blobs *Blobs) registry.Stored {
	t.Helper()
	stored, err := blobs.Append(t.Context(), "key", registry.Claim{Nonce: "0", Count: 7}, registry.Stored{}, bytes.NewReader(make([]byte, minPart)))
	if err != nil || stored.Unused != 7 {
		t.Fatalf("%+v, %v", stored, err)
	}
	return stored
}

// TestNumbersGoBack: what an Append did not use, and after a failure all that cannot
// arrive any more.
func TestNumbersGoBack(t *testing.T) {
	t.Parallel()
	const count = 9
	for name, test := range map[string]struct {
		parts  int // whole ones
		broken bool
		fail   func(call string, number string, count int, w http.ResponseWriter) bool
		want   int64
	}{
		"recorded":     {parts: 3, want: count - 3},
		"nothing sent": {broken: true, want: count},
		"broken off":   {parts: 3, broken: true, want: count},
		"sent twice": {parts: 3, broken: true, want: count - 2, fail: func(_, number string, times int, w http.ResponseWriter) bool {
			return number == "3" && times == 1 && refuse(w, http.StatusServiceUnavailable, "SlowDown")
		}},
		"refused": {parts: 3, want: count - 1, fail: func(_, number string, _ int, w http.ResponseWriter) bool {
			return number == "2" && refuse(w, http.StatusForbidden, "AccessDenied")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			fake, blobs := newFake(t, func(o *Options) { o.Parallel = 1 })
			stored := begun(t, blobs)
			if test.fail != nil {
				var mu sync.Mutex
				seen := map[string]int{}
				fake.fail = func(call string, _ int, w http.ResponseWriter, r *http.Request) bool {
					number := r.FormValue("partNumber")
					mu.Lock()
					seen[number]++
					times := seen[number]
					mu.Unlock()
					return call == "part" && test.fail(call, number, times, w)
				}
			}
			body := io.Reader(bytes.NewReader(make([]byte, test.parts*smallPart)))
			if test.broken {
				body = then(make([]byte, test.parts*smallPart+1000), func() {})
			}
			after, err := blobs.Append(t.Context(), "key", registry.Claim{Nonce: "n", Count: count}, stored, body)
			if failed := err != nil; failed != (test.broken || name == "refused") {
				t.Error(err)
			}
			if after.Unused != test.want {
				t.Errorf("%d go back, want %d", after.Unused, test.want)
			}
		})
	}
}

// TestPartsSettleForAClientThatWent: the parts that are under way may arrive, so that
// their numbers go back.
func TestPartsSettleForAClientThatWent(t *testing.T) {
	t.Parallel()
	fake, blobs := newFake(t, nil)
	stored := begun(t, blobs)
	sending, gone := make(chan struct{}), make(chan struct{})
	fake.fail = func(call string, _ int, _ http.ResponseWriter, _ *http.Request) bool {
		if call == "part" {
			close(sending)
			<-gone
		}
		return false
	}
	ctx, cancel := context.WithCancel(t.Context())
	body := then(make([]byte, smallPart+1), func() {
		<-sending
		cancel()
		close(gone)
	})
	after, err := blobs.Append(ctx, "key", registry.Claim{Nonce: "n", Count: 9}, stored, body)
	if !errors.Is(err, errGone) && !errors.Is(err, context.Canceled) || after.Unused != 9 {
		t.Errorf("%+v, %v", after, err)
	}
}

// TestPartsEndAtADeadline: then there is no time to wait for them.
func TestPartsEndAtADeadline(t *testing.T) {
	t.Parallel()
	fake, blobs := newFake(t, nil)
	stored := begun(t, blobs)
	stop := make(chan struct{})
	defer close(stop)
	fake.fail = func(call string, _ int, _ http.ResponseWriter, r *http.Request) bool {
		if call == "part" {
			_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client gave up
			select {
			case <-r.Context().Done():
			case <-stop:
			}
		}
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	after, err := blobs.Append(ctx, "key", registry.Claim{Nonce: "n", Count: 9}, stored, bytes.NewReader(make([]byte, smallPart)))
	if err == nil || after.Unused != 8 {
		t.Errorf("%+v, %v", after, err)
	}
	if took := time.Since(began); took > settleTime {
		t.Errorf("took %v", took)
	}
}

// stalled appends a body that stalls after some bytes, and returns when it does. Its end
// comes on release; the error, on the channel.
func stalled(t *testing.T, blobs *Blobs, key string, size int, release chan struct{}) (ended chan error) {
	t.Helper()
	reached := make(chan struct{})
	ended = make(chan error, 1)
	body := io.MultiReader(bytes.NewReader(make([]byte, size)), readerFunc(func([]byte) (int, error) {
		close(reached)
		<-release
		return 0, io.EOF
	}))
	go func() {
		_, err := blobs.Append(t.Context(), key, registry.Claim{Nonce: "n", Count: 9}, registry.Stored{}, body)
		ended <- err
	}()
	select {
	case <-reached:
	case err := <-ended:
		ended <- err
	}
	return ended
}

// TestMemoryIsBounded: clients that stall at the beginning of a part hold no buffer, those
// that stall later hold all there are; then others wait, and are refused.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	fake, blobs := newFake(t, func(o *Options) { o.Memory, o.MemoryWait = largePart, 50*time.Millisecond })
	release := make(chan struct{})
	var ended []chan error
	for range 60 {
		ended = append(ended, stalled(t, blobs, "key", firstRead-1, release))
	}
	large := func() error {
		_, err := blobs.Append(t.Context(), "other", registry.Claim{Nonce: "n"}, registry.Stored{}, bytes.NewReader(make([]byte, 3*smallPart)))
		return err
	}
	if err := large(); err != nil {
		t.Fatalf("beside clients that sent little: %v", err)
	}
	for range largePart / smallPart {
		ended = append(ended, stalled(t, blobs, "key", firstRead+1, release))
	}
	before := fake.called("part")
	if err := large(); !errors.Is(err, registry.ErrBusy) || fake.called("part") != before {
		t.Errorf("beside clients that hold all memory: %v", err)
	}
	_, err := blobs.Append(t.Context(), "small", registry.Claim{Nonce: "n"}, registry.Stored{}, strings.NewReader("small"))
	if err != nil {
		t.Errorf("a small body: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errGone)
	if _, _, err := blobs.buffers.take(ctx, smallPart); !errors.Is(err, errGone) {
		t.Errorf("a client that has gone: %v", err)
	}
	close(release)
	for _, e := range ended {
		if err := <-e; err != nil {
			t.Error(err)
		}
	}
	if err := large(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if !blobs.buffers.bytes.TryAcquire(largePart) {
		t.Error("memory is lost")
	}
}

// TestMemoryComesBack, however an Append ends.
func TestMemoryComesBack(t *testing.T) {
	t.Parallel()
	fake, blobs := newFake(t, func(o *Options) { o.Memory = largePart })
	appendOf := func(stored registry.Stored, body io.Reader, claim registry.Claim) {
		_, _ = blobs.Append(t.Context(), "key", claim, stored, body)
		if !blobs.buffers.bytes.TryAcquire(largePart) {
			t.Fatal("memory is lost")
		}
		blobs.buffers.bytes.Release(largePart)
	}
	stored := begun(t, blobs)
	withTail, err := blobs.Append(t.Context(), "key", registry.Claim{Nonce: "t"}, stored, strings.NewReader("tail"))
	if err != nil {
		t.Fatal(err)
	}
	plenty := registry.Claim{Nonce: "n", Count: 9}
	appendOf(registry.Stored{}, bytes.NewReader(make([]byte, smallPart+1<<20)), plenty)
	appendOf(stored, bytes.NewReader(make([]byte, smallPart+1<<20)), registry.Claim{Nonce: "n", Count: 1})
	appendOf(stored, then(make([]byte, smallPart+1<<20), func() {}), plenty)
	for _, call := range []string{"part", "create", http.MethodPut, http.MethodGet} {
		fake.fail = func(c string, _ int, w http.ResponseWriter, _ *http.Request) bool {
			return c == call && refuse(w, http.StatusForbidden, "AccessDenied")
		}
		for _, s := range []registry.Stored{{}, stored, withTail} {
			appendOf(s, bytes.NewReader(make([]byte, 1<<20)), plenty)
			appendOf(s, bytes.NewReader(make([]byte, smallPart)), plenty)
		}
	}
}

// TestConflict: S3 answers 409 where another write of the key is under way. Completing
// again tells whether the upload is still there.
func TestConflict(t *testing.T) {
	t.Parallel()
	fake, blobs := newFake(t, nil)
	fake.fail = func(call string, count int, w http.ResponseWriter, r *http.Request) bool {
		if call == "complete" && count == 2 {
			return refuse(w, http.StatusNotFound, codeNoUpload)
		}
		return (call == "complete" || r.Header.Get("If-None-Match") != "") && refuse(w, http.StatusConflict, codeConflict)
	}
	if err := blobs.Put(t.Context(), "key", []byte("content")); !errors.Is(err, registry.ErrContended) {
		t.Errorf("put: %v", err)
	}
	if err := blobs.Complete(t.Context(), "key", registry.Stored{}); !errors.Is(err, registry.ErrContended) {
		t.Errorf("complete nothing: %v", err)
	}
	stored := begun(t, blobs)
	if err := blobs.Complete(t.Context(), "key", stored); !errors.Is(err, registry.ErrContended) {
		t.Errorf("complete: %v", err)
	}
	if err := blobs.Complete(t.Context(), "key", stored); !errors.Is(err, registry.ErrTaken) {
		t.Errorf("complete again: %v", err)
	}
}
