package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// newSession returns an open session over a spool of 1 MiB.
func newSession(t *testing.T) *session {
	t.Helper()
	spool, err := openSpool(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return &session{spool: spool, hashes: upload.NewHashes(), used: time.Now()}
}

// TestClaimThatEndsLate: a request that was taken over may still complete the upload. The
// request that took over must not write on, into a new file without the first bytes.
func TestClaimThatEndsLate(t *testing.T) {
	s := newSession(t)
	d := oci.SHA256.FromBytes([]byte("abc"))
	first, ctx, err := s.newClaim(t.Context(), -1, d)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(first, "abc")
	if err := errors.Join(err, first.keep()); err != nil {
		t.Fatal(err)
	}
	second, _, err := s.newClaim(t.Context(), 3, "")
	if err != nil {
		t.Fatal(err)
	}
	if ctx.Err() == nil {
		t.Error("the first request does not end")
	}
	first.complete()
	first.end()
	unknown := &oci.Error{Code: oci.BlobUploadUnknown}
	if _, err := io.WriteString(second, "def"); !errors.Is(err, unknown) {
		t.Errorf("write: %v", err)
	}
	if err := second.keep(); !errors.Is(err, unknown) {
		t.Errorf("keep: %v", err)
	}
	second.end()
	if s.file != nil || s.spool.used != 0 || s.blob() != d {
		t.Errorf("%d bytes are left of a session that is %q", s.spool.used, s.blob())
	}
}

// TestFailedRequestLeavesNothing: the bytes of a request that failed are removed at once.
func TestFailedRequestLeavesNothing(t *testing.T) {
	s := newSession(t)
	for kept, bodies := range map[int64][]string{0: {"abc"}, 2: {"de", "fgh"}} {
		for i, body := range bodies {
			c, _, err := s.newClaim(t.Context(), -1, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, body); err != nil {
				t.Fatal(err)
			}
			if i < len(bodies)-1 {
				err = c.keep()
			}
			if c.end(); err != nil {
				t.Fatal(err)
			}
		}
		if s.spool.used != kept {
			t.Errorf("%d bytes are in the spool, want %d", s.spool.used, kept)
		}
		s.discard()
		s.cancelled, s.size = false, 0
	}
}

// claimHolding returns a claim that has read body. It ends with the test.
func claimHolding(t *testing.T, s *session, body string) *claim {
	t.Helper()
	c, _, err := s.newClaim(t.Context(), -1, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.end)
	if err := c.read(upload.Chunk{Length: int64(len(body)), Body: strings.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestContentAfterTakeover: reading spooled bytes fails once another request has completed the
// upload and removed them.
func TestContentAfterTakeover(t *testing.T) {
	s := newSession(t)
	c := claimHolding(t, s, "abc")
	for _, a := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
		b, err := c.content(upload.Finish{Digest: a.FromBytes([]byte("abc")), Size: -1})
		if err != nil {
			t.Fatal(err)
		}
		from, err := b.Open(1)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(from); err != nil || string(got) != "bc" {
			t.Errorf("read %q, %v", got, err)
		}
		wrong := upload.Finish{Digest: a.FromBytes(nil), Size: -1}
		if _, err := c.content(wrong); !errors.Is(err, &oci.Error{Code: oci.DigestInvalid}) {
			t.Errorf("another %s: %v", a, err)
		}
	}
	b, err := c.content(upload.Finish{Digest: oci.SHA256.FromBytes([]byte("abc")), Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	s.discard()
	from, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(from); err == nil {
		t.Errorf("read %q of a session that has ended", got)
	}
}

// sender is a fake registry that accepts uploads. It calls during while it gets the bytes.
type sender struct{ during func() }

func (s sender) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: http.NoBody, Request: r}
	if r.ContentLength > 0 && r.Body != nil {
		defer r.Body.Close()
		if _, err := io.ReadFull(r.Body, make([]byte, 1)); err != nil {
			return nil, err
		}
		s.during()
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
	}
	if r.Method == http.MethodPost && r.URL.Path == "/v2/app/blobs/uploads/" {
		resp.StatusCode = http.StatusAccepted
		resp.Header.Set("Location", "/v2/app/blobs/uploads/1")
	}
	return resp, nil
}

// TestSendAfterTakeover: a request whose bytes another one has removed fails as one that was taken
// over.
func TestSendAfterTakeover(t *testing.T) {
	s := newSession(t)
	p := &Proxy{transport: sender{func() { s.discard() }}, log: slog.New(slog.DiscardHandler), upstream: &url.URL{Scheme: "https", Host: "registry.example"}}
	p.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	r := httptest.NewRequest(http.MethodPut, "/", http.NoBody)
	repo, err := p.repository(r, "app")
	if err != nil {
		t.Fatal(err)
	}
	content := strings.Repeat("x", 3<<19)
	s.spool.limit = 10 << 20
	f := upload.Finish{Digest: oci.SHA256.FromBytes([]byte(content)), Size: -1, Chunk: upload.Chunk{Length: -1, Body: strings.NewReader(content)}}
	c, ctx, err := s.newClaim(t.Context(), -1, f.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	err = completion{proxy: p, r: r, repo: repo, claim: c, finish: f}.send(ctx)
	if errs := errorsOf(err); len(errs) != 1 || errs[0].Code != oci.BlobUploadInvalid {
		t.Errorf("%v is answered with %v", err, errs)
	}
}

// TestBrokenBody: the error has the length of the request's own body.
func TestBrokenBody(t *testing.T) {
	c := claimHolding(t, newSession(t), "abc")
	body := io.MultiReader(strings.NewReader("defg"), iotest.ErrReader(errors.New("cut")))
	if err := c.read(upload.Chunk{Length: -1, Body: body}); err == nil || !strings.Contains(err.Error(), "after 4 bytes") {
		t.Errorf("got %v", err)
	}
}
