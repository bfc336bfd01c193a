package proxy_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"

	"github.com/pierless/pierless/pkg/client/proxy"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/verify"
)

// sequences are the requests of clients that upload a blob; each returns the last answer.
func sequences() map[string]func(s *site, repo string, content []byte) *answer {
	const octets = "application/octet-stream"
	closed := func(s *site, a *answer, content []byte) *answer {
		a.want(http.StatusAccepted)
		last := fmt.Sprintf("0-%d", max(len(content)-1, 0))
		if got := a.header.Get("Range"); got != last {
			s.t.Fatalf("Range %q, want %q", got, last)
		}
		return s.do("PUT", closeAt(a.location(), oci.SHA256.FromBytes(content)), nil)
	}
	return map[string]func(s *site, repo string, content []byte) *answer{
		"docker, podman": func(s *site, repo string, content []byte) *answer {
			return closed(s, s.do("PATCH", s.open(repo), stream(content)), content)
		},
		"skopeo, crane": func(s *site, repo string, content []byte) *answer {
			at := s.open(repo, "Content-Type", "application/json")
			return closed(s, s.do("PATCH", at, bytes.NewReader(content), "Content-Type", octets), content)
		},
		"containerd, oras, helm": func(s *site, repo string, content []byte) *answer {
			return s.do("PUT", closeAt(s.open(repo), oci.SHA256.FromBytes(content))+"&ns=x", bytes.NewReader(content), "Content-Type", octets)
		},
		"regctl's chunks": func(s *site, repo string, content []byte) *answer {
			const chunk = 1 << 20
			at := closeAt(s.open(repo), oci.SHA256.FromBytes(content)) // before the registry knows the first PATCH
			for from := 0; from < len(content); from += chunk {
				piece := content[from:min(from+chunk, len(content))]
				a := s.do("PATCH", at, bytes.NewReader(piece), "Content-Range", fmt.Sprintf("%d-%d", from, from+len(piece)-1))
				at = a.want(http.StatusAccepted).location()
			}
			return s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), nil)
		},
		"the last piece with the PUT": func(s *site, repo string, content []byte) *answer {
			half := len(content) / 2
			at := s.do("PATCH", s.open(repo), stream(content[:half])).want(http.StatusAccepted).location()
			return s.do("PUT", closeAt(at, oci.SHA256.FromBytes(content)), stream(content[half:]))
		},
		"a PUT without a length": func(s *site, repo string, content []byte) *answer {
			return s.do("PUT", closeAt(s.open(repo), oci.SHA256.FromBytes(content)), stream(content))
		},
		"a POST with all": func(s *site, repo string, content []byte) *answer {
			return s.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(oci.SHA256.FromBytes(content)), bytes.NewReader(content))
		},
		"a POST with all, without a length": func(s *site, repo string, content []byte) *answer {
			return s.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(oci.SHA256.FromBytes(content)), stream(content))
		},
	}
}

// TestClients: the requests of each client work, for each size, with and without a store.
func TestClients(t *testing.T) {
	sizes := []int{0, 1000, proxy.Small, proxy.Small + 1}
	for _, direct := range []bool{false, true} {
		for name, send := range sequences() {
			t.Run(fmt.Sprintf("%s, direct %v", name, direct), func(t *testing.T) {
				var s3 *store
				var up *upstream
				if direct {
					var wrap func(*upstream, http.Handler) http.Handler
					s3, wrap = withStore(t)
					up = newUpstream(t, wrap)
				} else {
					up = newUpstream(t, nil)
				}
				s := newSite(t, up.URL)
				large := 0
				for _, size := range sizes {
					content := random(size)
					a := send(s, "team/app", content).want(http.StatusCreated)
					if d := oci.SHA256.FromBytes(content); a.header.Get("Docker-Content-Digest") != string(d) || a.location() != "/v2/team/app/blobs/"+string(d) {
						t.Errorf("%d bytes: the answer is %v", size, a.header)
					}
					s.pulled("team/app", content)
					if size > proxy.Small {
						large++
					}
				}
				if direct && s3.puts != large {
					t.Errorf("%d blobs went to the store, want the %d large ones", s3.puts, large)
				}
				wantEmpty(t, s.spool)
			})
		}
	}
}

// TestUploadsAtOnce: concurrent uploads do not mix.
func TestUploadsAtOnce(t *testing.T) {
	_, wrap := withStore(t)
	s := newSite(t, newUpstream(t, wrap).URL)
	var wg sync.WaitGroup
	for name, send := range sequences() {
		for range 2 {
			wg.Go(func() {
				content := random(proxy.Small + 1)
				if a := send(s, "app", content); a.status != http.StatusCreated {
					t.Errorf("%s: %d %s", name, a.status, a.body)
				}
			})
		}
	}
	wg.Wait()
	wantEmpty(t, s.spool)
}

// TestVerify: behind the proxy the registry conforms to the spec as it does alone.
func TestVerify(t *testing.T) {
	notOffered := map[string]bool{
		"client-auth-ping": true, "client-auth-reads": true, "client-auth-writes": true, "client-auth-wrong": true,
		"client-auth-push": true, "client-auth-open": true, "client-auth-error": true,
		"client-warnings": true,
	}
	up := newUpstream(t, nil)
	up.Config.Handler = server.All(up.reg, server.Options{Log: slog.New(slog.DiscardHandler)}) // no limit: this tests the proxy
	s := newSite(t, up.URL)
	report, err := verify.Run(t.Context(), verify.Options{URL: s.url})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if r.Status != verify.Passed && !(r.Status == verify.NotOffered && notOffered[r.ID]) {
			t.Errorf("%s %s %s: %s\n%v", r.Status, r.Level, r.ID, r.Detail, r.Exchange)
		}
	}
	t.Logf("%d cases", len(report.Results))
}

// TestSmallPut: the proxy forwards a PUT with a whole small blob, and later requests for that
// upload.
func TestSmallPut(t *testing.T) {
	up := newUpstream(t, nil)
	s := newSite(t, up.URL)
	for _, size := range []int{0, 1000, proxy.Small} {
		var headers []string
		if size > 0 {
			headers = []string{"Content-Range", fmt.Sprintf("0-%d", size-1)}
		}
		content := random(size)
		at := closeAt(s.open("app"), oci.SHA256.FromBytes(content))
		for range 2 {
			s.do("PUT", at, bytes.NewReader(content), headers...).want(http.StatusCreated)
		}
		if got := up.requests("PUT " + at); len(got) != 2 {
			t.Errorf("%d bytes: the registry got %q", size, got)
		}
		s.do("GET", at, nil).want(http.StatusNotFound, oci.BlobUploadUnknown)
	}
}

// TestSHA512: a client can complete an upload with a sha512 digest, announced or not.
func TestSHA512(t *testing.T) {
	s := newSite(t, newUpstream(t, nil).URL)
	for _, query := range []string{"", "?digest-algorithm=sha512"} {
		content := random(1000)
		right, wrong := oci.SHA512.FromBytes(content), oci.SHA512.FromBytes(nil)
		at := s.do("POST", "/v2/app/blobs/uploads/"+query, nil).want(http.StatusAccepted).location()
		s.do("PATCH", at, stream(content)).want(http.StatusAccepted)
		s.do("PUT", closeAt(at, wrong), nil).want(http.StatusBadRequest, oci.DigestInvalid)
		s.do("PUT", closeAt(at, right), nil).want(http.StatusCreated)
		s.do("HEAD", "/v2/app/blobs/"+string(right), nil).want(http.StatusOK)
	}
}

// TestUploadUUID: each answer about an upload has the registry's Docker-Upload-UUID.
func TestUploadUUID(t *testing.T) {
	s := newSite(t, newUpstream(t, nil).URL)
	opened := s.do("POST", "/v2/app/blobs/uploads/", nil).want(http.StatusAccepted)
	patched := s.do("PATCH", opened.location(), stream(random(1000))).want(http.StatusAccepted)
	status := s.do("GET", opened.location(), nil).want(http.StatusNoContent)
	want := opened.header.Get("Docker-Upload-Uuid")
	for _, a := range []*answer{patched, status} {
		if got := a.header.Get("Docker-Upload-Uuid"); got != want || got == "" {
			t.Errorf("%s: Docker-Upload-Uuid %q, want %q", a.what, got, want)
		}
	}
}
