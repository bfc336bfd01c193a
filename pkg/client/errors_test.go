package client_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// TestErrors: every error of an answer comes through, and what is no such answer is told
// by its status.
func TestErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		codes  []oci.Code
		words  []string
	}{
		"two": {
			400, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"no layer","detail":{"digest":"sha256:1"}},{"code":"X_OWN","message":"more"}]}`,
			[]oci.Code{oci.ManifestBlobUnknown, "X_OWN"},
			[]string{"no layer", `{"digest":"sha256:1"}`, "more", "400"},
		},
		"HTML":     {404, "<html>\n<b>nothing\x00 here</b></html>", []oci.Code{oci.ManifestUnknown}, []string{"nothing here"}},
		"empty":    {403, "", []oci.Code{oci.Denied}, []string{"forbidden"}},
		"gateway":  {413, `{"message":"Request Entity Too Large"}`, []oci.Code{oci.SizeInvalid}, []string{"pierless push", "pierless proxy", "pierless serve", "Request Entity"}},
		"ours":     {413, `{"errors":[{"code":"MANIFEST_INVALID","message":"too large a manifest"}]}`, []oci.Code{oci.ManifestInvalid}, []string{"too large a manifest"}},
		"escapes":  {400, `{"errors":[{"code":"UNKNOWN","message":"a\u001b[31m\u0007 red\nline"}]}`, []oci.Code{oci.Unknown}, []string{"a[31m red line"}},
		"no codes": {400, `{"errors":[]}`, []oci.Code{oci.Unknown}, nil},
		"redirect": {304, "", []oci.Code{oci.Unknown}, []string{"304"}},
	} {
		r := newRepository(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(tt.body))
		})), "a", client.Options{})
		_, err := r.PushManifest(t.Context(), oci.Reference{Tag: "x"}, oci.MediaTypeImageManifest, []byte("{}"))
		var answer *client.Error
		var all oci.Errors
		if !errors.As(err, &answer) || !errors.As(err, &all) || answer.Status != tt.status || answer.Path != "/v2/a/manifests/x" || len(all) != len(tt.codes) {
			t.Fatalf("%s: %#v", name, err)
		}
		for _, code := range tt.codes {
			if !errors.Is(err, &oci.Error{Code: code}) {
				t.Errorf("%s: %v is no %s", name, err, code)
			}
		}
		for _, word := range tt.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q lacks %q", name, err, word)
			}
		}
	}
}

// TestNothingLeaks: neither errors nor the log show a store's signature, credentials, or
// the id of an upload.
func TestNothingLeaks(t *testing.T) {
	address, s := newDirectRegistry(t)
	content := randomBytes(1, 5*mib)
	r := newRepository(t, address, "a", client.Options{})
	if _, err := r.PushBlob(t.Context(), blobOf(content)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	var ids []string
	for _, what := range []fault{refused, cutAnswer, lostAnswer, unavailable} {
		f := &faults{pick: func(req *http.Request, _ int) fault {
			if _, id, found := strings.Cut(req.URL.Path, "/uploads/"); found && len(id) > 20 {
				ids = append(ids, strings.Split(id, "/")[0])
			}
			if strings.HasPrefix(s.address, "http://"+req.URL.Host) || len(ids) > 0 && strings.Contains(req.URL.Path, ids[len(ids)-1]) {
				return what
			}
			return none
		}}
		r := newRepository(t, address, "a", client.Options{
			Transport: f, Attempts: 2, Authorization: "Bearer hush", Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		_, err := r.Blob(t.Context(), oci.SHA256.FromBytes(content), 5*mib)
		_, pushErr := r.PushBlob(t.Context(), blobOf(randomBytes(uint64(what)+5, 5*mib)))
		for _, err := range []error{err, pushErr} {
			if err != nil {
				log.WriteString(err.Error())
			}
		}
	}
	if len(ids) == 0 || !strings.Contains(log.String(), "repeated") {
		t.Fatalf("nothing failed: %s", log.String())
	}
	for _, word := range append(ids, "X-Signature", "s3cr3t", "hush") {
		if strings.Contains(log.String(), word) {
			t.Errorf("%q is shown: %s", word, log.String())
		}
	}
}
