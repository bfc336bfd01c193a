package registry

import (
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
)

// TestReferrerOfAnEarlierVersion: a manifest that would be refused today is listed.
func TestReferrerOfAnEarlierVersion(t *testing.T) {
	w := newWorld(t.Errorf)
	at := func(_ string, call func() error) error { return call() }
	r := New(simNames{w, at}, simBlobs{w, at}, Options{})
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
