//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// send makes one request to the registry. It returns errors of the transport, which the tests with
// kill provoke; every other failure ends the test.
func (s *server) send(method, target, contentRange string, body io.Reader) (*http.Response, error) {
	if strings.HasPrefix(target, "/") {
		target = "http://" + s.host + target
	}
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if contentRange != "" {
		req.Header.Set("Content-Range", contentRange)
	}
	return s.do(req)
}

// do sends a request, with the administrator's login if the registry needs one. Then it follows no
// redirect: a presigned URL accepts no other credentials.
func (s *server) do(req *http.Request) (*http.Response, error) {
	if s.token == "" {
		return http.DefaultClient.Do(req)
	}
	req.SetBasicAuth(administrator, s.token)
	return direct.Do(req)
}

// direct is a client that follows no redirect.
var direct = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// want makes one request, checks its status and ignores the body of the answer.
func (s *server) want(t *testing.T, status int, method, target, contentRange string, body io.Reader) *http.Response {
	t.Helper()
	resp, err := s.send(method, target, contentRange, body)
	must(t, err)
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d\n%s", method, target, resp.Status, status, content)
	}
	return resp
}

// startUpload opens a session and returns its location.
func (s *server) startUpload(t *testing.T, repo string) string {
	t.Helper()
	return location(t, s.want(t, http.StatusAccepted, "POST", "/v2/"+repo+"/blobs/uploads/", "", nil))
}

// appendChunk sends [from, to) of the content with its Content-Range.
func (s *server) appendChunk(t *testing.T, upload string, from, to int64, content io.Reader) string {
	t.Helper()
	return location(t, s.want(t, http.StatusAccepted, "PATCH", upload, fmt.Sprintf("%d-%d", from, to-1), content))
}

// appendStream sends content as docker does: one PATCH without any length.
func (s *server) appendStream(t *testing.T, upload string, content io.Reader) string {
	t.Helper()
	return location(t, s.want(t, http.StatusAccepted, "PATCH", upload, "", io.MultiReader(content)))
}

// received returns the bytes of an upload that the registry has.
func (s *server) received(t *testing.T, upload string) (string, int64) {
	t.Helper()
	resp := s.want(t, http.StatusNoContent, "GET", upload, "", nil)
	end, found := strings.CutPrefix(resp.Header.Get("Range"), "0-")
	last, err := strconv.ParseInt(end, 10, 64)
	if !found || err != nil {
		t.Fatalf("upload status has Range %q", resp.Header.Get("Range"))
	}
	if last == 0 { // "0-0" also means an empty upload
		return location(t, resp), 0
	}
	return location(t, resp), last + 1
}

// finishUpload completes a session with the digest.
func (s *server) finishUpload(t *testing.T, upload, digest string) {
	t.Helper()
	u, err := url.Parse(upload)
	must(t, err)
	query := u.Query()
	query.Set("digest", digest)
	u.RawQuery = query.Encode()
	s.want(t, http.StatusCreated, "PUT", u.String(), "", nil)
}

// pushLayout uploads everything that root references in an OCI layout, then root as tag.
func (s *server) pushLayout(t *testing.T, layout, repo, tag string, root descriptor) {
	t.Helper()
	content := readBlob(t, layout, root.Digest)
	var doc document
	must(t, json.Unmarshal(content, &doc))
	for _, child := range doc.Manifests {
		s.pushLayout(t, layout, repo, child.Digest, child)
	}
	blobs := doc.Layers
	if doc.Config != nil {
		blobs = append(blobs, *doc.Config)
	}
	for _, blob := range blobs {
		upload := s.startUpload(t, repo)
		upload = s.appendStream(t, upload, bytes.NewReader(readBlob(t, layout, blob.Digest)))
		s.finishUpload(t, upload, blob.Digest)
	}
	req, err := http.NewRequest("PUT", "http://"+s.host+"/v2/"+repo+"/manifests/"+tag, bytes.NewReader(content))
	must(t, err)
	req.Header.Set("Content-Type", root.MediaType)
	resp, err := s.do(req)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("PUT manifest: %s", resp.Status)
	}
}

// manifest fetches a manifest and returns it with the digest of its content, or
// "" if there is none.
func (s *server) manifest(t *testing.T, repo, reference string) (document, string) {
	t.Helper()
	req, err := http.NewRequest("GET", "http://"+s.host+"/v2/"+repo+"/manifests/"+reference, nil)
	must(t, err)
	for _, mediaType := range []string{
		typeManifest, typeIndex,
		"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
	} {
		req.Header.Add("Accept", mediaType)
	}
	resp, err := s.do(req)
	must(t, err)
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode == http.StatusNotFound {
		return document{}, ""
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET manifest %s: %s\n%s", reference, resp.Status, content)
	}
	var doc document
	must(t, json.Unmarshal(content, &doc))
	return doc, digestOf(content)
}

// checkBlobAnswer fails unless the answer fits the store: the embedded one sends the blob, S3 gets a
// redirect, behind a gateway for HEAD too.
func (s *server) checkBlobAnswer(t *testing.T, store, repo, digest string) {
	t.Helper()
	want := map[string]map[string]int{
		"embedded":   {"GET": http.StatusOK, "HEAD": http.StatusOK},
		"localstack": {"GET": http.StatusTemporaryRedirect, "HEAD": http.StatusOK},
		"functions":  {"GET": http.StatusTemporaryRedirect, "HEAD": http.StatusTemporaryRedirect},
	}[store]
	for method, status := range want {
		req, err := http.NewRequest(method, "http://"+s.host+"/v2/"+repo+"/blobs/"+digest, nil)
		must(t, err)
		if s.token != "" {
			req.SetBasicAuth(administrator, s.token)
		}
		resp, err := direct.Do(req)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Fatalf("%s of a blob from %s: %s, want %d", method, store, resp.Status, status)
		}
	}
}

func location(t *testing.T, resp *http.Response) string {
	t.Helper()
	l, err := resp.Location()
	must(t, err)
	return l.String()
}
