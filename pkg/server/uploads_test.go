package server_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

var content = bytes.Repeat([]byte("pierless "), 3000)

func TestUploadInEveryForm(t *testing.T) {
	third := len(content) / 3
	forms := map[string]func(s *site, d oci.Digest) answer{
		"single POST": func(s *site, d oci.Digest) answer {
			return s.do("POST", "/v2/a/blobs/uploads/?digest="+string(d), bytes.NewReader(content))
		},
		"single POST of unknown length": func(s *site, d oci.Digest) answer {
			return s.do("POST", "/v2/a/blobs/uploads/?digest="+string(d), chunked(content))
		},
		"POST and PUT": func(s *site, d oci.Digest) answer {
			return s.do("PUT", s.start("a")+"?digest="+string(d), bytes.NewReader(content))
		},
		"POST and PUT with size": func(s *site, d oci.Digest) answer {
			return s.do("PUT", s.start("a")+"?size=27000&digest="+string(d), bytes.NewReader(content))
		},
		"one PATCH of unknown length": func(s *site, d oci.Digest) answer {
			a := s.do("PATCH", s.start("a"), chunked(content)).want(t, http.StatusAccepted)
			return s.do("PUT", a.Header.Get("Location")+"?digest="+string(d), nil)
		},
		"chunks with Content-Range": func(s *site, d oci.Digest) answer {
			at := s.start("a")
			for first := 0; first < len(content); first += third {
				a := s.do("PATCH", at, bytes.NewReader(content[first:first+third]), "Content-Range", contentRange(first, third)).want(t, http.StatusAccepted)
				if got, want := a.Header.Get("Range"), contentRange(0, first+third); got != want {
					t.Errorf("Range %q, want %q", got, want)
				}
				at = a.Header.Get("Location")
			}
			return s.do("PUT", at+"?digest="+string(d), nil)
		},
		"chunks with the unit, and digest on PATCH, the last in the PUT": func(s *site, d oci.Digest) answer {
			at := s.start("a")
			s.do("PATCH", at+"?digest="+string(d)+"&ns=docker.io", bytes.NewReader(content[:third]), "Content-Range", "bytes "+contentRange(0, third)).want(t, http.StatusAccepted)
			return s.do("PUT", at+"?digest="+string(d), bytes.NewReader(content[third:]), "Content-Range", contentRange(third, len(content)-third))
		},
		"chunks without Content-Range": func(s *site, d oci.Digest) answer {
			at := s.start("a")
			s.do("PATCH", at, bytes.NewReader(content[:third])).want(t, http.StatusAccepted)
			s.do("PATCH", at, bytes.NewReader(content[third:])).want(t, http.StatusAccepted)
			return s.do("PUT", at+"?digest="+string(d), nil)
		},
	}
	for name, push := range forms {
		for _, algorithm := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
			t.Run(name+" "+string(algorithm), func(t *testing.T) {
				s := newSite(t)
				d := algorithm.FromBytes(content)
				a := push(s, d).want(t, http.StatusCreated)
				if a.Header.Get("Docker-Content-Digest") != string(d) || a.Header.Get("Location") != "/v2/a/blobs/"+string(d) {
					t.Errorf("headers %v", a.Header)
				}
				if got := s.blob("a", d); !bytes.Equal(got, content) {
					t.Errorf("%d bytes came back, want the %d that were sent", len(got), len(content))
				}
			})
		}
	}
}

func TestUploadWithAnnouncedAlgorithm(t *testing.T) {
	s := newSite(t)
	d := oci.SHA512.FromBytes(content)
	at := s.do("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", nil).want(t, http.StatusAccepted).Header.Get("Location")
	s.do("PATCH", at, bytes.NewReader(content[:100])).want(t, http.StatusAccepted)
	s.do("PATCH", at, bytes.NewReader(content[100:])).want(t, http.StatusAccepted)
	s.do("PUT", at+"?digest="+string(d), nil).want(t, http.StatusCreated)
}

func TestUploadHeaders(t *testing.T) {
	s := newSite(t)
	a := s.do("POST", "/v2/a/blobs/uploads/", nil).want(t, http.StatusAccepted)
	if a.Header.Get("Range") != "0-0" || a.Header.Get("OCI-Chunk-Min-Length") != "4194304" || a.Header.Get("Docker-Upload-UUID") == "" {
		t.Errorf("headers %v", a.Header)
	}
	at := a.Header.Get("Location")
	if !strings.HasPrefix(at, "/v2/a/blobs/uploads/") {
		t.Errorf("Location %q is not relative", at)
	}
	st := s.do("GET", at, nil).want(t, http.StatusNoContent)
	if st.Header.Get("Range") != "0-0" || st.Header.Get("Location") != at {
		t.Errorf("status has headers %v", st.Header)
	}
}

// TestFinalPutAgain: the answer of the last PUT was lost.
func TestFinalPutAgain(t *testing.T) {
	s := newSite(t)
	d := oci.SHA256.FromBytes(content)
	at := s.start("a")
	s.do("PATCH", at, bytes.NewReader(content)).want(t, http.StatusAccepted)
	for range 3 {
		s.do("PUT", at+"?digest="+string(d), nil).want(t, http.StatusCreated)
	}
	twin := s.start("a") // its digest exists: it ends as a duplicate
	for range 3 {
		s.do("PUT", twin+"?digest="+string(d), bytes.NewReader(content)).want(t, http.StatusCreated)
	}
	s.do("PUT", at+"?digest="+string(oci.SHA256.FromBytes(nil)), nil).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
	if !bytes.Equal(s.blob("a", d), content) {
		t.Error("the blob changed")
	}
	s.do("DELETE", "/v2/a/blobs/"+string(d), nil).want(t, http.StatusAccepted)
	for _, ended := range []string{at, twin} { // 201 would say that the blob is there
		s.do("PUT", ended+"?digest="+string(d), bytes.NewReader(content)).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
	}
}

func TestChunkOutOfOrder(t *testing.T) {
	s := newSite(t)
	at := s.start("a")
	s.do("PATCH", at, bytes.NewReader(content[:100]), "Content-Range", "0-99").want(t, http.StatusAccepted)
	for _, method := range []string{"PATCH", "PUT"} {
		for _, first := range []int{0, 50, 200} {
			a := s.do(method, at+"?digest="+string(oci.SHA256.FromBytes(content)), bytes.NewReader(content[first:first+100]), "Content-Range", contentRange(first, 100))
			a.wantError(t, http.StatusRequestedRangeNotSatisfiable, oci.RangeInvalid)
			if a.Header.Get("Range") != "0-99" || a.Header.Get("Location") != at {
				t.Errorf("%s at %d: headers %v lack where to resume", method, first, a.Header)
			}
		}
	}
	s.do("PUT", at+"?digest="+string(oci.SHA256.FromBytes(content)), bytes.NewReader(content[100:]), "Content-Range", contentRange(100, len(content)-100)).want(t, http.StatusCreated)
}

func TestBadChunks(t *testing.T) {
	s := newSite(t)
	at := s.start("a")
	for _, tt := range []struct {
		name, contentRange string
		body               io.Reader
		code               oci.Code
	}{
		{"range is no range", "abc", bytes.NewReader(content[:10]), oci.BlobUploadInvalid},
		{"range ends before it begins", "10-1", bytes.NewReader(content[:10]), oci.BlobUploadInvalid},
		{"range and length differ", "0-99", bytes.NewReader(content[:10]), oci.SizeInvalid},
		{"streamed body is shorter than its range", "0-99", chunked(content[:10]), oci.SizeInvalid},
		{"streamed body is longer than its range", "0-9", chunked(content[:99]), oci.SizeInvalid},
		{"body breaks off", "", io.MultiReader(bytes.NewReader(content[:50]), iotest.ErrReader(io.ErrUnexpectedEOF)), oci.BlobUploadInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var head []string
			if tt.contentRange != "" {
				head = []string{"Content-Range", tt.contentRange}
			}
			s.do("PATCH", at, tt.body, head...).wantError(t, http.StatusBadRequest, tt.code)
			if got := s.do("GET", at, nil).want(t, http.StatusNoContent).Header.Get("Range"); got != "0-0" {
				t.Errorf("the upload stands at %s, want 0-0", got)
			}
		})
	}
	s.do("PUT", at+"?digest="+string(oci.SHA256.FromBytes(content)), bytes.NewReader(content)).want(t, http.StatusCreated)
}

func TestBadCompletions(t *testing.T) {
	s := newSite(t)
	right, wrong := oci.SHA256.FromBytes(content), oci.SHA256.FromBytes([]byte("other"))
	at := s.start("a")
	s.do("PATCH", at, bytes.NewReader(content[:100])).want(t, http.StatusAccepted)
	for _, tt := range []struct {
		name, query string
		body        []byte
		code        oci.Code
	}{
		{"wrong digest", "digest=" + string(wrong), content[100:], oci.DigestInvalid},
		{"no digest", "", content[100:], oci.DigestInvalid},
		{"wrong digest without a body", "digest=" + string(wrong), nil, oci.DigestInvalid},
		{"wrong size", "size=5&digest=" + string(right), content[100:], oci.SizeInvalid},
		{"size is no number", "size=x&digest=" + string(right), content[100:], oci.SizeInvalid},
		{"short of the digest", "digest=" + string(right), content[100:200], oci.DigestInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.do("PUT", at+"?"+tt.query, bytes.NewReader(tt.body)).wantError(t, http.StatusBadRequest, tt.code)
			if s.hasBlob("a", right) || s.hasBlob("a", wrong) {
				t.Error("a blob appeared")
			}
			if got := s.do("GET", at, nil).want(t, http.StatusNoContent).Header.Get("Range"); got != "0-99" {
				t.Errorf("the upload stands at %s, want 0-99", got)
			}
		})
	}
	s.do("PUT", at+"?digest="+string(right), bytes.NewReader(content[100:])).want(t, http.StatusCreated)
	s.do("POST", "/v2/a/blobs/uploads/?digest="+string(wrong), bytes.NewReader(content)).wantError(t, http.StatusBadRequest, oci.DigestInvalid)
	if s.hasBlob("a", wrong) {
		t.Error("a blob appeared under a digest that is not its own")
	}
}

// TestSurpriseDigest: a sha512 that was not announced, over several chunks. A wrong one does
// not change the upload.
func TestSurpriseDigest(t *testing.T) {
	for _, first := range []int{len(content), 100} {
		s := newSite(t)
		at := s.start("a")
		s.do("PATCH", at, bytes.NewReader(content[:first])).want(t, http.StatusAccepted)
		wrong, right := oci.SHA512.FromBytes([]byte("other")), oci.SHA512.FromBytes(content)
		for range 2 {
			s.do("PUT", at+"?digest="+string(wrong), bytes.NewReader(content[first:])).wantError(t, http.StatusBadRequest, oci.DigestInvalid)
			if got, want := s.do("GET", at, nil).want(t, http.StatusNoContent).Header.Get("Range"), contentRange(0, first); got != want {
				t.Errorf("Range %q, want %q", got, want)
			}
		}
		if s.hasBlob("a", wrong) {
			t.Error("a blob appeared under a digest that is not its own")
		}
		s.do("PATCH", at, bytes.NewReader(content)).wantError(t, http.StatusBadRequest, oci.BlobUploadInvalid)
		s.do("PUT", at+"?digest="+string(right), bytes.NewReader(content[first:])).want(t, http.StatusCreated)
		if got := s.blob("a", right); !bytes.Equal(got, content) {
			t.Errorf("%d other bytes came back", len(got))
		}
	}
}

func TestUnknownUploads(t *testing.T) {
	s := newSite(t)
	d := string(oci.SHA256.FromBytes(content))
	cancelled, elsewhere := s.start("a"), strings.Replace(s.start("b"), "/v2/b/", "/v2/a/", 1)
	s.do("DELETE", cancelled, nil).want(t, http.StatusNoContent)
	for name, at := range map[string]string{
		"never started": "/v2/a/blobs/uploads/" + strings.Repeat("0", 64), "cancelled": cancelled, "of another repository": elsewhere,
	} {
		t.Run(name, func(t *testing.T) {
			s.do("GET", at, nil).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
			s.do("PATCH", at, bytes.NewReader(content)).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
			s.do("PUT", at+"?digest="+d, bytes.NewReader(content)).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
			s.do("DELETE", at, nil).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
		})
	}
}

func TestExpiredUpload(t *testing.T) {
	s := newSite(t)
	at := s.start("a")
	s.do("PATCH", at, bytes.NewReader(content[:10])).want(t, http.StatusAccepted)
	s.late = 23 * time.Hour
	s.do("PATCH", at, bytes.NewReader(content[10:20])).want(t, http.StatusAccepted)
	s.late += 23 * time.Hour // each chunk renews the upload
	s.do("GET", at, nil).want(t, http.StatusNoContent)
	s.late += 2 * time.Hour
	s.do("GET", at, nil).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
	s.do("PATCH", at, bytes.NewReader(content[20:])).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
}

// gate is a body that stops in the middle until it is opened.
type gate struct {
	io.Reader
	reached, open chan struct{}
}

func newGate(before, after []byte) *gate {
	g := &gate{reached: make(chan struct{}), open: make(chan struct{})}
	g.Reader = io.MultiReader(bytes.NewReader(before), g.wait(), bytes.NewReader(after))
	return g
}

func (g *gate) wait() io.Reader {
	return readerFunc(func([]byte) (int, error) {
		close(g.reached)
		<-g.open
		return 0, io.EOF
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestZombie: a PATCH hangs while another takes the upload over, and then continues.
func TestZombie(t *testing.T) {
	s := newSite(t)
	at := s.start("a")
	zombie := newGate(bytes.Repeat([]byte("z"), 100), bytes.Repeat([]byte("z"), 9000))
	refused := make(chan answer)
	go func() { refused <- s.do("PATCH", at, zombie) }()
	<-zombie.reached
	s.do("PATCH", at, bytes.NewReader(content[:100])).want(t, http.StatusAccepted)
	close(zombie.open)
	(<-refused).wantError(t, http.StatusBadRequest, oci.BlobUploadInvalid)
	d := oci.SHA256.FromBytes(content)
	s.do("PUT", at+"?digest="+string(d), bytes.NewReader(content[100:])).want(t, http.StatusCreated)
	if !bytes.Equal(s.blob("a", d), content) {
		t.Error("the zombie's bytes are in the blob")
	}
}

// TestTwoWriters: of two chunks with the same offset, one counts.
func TestTwoWriters(t *testing.T) {
	s := newSite(t)
	at := s.start("a")
	first := newGate(content[:50], content[50:100])
	answers := make(chan answer)
	go func() { answers <- s.do("PATCH", at, first, "Content-Range", "0-99") }()
	<-first.reached
	s.do("PATCH", at, bytes.NewReader(content[:100]), "Content-Range", "0-99").want(t, http.StatusAccepted)
	close(first.open)
	(<-answers).wantError(t, http.StatusBadRequest, oci.BlobUploadInvalid)
	if got := s.do("GET", at, nil).want(t, http.StatusNoContent).Header.Get("Range"); got != "0-99" {
		t.Errorf("the upload stands at %s, want 0-99", got)
	}
	s.do("PUT", at+"?digest="+string(oci.SHA256.FromBytes(content)), bytes.NewReader(content[100:])).want(t, http.StatusCreated)
}

// TestCancelDuringCompletion: the upload is deleted while its last chunk arrives.
func TestCancelDuringCompletion(t *testing.T) {
	s := newSite(t)
	at := s.start("a")
	d := oci.SHA256.FromBytes(content)
	body := newGate(content[:100], content[100:])
	answers := make(chan answer)
	go func() { answers <- s.do("PUT", at+"?digest="+string(d), body) }()
	<-body.reached
	s.do("DELETE", at, nil).want(t, http.StatusNoContent)
	close(body.open)
	(<-answers).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
	if s.hasBlob("a", d) {
		t.Error("a cancelled upload became a blob")
	}
}

// TestCutStream: an interrupted stream does not change the offset.
func TestCutStream(t *testing.T) {
	s := newSite(t)
	at := s.start("a")
	cut := io.MultiReader(bytes.NewReader(content[:20000]), iotest.ErrReader(errors.New("connection reset")))
	s.do("PATCH", at, cut).wantError(t, http.StatusBadRequest, oci.BlobUploadInvalid)
	s.do("PATCH", at, bytes.NewReader(content)).want(t, http.StatusAccepted)
	d := oci.SHA256.FromBytes(content)
	s.do("PUT", at+"?digest="+string(d), nil).want(t, http.StatusCreated)
	if !bytes.Equal(s.blob("a", d), content) {
		t.Error("other bytes came back")
	}
}

func TestMount(t *testing.T) {
	s := newSite(t)
	d := s.pushBlob("a", content)
	unknown := oci.SHA256.FromBytes([]byte("nowhere"))
	for _, tt := range []struct {
		query  string
		status int
	}{
		{"mount=" + string(d) + "&from=a", http.StatusCreated},
		{"mount=" + string(d) + "&from=nowhere", http.StatusAccepted},
		{"mount=" + string(d), http.StatusCreated},
		{"mount=" + string(unknown) + "&from=a", http.StatusAccepted},
		{"mount=" + string(unknown), http.StatusAccepted},
	} {
		name := "t" + oci.SHA256.FromBytes([]byte(tt.query)).Encoded()[:8]
		a := s.do("POST", "/v2/"+name+"/blobs/uploads/?"+tt.query, nil).want(t, tt.status)
		if mounted := tt.status == http.StatusCreated; s.hasBlob(name, d) != mounted {
			t.Errorf("%s: the blob is there: %t, want %t", tt.query, !mounted, mounted)
		}
		if tt.status == http.StatusAccepted {
			s.do("GET", a.Header.Get("Location"), nil).want(t, http.StatusNoContent)
		}
	}
	s.do("POST", "/v2/a/blobs/uploads/?from=a&mount="+string(d), nil).want(t, http.StatusCreated)
}
