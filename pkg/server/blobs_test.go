package server_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

func TestBlob(t *testing.T) {
	s := newSite(t)
	for _, c := range [][]byte{content, {}} {
		d := s.pushBlob("a", c)
		for _, method := range []string{"GET", "HEAD"} {
			a := s.do(method, "/v2/a/blobs/"+string(d), nil).want(t, http.StatusOK)
			if a.Header.Get("Docker-Content-Digest") != string(d) || a.ContentLength != int64(len(c)) ||
				a.Header.Get("Accept-Ranges") != "bytes" || a.Header.Get("Content-Type") != "application/octet-stream" {
				t.Errorf("%s: length %d, headers %v", method, a.ContentLength, a.Header)
			}
		}
		if !bytes.Equal(s.blob("a", d), c) {
			t.Error("other bytes came back")
		}
	}
	unknown := string(oci.SHA256.FromBytes([]byte("unknown")))
	for _, path := range []string{"/v2/a/blobs/" + unknown, "/v2/b/blobs/" + string(oci.SHA256.FromBytes(content))} {
		s.do("GET", path, nil).wantError(t, http.StatusNotFound, oci.BlobUnknown)
		s.do("HEAD", path, nil).want(t, http.StatusNotFound)
		s.do("DELETE", path, nil).wantError(t, http.StatusNotFound, oci.BlobUnknown)
	}
}

func TestBlobRanges(t *testing.T) {
	s := newSite(t)
	d := s.pushBlob("a", content)
	size := len(content)
	for header, want := range map[string]struct {
		status       int
		first, after int
		contentRange string
	}{
		"bytes=0-0":                   {http.StatusPartialContent, 0, 1, "bytes 0-0/27000"},
		"bytes=500-1499":              {http.StatusPartialContent, 500, 1500, "bytes 500-1499/27000"},
		"bytes=26000-":                {http.StatusPartialContent, 26000, size, "bytes 26000-26999/27000"},
		"bytes=26000-99999":           {http.StatusPartialContent, 26000, size, "bytes 26000-26999/27000"},
		"bytes=-500":                  {http.StatusPartialContent, size - 500, size, "bytes 26500-26999/27000"},
		"bytes=-99999":                {http.StatusPartialContent, 0, size, "bytes 0-26999/27000"},
		"bytes=0-1,5-6":               {http.StatusOK, 0, size, ""},
		"bytes=x-1":                   {http.StatusOK, 0, size, ""},
		"bytes=5":                     {http.StatusOK, 0, size, ""},
		"lines=0-1":                   {http.StatusOK, 0, size, ""},
		"bytes=27000-":                {http.StatusRequestedRangeNotSatisfiable, 0, 0, "bytes */27000"},
		"bytes=99999-100000":          {http.StatusRequestedRangeNotSatisfiable, 0, 0, "bytes */27000"},
		"bytes=500-0":                 {http.StatusRequestedRangeNotSatisfiable, 0, 0, "bytes */27000"},
		"bytes=-0":                    {http.StatusRequestedRangeNotSatisfiable, 0, 0, "bytes */27000"},
		"bytes=18446744073709551616-": {http.StatusOK, 0, size, ""},
	} {
		a := s.do("GET", "/v2/a/blobs/"+string(d), nil, "Range", header).want(t, want.status)
		if got := a.Header.Get("Content-Range"); got != want.contentRange {
			t.Errorf("%s: Content-Range %q, want %q", header, got, want.contentRange)
		}
		if want.status == http.StatusRequestedRangeNotSatisfiable {
			a.wantError(t, want.status, oci.RangeInvalid)
			continue
		}
		if !bytes.Equal(a.body, content[want.first:want.after]) {
			t.Errorf("%s: %d bytes that are not %d to %d", header, len(a.body), want.first, want.after)
		}
	}
}

// TestDeleteBlob: a delete takes the blob from one repository only.
func TestDeleteBlob(t *testing.T) {
	s := newSite(t)
	d := s.pushBlob("a", content)
	s.do("POST", "/v2/b/blobs/uploads/?from=a&mount="+string(d), nil).want(t, http.StatusCreated)
	s.do("DELETE", "/v2/a/blobs/"+string(d), nil).want(t, http.StatusAccepted)
	if s.hasBlob("a", d) || !bytes.Equal(s.blob("b", d), content) {
		t.Error("the delete took too little or too much")
	}
	s.do("DELETE", "/v2/a/blobs/"+string(d), nil).wantError(t, http.StatusNotFound, oci.BlobUnknown)
	s.pushBlob("a", content)
	if !bytes.Equal(s.blob("a", d), content) {
		t.Error("the blob did not come back")
	}
}

// TestOldBlob: a blob whose lease is old is still there, and can be relied on.
func TestOldBlob(t *testing.T) {
	s := newSite(t)
	m := s.image("a", "one")
	s.late = 30 * 24 * time.Hour
	if !s.hasBlob("a", oci.SHA256.FromBytes([]byte("one"))) {
		t.Fatal("an old blob is gone")
	}
	s.pushManifest("a", "latest", m)
}
