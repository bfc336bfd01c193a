package registry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
)

// TestReferrerOfAnEarlierVersion: a manifest that would be refused today is listed.
func TestReferrerOfAnEarlierVersion(t *testing.T) {
	w := newWorld(t.Errorf)
	at := func(_ string, call func() error) error { return call() }
	r := New(simMetadata{w, at}, simBlobs{w, at}, Options{})
	subject := oci.SHA256.FromBytes(nil)
	content := []byte(`{"subject":` + descriptorJSON(nil) + `,"annotations":{"pad":"` + strings.Repeat("x", maxDescriptor) + `"}}`)
	pushed, err := r.PushManifest(t.Context(), "r", ManifestPush{ContentType: "application/vnd.example+json", Content: content})
	if err != nil {
		t.Fatal(err)
	}
	w.rows[contentKey("r", pushed.Digest)][attrMediaType] = "text/html"
	list, err := r.Referrers(t.Context(), "r", subject, "", "")
	if err != nil || len(list.Index.Manifests) != 1 || list.Index.Manifests[0].Digest != pushed.Digest {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestPageOfLargeReferrers: a page reads a bounded number of bytes, and no referrer is
// missing from the pages.
func TestPageOfLargeReferrers(t *testing.T) {
	w := newWorld(t.Errorf)
	read := 0
	at := func(what string, call func() error) error {
		if what == "open" {
			read += MaxManifest
		}
		return call()
	}
	r := New(simMetadata{w, at}, simBlobs{w, at}, Options{})
	const total = 9
	for i := range total {
		annotations := strings.Repeat("x", maxDescriptor)
		head := fmt.Sprintf(`{"subject":%s,"n":%d,"annotations":{"pad":%q},"pad":"`, descriptorJSON(nil), i, annotations)
		content := head + strings.Repeat("x", MaxManifest-len(head)-2) + `"}`
		push := ManifestPush{ContentType: "application/vnd.example+json", Content: []byte(content)}
		if _, err := r.PushManifest(t.Context(), "r", push); err != nil {
			t.Fatal(err)
		}
	}
	found, from := 0, ""
	for range total {
		read = 0
		page, err := r.Referrers(t.Context(), "r", oci.SHA256.FromBytes(nil), "", from)
		if err != nil {
			t.Fatal(err)
		}
		if read > referrersRead {
			t.Errorf("a page read %d bytes, want at most %d", read, referrersRead)
		}
		found += len(page.Index.Manifests)
		if from = page.Next; from == "" {
			break
		}
	}
	if found != total || from != "" {
		t.Errorf("%d referrers, next %q; want %d", found, from, total)
	}
}
