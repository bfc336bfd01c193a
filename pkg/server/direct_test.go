package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

const (
	offers   = "/v2/a/_pierless/uploads"
	noUpload = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

func offer(d oci.Digest, size int64) string { return fmt.Sprintf(`{"digest":%q,"size":%d}`, d, size) }

// TestNoDirectUploads: if clients cannot reach the store, every request gets the same answer,
// so that clients upload by the spec; so does an offer to a store without URLs.
func TestNoDirectUploads(t *testing.T) {
	meta, blobs := storetest.Open(t)
	quiet := slog.New(slog.DiscardHandler)
	reg := registry.New(meta, blobs, registry.Options{Log: quiet})
	d := oci.SHA256.FromBytes(content)
	for _, serveBlobs := range []bool{false, true} {
		s := &site{t: t, handler: server.All(reg, server.Options{Log: quiet, ServeBlobs: serveBlobs})}
		for _, tt := range []struct{ method, path, body string }{
			{"POST", offers, offer(d, 1)},
			{"GET", offers + "/" + noUpload, ""},
			{"PUT", offers + "/" + noUpload, ""},
			{"DELETE", offers + "/" + noUpload, ""},
			{"POST", "/v2/a/_pierless/parts/" + noUpload, `{"parts":[{"number":1,"size":1,"digest":"` + string(d) + `"}]}`},
			{"POST", "/v2/a/_pierless/verifications/" + noUpload, ""},
		} {
			if !serveBlobs && (!storetest.Embedded || tt.path != offers) {
				continue // S3 has URLs
			}
			errs := s.do(tt.method, tt.path, strings.NewReader(tt.body)).wantError(t, http.StatusNotFound, oci.Unsupported)
			if !strings.Contains(errs[0].Message, "upload as usual") {
				t.Errorf("%s %s: %q does not say what to do", tt.method, tt.path, errs[0].Message)
			}
		}
	}
}

// TestDirectBodies: malformed offers and lists of parts are refused with the code of the
// wrong field, before anything else is checked.
func TestDirectBodies(t *testing.T) {
	meta, blobs := storetest.Open(t)
	quiet := slog.New(slog.DiscardHandler)
	s := &site{t: t, handler: server.All(registry.New(meta, blobs, registry.Options{Log: quiet}), server.Options{Log: quiet})}
	d := string(oci.SHA256.FromBytes(content))
	part := `{"number":1,"size":1,"digest":"` + d + `"}`
	for body, want := range map[string]oci.Code{
		``:                             oci.BlobUploadInvalid,
		`{`:                            oci.BlobUploadInvalid,
		`[]`:                           oci.BlobUploadInvalid,
		`"x"`:                          oci.BlobUploadInvalid,
		offer(oci.Digest(d), 1) + `{}`: oci.BlobUploadInvalid,
		`{"digest":"` + d + `","size":1,"parts":"yes"}`: oci.BlobUploadInvalid,
		`null`:                           oci.DigestInvalid,
		`{}`:                             oci.DigestInvalid,
		`{"size":1}`:                     oci.DigestInvalid,
		`{"digest":null,"size":1}`:       oci.DigestInvalid,
		`{"digest":1,"size":1}`:          oci.DigestInvalid,
		`{"digest":"sha256:x","size":1}`: oci.DigestInvalid,
		`{"digest":"` + strings.ToUpper(d) + `","size":1}`:  oci.DigestInvalid,
		`{"digest":"` + d + `"}`:                            oci.SizeInvalid,
		`{"digest":"` + d + `","size":null}`:                oci.SizeInvalid,
		`{"digest":"` + d + `","size":"1"}`:                 oci.SizeInvalid,
		`{"digest":"` + d + `","size":1.5}`:                 oci.SizeInvalid,
		`{"digest":"` + d + `","size":-1}`:                  oci.SizeInvalid,
		`{"digest":"` + d + `","size":9223372036854775808}`: oci.SizeInvalid,
	} {
		t.Run("offer "+body, func(t *testing.T) {
			s.do("POST", offers, strings.NewReader(body)).wantError(t, http.StatusBadRequest, want)
		})
	}
	for body, want := range map[string]oci.Code{
		``:              oci.BlobUploadInvalid,
		`{}`:            oci.BlobUploadInvalid,
		`{"parts":[]}`:  oci.BlobUploadInvalid,
		`{"parts":{}}`:  oci.BlobUploadInvalid,
		`{"parts":[1]}`: oci.BlobUploadInvalid,
		`{"parts":[` + strings.Repeat(part+",", direct.MaxSigned) + part + `]}`: oci.BlobUploadInvalid,
		`{"parts":[{"number":"1","size":1,"digest":"` + d + `"}]}`:              oci.BlobUploadInvalid,
		`{"parts":[` + part + `,null]}`:                                         oci.DigestInvalid,
		`{"parts":[{"number":1,"size":1,"digest":["` + d + `"]}]}`:              oci.DigestInvalid,
		`{"parts":[{"number":1,"digest":"` + d + `"}]}`:                         oci.SizeInvalid,
		`{"parts":[{"number":1,"size":-1,"digest":"` + d + `"}]}`:               oci.SizeInvalid,
		`{"parts":[{"number":1,"size":1e3,"digest":"` + d + `"}]}`:              oci.SizeInvalid,
	} {
		t.Run("parts "+body[:min(len(body), 60)], func(t *testing.T) {
			s.do("POST", "/v2/a/_pierless/parts/"+noUpload, strings.NewReader(body)).wantError(t, http.StatusBadRequest, want)
		})
	}
	for _, path := range []string{offers, "/v2/a/_pierless/parts/" + noUpload} {
		long := `{"x":"` + strings.Repeat("x", direct.MaxBody) + `"}`
		s.do("POST", path, strings.NewReader(long)).wantError(t, http.StatusRequestEntityTooLarge, oci.SizeInvalid)
	}
	// The limits themselves are allowed.
	longest := `{"x":"` + strings.Repeat("x", direct.MaxBody-len(`{"x":""}`)) + `"}`
	s.do("POST", offers, strings.NewReader(longest)).wantError(t, http.StatusBadRequest, oci.DigestInvalid)
	s.do("POST", offers, strings.NewReader(offer(s.pushBlob("a", nil), 0))).want(t, http.StatusCreated)
	most := `{"parts":[` + strings.Repeat(part+",", direct.MaxSigned-1) + part + `]}`
	newDirectSite(t).do("POST", "/v2/a/_pierless/parts/"+noUpload, strings.NewReader(most)).
		wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
}

func TestDirectMethods(t *testing.T) {
	s := newSite(t)
	for path, allow := range map[string]string{
		offers: "POST", offers + "/id": "GET, PUT, DELETE",
		"/v2/a/_pierless/parts/id": "POST", "/v2/a/_pierless/verifications/id": "POST",
	} {
		a := s.do("PATCH", path, nil)
		a.wantError(t, http.StatusMethodNotAllowed, oci.Unsupported)
		if got := a.Header.Get("Allow"); got != allow {
			t.Errorf("%s allows %q, want %q", path, got, allow)
		}
	}
}

// newDirectSite is a registry whose store takes direct uploads.
func newDirectSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t}
	meta, blobs := storetest.OpenDirect(t)
	quiet := slog.New(slog.DiscardHandler)
	s.reg = registry.New(meta, blobs, registry.Options{Log: quiet, Now: func() time.Time { return time.Now().Add(s.late) }})
	s.handler = server.All(s.reg, server.Options{Log: quiet})
	return s
}

// upload decodes the answer of an upload that is not complete.
func (a answer) upload(t *testing.T, status int) direct.Upload {
	t.Helper()
	a.want(t, status)
	var u direct.Upload
	if err := json.Unmarshal(a.body, &u); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	family := map[direct.State]string{direct.Open: "uploads/", direct.Verifying: "verifications/"}[u.State]
	if got, want := a.Header.Get("Location"), "/v2/a/_pierless/"+family+u.ID; got != want {
		t.Errorf("%s: Location %q, want %q", u.State, got, want)
	}
	if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", a.Header)
	}
	return u
}

// wantBlob fails the test unless the answer says that the blob is there.
func (a answer) wantBlob(t *testing.T, d oci.Digest) {
	t.Helper()
	a.want(t, http.StatusCreated)
	if len(a.body) != 0 || a.Header.Get("Location") != "/v2/a/blobs/"+string(d) || a.Header.Get("Docker-Content-Digest") != string(d) {
		t.Errorf("headers %v, body %q", a.Header, a.body)
	}
}

// store makes a presigned request, as a client does, and returns the status.
func store(t *testing.T, r direct.Request, content []byte) int {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range r.Headers {
		q.Header.Set(name, value)
	}
	q.Header.Del("Content-Length") // net/http's affair
	response, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func TestDirectPut(t *testing.T) {
	s := newDirectSite(t)
	d := oci.SHA256.FromBytes(content)
	u := s.do("POST", offers, strings.NewReader(`{"later":1,"digest":"`+string(d)+`","size":27000}`)).upload(t, http.StatusAccepted)
	if u.Put == nil || u.PartSize != 0 || u.Digest != d || u.Size != int64(len(content)) || u.State != direct.Open {
		t.Fatalf("%+v", u)
	}
	at := offers + "/" + u.ID
	s.do("PUT", at, nil).wantError(t, http.StatusBadRequest, oci.BlobUploadInvalid)
	if got := store(t, *u.Put, bytes.ToUpper(content)); got != http.StatusBadRequest {
		t.Errorf("other bytes: %d", got)
	}
	s.do("PUT", at, nil).wantError(t, http.StatusBadRequest, oci.BlobUploadInvalid)
	fresh := s.do("GET", at, nil).upload(t, http.StatusOK)
	if got := store(t, *fresh.Put, content); got != http.StatusOK {
		t.Fatalf("%d to the bytes", got)
	}
	if s.hasBlob("a", d) {
		t.Error("the blob is there before it was completed")
	}
	s.do("PUT", "/v2/b/_pierless/uploads/"+u.ID, nil).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
	s.do("PUT", "/v2/a/blobs/uploads/"+u.ID+"?digest="+string(d), nil).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
	for range 2 {
		s.do("PUT", at, strings.NewReader("a needless body")).wantBlob(t, d)
	}
	if !s.hasBlob("a", d) {
		t.Error("the blob is not there")
	}
	s.do("POST", offers, strings.NewReader(offer(d, 27000))).wantBlob(t, d)
	s.do("POST", offers, strings.NewReader(offer(d, 26999))).wantError(t, http.StatusBadRequest, oci.SizeInvalid)
	s.do("GET", at, nil).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
}

func TestDirectParts(t *testing.T) {
	s := newDirectSite(t)
	large := bytes.Repeat(content, 1000) // 27 MB: two parts
	d := oci.SHA512.FromBytes(large)
	u := s.do("POST", offers, strings.NewReader(offer(d, int64(len(large))))).upload(t, http.StatusAccepted)
	if u.Put != nil || u.PartSize != 16<<20 {
		t.Fatalf("%+v", u)
	}
	at, parts := offers+"/"+u.ID, "/v2/a/_pierless/parts/"+u.ID
	pieces := [][]byte{large[:u.PartSize], large[u.PartSize:]}
	named := direct.Parts{}
	for i, p := range pieces {
		named.Parts = append(named.Parts, direct.Part{Number: i + 1, Size: int64(len(p)), Digest: oci.SHA256.FromBytes(p)})
	}
	a := s.do("POST", parts, bytes.NewReader(marshal(named))).want(t, http.StatusOK)
	var signed direct.SignedParts
	if err := json.Unmarshal(a.body, &signed); err != nil || len(signed.Parts) != 2 || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%v, %v, %s", err, a.Header, a.body)
	}
	if got := store(t, signed.Parts[1].Request, pieces[1]); got != http.StatusOK {
		t.Fatalf("%d to a part", got)
	}
	s.do("PUT", at, nil).wantError(t, http.StatusBadRequest, oci.BlobUploadInvalid)
	s.do("POST", "/v2/a/_pierless/verifications/"+u.ID, nil).wantError(t, http.StatusBadRequest, oci.BlobUploadInvalid)
	if got := s.do("GET", at, nil).upload(t, http.StatusOK); len(got.Stored) != 1 || got.Stored[0] != named.Parts[1] {
		t.Errorf("stored are %+v", got.Stored)
	}
	if got := store(t, signed.Parts[0].Request, pieces[0]); got != http.StatusOK {
		t.Fatalf("%d to a part", got)
	}
	for range 2 {
		if got := s.do("PUT", at, nil).upload(t, http.StatusAccepted); got.State != direct.Verifying || got.Verified != 0 {
			t.Errorf("%+v", got)
		}
	}
	s.do("GET", at, nil).upload(t, http.StatusOK)
	s.do("POST", parts, bytes.NewReader(marshal(named))).wantError(t, http.StatusBadRequest, oci.BlobUploadInvalid)
	if s.hasBlob("a", d) {
		t.Error("the blob is there before it was verified")
	}
	for range 2 {
		s.do("POST", "/v2/a/_pierless/verifications/"+u.ID, nil).wantBlob(t, d)
	}
	s.do("PUT", at, nil).wantBlob(t, d)
	if !s.hasBlob("a", d) {
		t.Error("the blob is not there")
	}
}

// TestDirectVerificationFails: each part is correct, but the whole has another digest.
func TestDirectVerificationFails(t *testing.T) {
	s := newDirectSite(t)
	d := oci.SHA256.FromBytes([]byte("another blob"))
	u := s.do("POST", offers, strings.NewReader(`{"digest":"`+string(d)+`","size":27000,"parts":true}`)).upload(t, http.StatusAccepted)
	named := direct.Parts{Parts: []direct.Part{{Number: 1, Size: int64(len(content)), Digest: oci.SHA256.FromBytes(content)}}}
	var signed direct.SignedParts
	if err := json.Unmarshal(s.do("POST", "/v2/a/_pierless/parts/"+u.ID, bytes.NewReader(marshal(named))).want(t, http.StatusOK).body, &signed); err != nil {
		t.Fatal(err)
	}
	if got := store(t, signed.Parts[0].Request, content); got != http.StatusOK {
		t.Fatalf("%d to a part", got)
	}
	s.do("PUT", offers+"/"+u.ID, nil).upload(t, http.StatusAccepted)
	s.do("POST", "/v2/a/_pierless/verifications/"+u.ID, nil).wantError(t, http.StatusBadRequest, oci.DigestInvalid)
	s.do("POST", "/v2/a/_pierless/verifications/"+u.ID, nil).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
	if s.hasBlob("a", d) {
		t.Error("the blob is there")
	}
}

func TestDirectEnds(t *testing.T) {
	s := newDirectSite(t)
	for name, end := range map[string]func(at string){
		"cancelled": func(at string) {
			if a := s.do("DELETE", at, nil).want(t, http.StatusNoContent); len(a.body) != 0 {
				t.Errorf("body %q", a.body)
			}
		},
		"expired": func(string) { s.late = 25 * time.Hour },
	} {
		u := s.do("POST", offers, strings.NewReader(offer(oci.SHA256.FromBytes([]byte(name)), 9))).upload(t, http.StatusAccepted)
		at := offers + "/" + u.ID
		end(at)
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			s.do(method, at, nil).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
		}
		s.do("POST", "/v2/a/_pierless/verifications/"+u.ID, nil).wantError(t, http.StatusNotFound, oci.BlobUploadUnknown)
		s.late = 0
	}
}

// TestDirectLog: neither the id of an upload nor a presigned URL is logged.
func TestDirectLog(t *testing.T) {
	meta, blobs := storetest.OpenDirect(t)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := &site{t: t, handler: server.All(registry.New(meta, blobs, registry.Options{Log: logger}), server.Options{Log: logger})}
	u := s.do("POST", offers, strings.NewReader(offer(oci.SHA256.FromBytes(content), 27000))).upload(t, http.StatusAccepted)
	s.do("PUT", offers+"/"+u.ID, nil)
	s.do("POST", "/v2/a/_pierless/parts/"+u.ID, strings.NewReader(`{"parts":[{"number":1,"size":1,"digest":"`+string(u.Digest)+`"}]}`))
	s.do("POST", "/v2/a/_pierless/verifications/"+u.ID, nil)
	s.do("DELETE", offers+"/"+u.ID, nil)
	if got := log.String(); strings.Count(got, "msg=request") != 5 || strings.Contains(got, u.ID) || strings.Contains(got, u.Put.URL) {
		t.Errorf("logged: %s", got)
	}
}
