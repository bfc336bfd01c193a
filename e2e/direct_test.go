//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// offer announces a blob to the registry.
type offer struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	Parts  bool   `json:"parts,omitempty"`
}

// signed is a presigned request to the store.
type signed struct {
	Method, URL string
	Headers     map[string]string
}

// upload is a direct upload, as in docs/direct-uploads.md.
type upload struct {
	ID       string
	PartSize int64
	Put      *signed
	location string
}

// answer is the answer to a request of the protocol.
type answer struct {
	status int
	body   []byte
	header http.Header
}

// code returns the code of the first error in the answer.
func (a answer) code() string {
	var body struct{ Errors []struct{ Code string } }
	if json.Unmarshal(a.body, &body) != nil || len(body.Errors) == 0 {
		return ""
	}
	return body.Errors[0].Code
}

func (a answer) want(t *testing.T, what string, status int, code string) {
	t.Helper()
	if a.status != status || a.code() != code {
		t.Errorf("%s: %d %s, want %d %s\n%s", what, a.status, a.code(), status, code, a.body)
	}
}

// call makes a request of the protocol. Only requests without an upload id have credentials.
func (s *server) call(t *testing.T, method, path string, body any) answer {
	t.Helper()
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(encode(t, body))
	}
	req, err := http.NewRequest(method, "http://"+s.host+path, content)
	must(t, err)
	if s.token != "" && strings.HasSuffix(strings.TrimSuffix(path, "/"), "/uploads") {
		req.SetBasicAuth(administrator, s.token)
	}
	return roundTrip(t, req)
}

func roundTrip(t *testing.T, req *http.Request) answer {
	t.Helper()
	resp, err := direct.Do(req)
	must(t, err)
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	must(t, err)
	return answer{status: resp.StatusCode, body: content, header: resp.Header}
}

// offer opens an upload; the blob must not exist.
func (s *server) offer(t *testing.T, repo string, o offer) upload {
	t.Helper()
	a := s.call(t, "POST", "/v2/"+repo+"/_pierless/uploads", o)
	if a.status != http.StatusAccepted {
		t.Fatalf("offer %+v: %d\n%s", o, a.status, a.body)
	}
	u := upload{location: a.header.Get("Location")}
	must(t, json.Unmarshal(a.body, &u))
	return u
}

func (s *server) complete(t *testing.T, u upload) answer {
	t.Helper()
	return s.call(t, "PUT", u.location, nil)
}

// send makes the signed request with these bytes and returns the store's status. It always sends
// the announced length, padded with zeros.
func (r *signed) send(t *testing.T, content []byte) answer {
	t.Helper()
	req, err := http.NewRequest(r.Method, r.URL, nil)
	must(t, err)
	for name, value := range r.Headers {
		req.Header.Set(name, value)
	}
	var length int64
	must(t, json.Unmarshal([]byte(r.Headers["Content-Length"]), &length))
	sent := make([]byte, length)
	copy(sent, content)
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(sent)), length
	return roundTrip(t, req)
}

// with returns the request with a changed header, which breaks the signature.
func (r *signed) with(name, value string) *signed {
	changed := &signed{Method: r.Method, URL: r.URL, Headers: map[string]string{name: value}}
	for header, v := range r.Headers {
		if !strings.EqualFold(header, name) {
			changed.Headers[header] = v
		}
	}
	return changed
}

// checkNoBlob fails if the registry has the blob.
func (s *server) checkNoBlob(t *testing.T, repo, digest string) {
	t.Helper()
	resp, err := s.send("GET", "/v2/"+repo+"/blobs/"+digest, "", nil)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("GET of %s: %s, want 404", digest, resp.Status)
	}
}
