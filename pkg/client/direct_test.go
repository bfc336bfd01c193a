package client_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
)

const mib = 1 << 20

// pushDirect pushes content and fails the test unless it went straight to the store.
func pushDirect(t *testing.T, r *client.Repository, b client.Blob) {
	t.Helper()
	seen := &progress{}
	b.Progress = seen.add
	got, err := r.PushBlob(t.Context(), b)
	if err != nil || got != (client.PushResult{Method: client.Direct, Sent: b.Size}) {
		t.Fatalf("pushed %+v, %v; want %d bytes direct", got, err, b.Size)
	}
	if seen.sum != b.Size || seen.low < 0 {
		t.Errorf("progress %d, at its lowest %d; want %d", seen.sum, seen.low, b.Size)
	}
}

func TestDirectPut(t *testing.T) {
	address, s := newDirectRegistry(t)
	r := newRepository(t, address, "a", client.Options{Authorization: "Basic c2VjcmV0"})
	for i, size := range []int{4*mib + 1, 20 * mib} {
		content := randomBytes(uint64(i), size)
		pushDirect(t, r, fileOf(t, content))
		wantBlob(t, r, content)
		if got, err := r.PushBlob(t.Context(), blobOf(content)); err != nil || got != (client.PushResult{Method: client.Existed}) {
			t.Errorf("again: %+v, %v", got, err)
		}
	}
	if s.putCount() != 2 {
		t.Errorf("%d requests to the store, want 2", s.putCount())
	}
}

// TestDirectPutFaults: whatever happens to the first requests to the store, the blob
// arrives, and no byte is counted twice.
func TestDirectPutFaults(t *testing.T) {
	const size = 5 * mib
	for name, before := range map[string]func(s *store, w http.ResponseWriter, r *http.Request) bool{
		"cut in the middle": func(_ *store, w http.ResponseWriter, r *http.Request) bool { hangUp(w, r, size/2); return true },
		"cut at once":       func(_ *store, w http.ResponseWriter, r *http.Request) bool { hangUp(w, r, 0); return true },
		"lost answer": func(s *store, w http.ResponseWriter, r *http.Request) bool {
			s.put(httptest.NewRecorder(), r)
			hangUp(w, r, 0)
			return true
		},
		"slow down": func(_ *store, w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, http.StatusServiceUnavailable, "SlowDown")
			return true
		},
		"time-out": func(_ *store, w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, http.StatusBadRequest, "RequestTimeout")
			return true
		},
		"conflict": func(_ *store, w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, http.StatusConflict, "ConditionalRequestConflict")
			return true
		},
		"expired": func(s *store, _ http.ResponseWriter, r *http.Request) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.expired[r.URL.Path] = true
			return false
		},
	} {
		for kind, make := range map[string]func(*testing.T, []byte) client.Blob{
			"file":   func(t *testing.T, b []byte) client.Blob { return fileOf(t, b) },
			"memory": func(_ *testing.T, b []byte) client.Blob { return blobOf(b) },
		} {
			t.Run(name+" from "+kind, func(t *testing.T) {
				t.Parallel() // the server waits for connections that break
				address, s := newDirectRegistry(t)
				s.before = func(w http.ResponseWriter, r *http.Request, n int) bool { return n <= 2 && before(s, w, r) }
				content := randomBytes(7, size)
				r := newRepository(t, address, "a", client.Options{})
				pushDirect(t, r, make(t, content))
				wantBlob(t, r, content)
			})
		}
	}
}

// TestDirectGivesUp: a store that never takes the bytes ends in an error that shows no
// URL, and the upload is cancelled.
func TestDirectGivesUp(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		code   string
	}{
		"forbidden": {http.StatusForbidden, "AccessDenied"}, "broken": {http.StatusInternalServerError, "InternalError"}, "gone": {http.StatusNotFound, "NoSuchBucket"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the server waits for connections that break
			address, s := newDirectRegistry(t)
			s.before = func(w http.ResponseWriter, _ *http.Request, _ int) bool { refuse(w, tt.status, tt.code); return true }
			f := &faults{pick: func(*http.Request, int) fault { return none }}
			r := newRepository(t, address, "a", client.Options{Transport: f})
			_, err := r.PushBlob(t.Context(), blobOf(randomBytes(1, 5*mib)))
			var refused *client.StoreError
			if !errors.As(err, &refused) || refused.Status != tt.status || refused.Code != tt.code {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "X-Sig") || strings.Contains(err.Error(), "?") {
				t.Errorf("the message shows the URL: %v", err)
			}
			if all := f.requests(); !strings.HasPrefix(all[len(all)-1], "DELETE /v2/a/_pierless/uploads/") {
				t.Errorf("the last request is %q, want the upload cancelled", all[len(all)-1])
			}
		})
	}
}

// TestDirectWrongBytes: the store refuses other bytes, and they are not sent twice.
func TestDirectWrongBytes(t *testing.T) {
	address, s := newDirectRegistry(t)
	r := newRepository(t, address, "a", client.Options{})
	b := blobOf(randomBytes(1, 5*mib))
	b.Digest = oci.SHA256.FromBytes([]byte("other"))
	if _, err := r.PushBlob(t.Context(), b); !errors.Is(err, client.ErrContent) {
		t.Errorf("other bytes give %v", err)
	}
	if s.putCount() != 1 {
		t.Errorf("sent %d times", s.putCount())
	}
	b.Parts = true
	if _, err := r.PushBlob(t.Context(), b); !errors.Is(err, client.ErrContent) || !errors.Is(err, &oci.Error{Code: oci.DigestInvalid}) {
		t.Errorf("other bytes in parts give %v", err)
	}
	if _, err := r.BlobSize(t.Context(), b.Digest); !errors.Is(err, &oci.Error{Code: oci.BlobUnknown}) {
		t.Errorf("something is visible: %v", err)
	}
}

// TestDirectCutsBecomeParts: a large blob that does not get through in one piece is
// offered again in parts.
func TestDirectCutsBecomeParts(t *testing.T) {
	address, s := newDirectRegistry(t)
	s.before = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if !strings.Contains(r.URL.Path, "/put/") {
			return false
		}
		hangUp(w, r, mib)
		return true
	}
	content := randomBytes(1, 65*mib)
	r := newRepository(t, address, "a", client.Options{})
	pushDirect(t, r, fileOf(t, content))
	wantBlob(t, r, content)
	if s.putCount() != 2+5 {
		t.Errorf("%d requests to the store, want two in one piece and five parts", s.putCount())
	}
}

// memory is a Resume for one test.
type memory struct {
	mu  sync.Mutex
	ids map[oci.Digest]string
}

func (m *memory) Load(_, _ string, d oci.Digest) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ids[d]
}

func (m *memory) Save(_, _ string, d oci.Digest, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ids[d] = id; id == "" {
		delete(m.ids, d)
	}
	return nil
}

func TestDirectParts(t *testing.T) {
	address, s := newDirectRegistry(t)
	kept := &memory{ids: map[oci.Digest]string{}}
	r := newRepository(t, address, "a", client.Options{Resume: kept, MultipartThreshold: 30 * mib})
	// Each part fails once, in one of several ways.
	failed := map[string]bool{}
	s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
		s.mu.Lock()
		number := r.URL.Path[strings.LastIndex(r.URL.Path, "/"):]
		first := !failed[number]
		failed[number] = true
		s.mu.Unlock()
		if !first {
			return false
		}
		switch n % 3 {
		case 0:
			hangUp(w, r, mib)
		case 1:
			refuse(w, http.StatusForbidden, "AccessDenied")
		default:
			refuse(w, http.StatusServiceUnavailable, "SlowDown")
		}
		return true
	}
	content := randomBytes(1, 49*mib)
	pushDirect(t, r, fileOf(t, content))
	wantBlob(t, r, content)
	if s.putCount() != 8 || len(kept.ids) != 0 || s.left() != 0 {
		t.Errorf("%d requests to the store, want two for each of four parts; kept %v; %d uploads left", s.putCount(), kept.ids, s.left())
	}
}

// TestDirectPartsResume: another process sends only the missing parts.
func TestDirectPartsResume(t *testing.T) {
	address, s := newDirectRegistry(t)
	kept := &memory{ids: map[oci.Digest]string{}}
	content := randomBytes(1, 65*mib) // 5 parts
	b := fileOf(t, content)
	b.Parts = true
	var kept3 sync.WaitGroup
	kept3.Add(3)
	s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n <= 3 {
			s.put(w, r)
			kept3.Done()
			return true
		}
		kept3.Wait()
		refuse(w, http.StatusNotFound, "NoSuchBucket") // nothing to wait for
		return true
	}
	if _, err := newRepository(t, address, "a", client.Options{Resume: kept}).PushBlob(t.Context(), b); err == nil {
		t.Fatal("pushed to a store that refuses")
	}
	if len(kept.ids) != 1 {
		t.Fatalf("%d uploads are remembered", len(kept.ids))
	}
	s.mu.Lock()
	s.before = nil
	s.mu.Unlock()
	r := newRepository(t, address, "a", client.Options{Resume: kept})
	seen := &progress{}
	b.Progress = seen.add
	got, err := r.PushBlob(t.Context(), b)
	if err != nil || got.Method != client.Direct {
		t.Fatalf("%+v, %v", got, err)
	}
	if want := b.Size - 3*16*mib; got.Sent != want || seen.sum != want {
		t.Errorf("sent %d bytes, reported %d, want the %d that were not there", got.Sent, seen.sum, want)
	}
	wantBlob(t, r, content)
	if len(kept.ids) != 0 {
		t.Errorf("remembered after the end: %v", kept.ids)
	}
}

// TestDirectResumeUnknown: an id that leads nowhere is forgotten, and the blob is pushed.
func TestDirectResumeUnknown(t *testing.T) {
	address, _ := newDirectRegistry(t)
	content := randomBytes(1, 20*mib)
	b := blobOf(content)
	b.Parts = true
	for name, id := range map[string]string{"ended": strings.Repeat("0", 64), "no id": "../../x"} {
		kept := &memory{ids: map[oci.Digest]string{b.Digest: id}}
		r := newRepository(t, address, strings.ReplaceAll(name, " ", "-"), client.Options{Resume: kept})
		if got, err := r.PushBlob(t.Context(), b); err != nil || len(kept.ids) != 0 {
			t.Errorf("%s: %+v, %v; remembered %v", name, got, err, kept.ids)
		}
	}
}

// TestDirectResumeVerifying: a push that was interrupted during the verification is resumed there.
func TestDirectResumeVerifying(t *testing.T) {
	ctx := t.Context()
	address, s := newDirectRegistry(t)
	content := randomBytes(1, 20*mib)
	b := blobOf(content)
	b.Parts = true
	kept := &memory{ids: map[oci.Digest]string{}}
	f := &faults{pick: func(req *http.Request, _ int) fault {
		if strings.Contains(req.URL.Path, "/verifications/") {
			return unavailable
		}
		return none
	}}
	if _, err := newRepository(t, address, "a", client.Options{Resume: kept, Transport: f}).PushBlob(ctx, b); !errors.Is(err, &oci.Error{Code: oci.Unavailable}) {
		t.Fatalf("got %v", err)
	}
	before := s.putCount()
	r := newRepository(t, address, "a", client.Options{Resume: kept})
	if got, err := r.PushBlob(ctx, b); err != nil || got != (client.PushResult{Method: client.Direct}) || s.putCount() != before {
		t.Errorf("%+v, %v; %d more requests to the store", got, err, s.putCount()-before)
	}
	wantBlob(t, r, content)
}

// TestDirectNotOffered: a registry that takes no direct uploads is asked once.
func TestDirectNotOffered(t *testing.T) {
	inner := newRegistry(t) // with ServeBlobs
	unknowing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "_pierless") {
			http.Error(w, "<html>what?</html>", http.StatusMethodNotAllowed)
			return
		}
		inner.ServeHTTP(w, r)
	})
	for name, h := range map[string]http.Handler{"says no": inner, "does not know": unknowing} {
		f := &faults{pick: func(*http.Request, int) fault { return none }}
		c, _ := newClient(t, serve(t, h), client.Options{Transport: f})
		r := repository(t, c, "a")
		for i := range 3 {
			if got, err := r.PushBlob(t.Context(), blobOf(randomBytes(uint64(i), 5*mib))); err != nil || got.Method != client.Chunked && got.Method != client.Existed {
				t.Fatalf("%s: %+v, %v", name, got, err)
			}
		}
		if asked := strings.Count(strings.Join(f.requests(), "\n"), "_pierless"); asked != 1 {
			t.Errorf("%s: asked %d times", name, asked)
		}
		if _, _, err := r.StartDirect(t.Context(), direct.Offer{Digest: oci.SHA256.FromBytes(nil), Size: 5}); !errors.Is(err, client.ErrNotOffered) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDirectStepByStep makes the requests of a proxy, which can read the bytes only once.
func TestDirectStepByStep(t *testing.T) {
	ctx := t.Context()
	address, _ := newDirectRegistry(t)
	r := newRepository(t, address, "a", client.Options{})
	content := randomBytes(1, mib)
	offer := direct.Offer{Digest: oci.SHA256.FromBytes(content), Size: mib}
	u, exists, err := r.StartDirect(ctx, offer)
	if err != nil || exists || u.Put == nil {
		t.Fatalf("%+v, %v, %v", u, exists, err)
	}
	if _, _, err := r.CompleteDirect(ctx, u.ID); !errors.Is(err, &oci.Error{Code: oci.BlobUploadInvalid}) {
		t.Errorf("completed without bytes: %v", err)
	}
	if err := r.SendDirect(ctx, *u.Put, bytes.NewReader(content[1:])); err == nil {
		t.Error("sent too little")
	}
	if err := r.SendDirect(ctx, *u.Put, bytes.NewReader(randomBytes(2, mib))); !errors.Is(err, client.ErrContent) {
		t.Errorf("sent other bytes: %v", err)
	}
	if err := r.SendDirect(ctx, *u.Put, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	var refused *client.StoreError
	if err := r.SendDirect(ctx, *u.Put, bytes.NewReader(content)); !errors.As(err, &refused) || refused.Status != http.StatusPreconditionFailed {
		t.Errorf("sent twice: %v", err)
	}
	for range 2 {
		if _, done, err := r.CompleteDirect(ctx, u.ID); err != nil || !done {
			t.Errorf("completed: %v, %v", done, err)
		}
	}
	if _, exists, err := r.StartDirect(ctx, offer); err != nil || !exists {
		t.Errorf("offered again: %v, %v", exists, err)
	}
	offer.Size++
	if _, _, err := r.StartDirect(ctx, offer); !errors.Is(err, &oci.Error{Code: oci.SizeInvalid}) {
		t.Errorf("offered with another size: %v", err)
	}
	other, _, err := r.StartDirect(ctx, direct.Offer{Digest: oci.SHA256.FromBytes([]byte("x")), Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.CancelDirect(ctx, other.ID); err != nil {
		t.Error(err)
	}
	if _, err := r.DirectStatus(ctx, other.ID); !errors.Is(err, &oci.Error{Code: oci.BlobUploadUnknown}) || strings.Contains(err.Error(), other.ID) {
		t.Errorf("a cancelled upload gives %v", err)
	}
}

// TestDirectRequestsAreLookedAt: a registry cannot make the client do something else.
func TestDirectRequestsAreLookedAt(t *testing.T) {
	r := newRepository(t, "registry.example", "a", client.Options{Transport: &faults{pick: func(*http.Request, int) fault { return refused }}})
	length := map[string]string{"Content-Length": "1"}
	for name, req := range map[string]direct.Request{
		"method": {Method: "POST", URL: "http://store/x", Headers: length},
		"scheme": {Method: "PUT", URL: "file:///etc/passwd", Headers: length},
		"length": {Method: "PUT", URL: "http://store/x"},
		"minus":  {Method: "PUT", URL: "http://store/x", Headers: map[string]string{"content-length": "-1"}},
		"login":  {Method: "PUT", URL: "http://store/x", Headers: map[string]string{"Content-Length": "1", "authorization": "x"}},
		"user":   {Method: "PUT", URL: "http://u:p@store/x", Headers: length},
	} {
		if err := r.SendDirect(t.Context(), req, strings.NewReader("x")); err == nil || strings.Contains(err.Error(), "injected") {
			t.Errorf("%s: the request was made: %v", name, err)
		}
	}
}
