package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// TestDirectExpiredCredentials: S3 answers 400 if the credentials that signed have
// ended, which says nothing about the bytes.
func TestDirectExpiredCredentials(t *testing.T) {
	for _, parts := range []bool{false, true} {
		address, s := newDirectRegistry(t)
		s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
			if n > 2 {
				return false
			}
			s.mu.Lock()
			s.expired[r.URL.Path] = true // the same request never comes through
			s.mu.Unlock()
			refuse(w, http.StatusBadRequest, "ExpiredToken")
			return true
		}
		content := randomBytes(9, 5*mib)
		b := blobOf(content)
		b.Parts = parts
		r := newRepository(t, address, "a", client.Options{})
		pushDirect(t, r, b)
		wantBlob(t, r, content)
	}
}

// TestDirectRefusalIsNoVerdict: a refusal that is not about the bytes does not say so, and
// an upload in parts stays for another try.
func TestDirectRefusalIsNoVerdict(t *testing.T) {
	address, s := newDirectRegistry(t)
	s.before = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		refuse(w, http.StatusBadRequest, "KMS.DisabledException")
		return true
	}
	m := &memory{ids: map[oci.Digest]string{}}
	r := newRepository(t, address, "a", client.Options{Resume: m})
	b := blobOf(randomBytes(1, 5*mib))
	b.Parts = true
	var refused *client.StoreError
	if _, err := r.PushBlob(t.Context(), b); errors.Is(err, client.ErrContent) || !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	if m.Load("", "", b.Digest) == "" {
		t.Error("the upload is forgotten")
	}
}

// TestDirectLies: a registry that makes no sense ends in an error, not in a panic or in
// bytes that are less than the blob.
func TestDirectLies(t *testing.T) {
	content := randomBytes(1, 5*mib)
	whole := blobOf(content)
	for name, tt := range map[string]struct {
		offered, status string
		parts           bool
	}{
		"a request for fewer bytes": {
			offered: `"put":{"method":"PUT","url":"STORE","headers":{"Content-Length":"10"}}`,
		},
		"parts that have no size any more": {
			offered: `"partSize":16777216`, status: `"partSize":0`, parts: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var address string
			upload := func(w http.ResponseWriter, status int, more string) {
				w.WriteHeader(status)
				more = strings.ReplaceAll(more, "STORE", address+"/store")
				fmt.Fprintf(w, `{"id":"abcdefabcdefabcdefabcdefabcdefabcdef","state":"open","digest":%q,"size":%d,%s}`, whole.Digest, whole.Size, more)
			}
			address = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasPrefix(r.URL.Path, "/store"):
				case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "_pierless/uploads"):
					upload(w, http.StatusAccepted, tt.offered)
				case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "_pierless"):
					upload(w, http.StatusOK, tt.status)
				case strings.Contains(r.URL.Path, "_pierless/parts"):
					fmt.Fprintf(w, `{"parts":[{"number":1,"method":"PUT","url":%q,"headers":{"Content-Length":"%d"}}]}`, address+"/store", whole.Size)
				case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "_pierless") && !tt.parts:
					w.WriteHeader(http.StatusCreated)
				case r.Method == http.MethodPut && strings.Contains(r.URL.Path, "_pierless"):
					w.WriteHeader(http.StatusBadRequest)
					fmt.Fprint(w, `{"errors":[{"code":"BLOB_UPLOAD_INVALID"}]}`)
				default:
					w.WriteHeader(http.StatusForbidden)
				}
			}))
			b := whole
			b.Parts = tt.parts
			r := newRepository(t, address, "a", client.Options{})
			if got, err := r.PushBlob(t.Context(), b); err == nil {
				t.Errorf("pushed as %+v", got)
			}
		})
	}
}

// TestDirectStoredPartIsAnother: a part that the store has from another time counts only
// if it is that of the blob.
func TestDirectStoredPartIsAnother(t *testing.T) {
	address, s := newDirectRegistry(t)
	content := randomBytes(3, 17*mib)
	b := blobOf(content)
	b.Parts = true
	r := newRepository(t, address, "a", client.Options{Resume: &memory{ids: map[oci.Digest]string{}}})
	s.before = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		refuse(w, http.StatusNotFound, "NoSuchBucket")
		return true
	}
	if _, err := r.PushBlob(t.Context(), b); err == nil {
		t.Fatal("pushed to nowhere")
	}
	s.mu.Lock()
	s.before = nil
	s.mu.Unlock()
	s.replace(randomBytes(4, 16*mib))
	pushDirect(t, r, b)
	wantBlob(t, r, content)
}

// TestDirectLostAnswer: if all bytes were on their way the client asks before it sends
// them again.
func TestDirectLostAnswer(t *testing.T) {
	address, s := newDirectRegistry(t)
	s.before = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		s.put(httptest.NewRecorder(), r)
		hangUp(w, r, 0)
		return true
	}
	content := randomBytes(7, 5*mib)
	r := newRepository(t, address, "a", client.Options{})
	pushDirect(t, r, blobOf(content))
	wantBlob(t, r, content)
	if s.putCount() != 1 {
		t.Errorf("the bytes were sent %d times", s.putCount())
	}
}

// TestDirectHiddenRefusal: a store that closes instead of saying that a request is too old
// is met with another one.
func TestDirectHiddenRefusal(t *testing.T) {
	for _, parts := range []bool{false, true} {
		address, s := newDirectRegistry(t)
		old := ""
		s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			if n == 1 {
				old = r.URL.Path
			}
			if r.URL.Path != old {
				return false
			}
			hangUp(w, r, 1000)
			return true
		}
		content := randomBytes(8, 5*mib)
		b := blobOf(content)
		b.Parts = parts
		r := newRepository(t, address, "a", client.Options{})
		pushDirect(t, r, b)
		wantBlob(t, r, content)
	}
}
