//go:build localstack

package proxy_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/pierless/pierless/pkg/client/proxy"
	"github.com/pierless/pierless/pkg/oci"
)

// TestStoreOfAWS: large blobs of every client go straight to S3, and S3 rejects content with
// another digest.
func TestStoreOfAWS(t *testing.T) {
	up := newUpstream(t, nil)
	s := newSite(t, up.URL)
	for name, send := range sequences() {
		for _, size := range []int{1000, proxy.Small + 1, 9 << 20} {
			content := random(size)
			if a := send(s, "app", content); a.status != http.StatusCreated {
				t.Errorf("%s, %d bytes: %d %s", name, size, a.status, a.body)
				continue
			}
			s.pulled("app", content)
		}
	}
	if chunks := up.requests("PATCH /"); len(chunks) > 0 {
		t.Errorf("bytes went through the registry: %q", chunks)
	}
	if offers := up.requests("POST /v2/app/_pierless/uploads"); len(offers) < 2*len(sequences()) {
		t.Errorf("%d blobs were offered, want all that are large", len(offers))
	}

	content, wrong := random(large), oci.SHA256.FromBytes([]byte("another"))
	s.do("PUT", closeAt(s.open("app"), wrong), stream(content)).want(http.StatusBadRequest, oci.DigestInvalid)
	s.do("POST", "/v2/app/blobs/uploads/?digest="+string(wrong), stream(content)).want(http.StatusBadRequest, oci.DigestInvalid)
	sized := closeAt(s.open("app"), wrong)
	s.do("PUT", sized, bytes.NewReader(content)).want(http.StatusBadRequest, oci.DigestInvalid)
	s.do("HEAD", "/v2/app/blobs/"+string(wrong), nil).want(http.StatusNotFound)

	// In parts from the spool, then verified.
	at := s.do("POST", "/v2/app/blobs/uploads/?digest-algorithm=sha512", nil).want(http.StatusAccepted).location()
	d := oci.SHA512.FromBytes(content)
	at = s.do("PATCH", at, stream(content)).want(http.StatusAccepted).location()
	s.do("PUT", closeAt(at, d), nil).want(http.StatusCreated)
	from := s.do("GET", "/v2/app/blobs/"+string(d), nil).want(http.StatusTemporaryRedirect).header.Get("Location")
	if got := s.do("GET", from, nil).want(http.StatusOK); got.body != string(content) {
		t.Error("the sha512 blob came back different")
	}
	wantEmpty(t, s.spool)
}
