package registry

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
)

// TestReferencesFitIntoRows pushes manifests with as many references as a row holds, and everything else that shares
// a row as long as it can be. World.apply refuses rows that DynamoDB would refuse. What was pushed can be deleted.
func TestReferencesFitIntoRows(t *testing.T) {
	const perSHA512 = 65
	fits := maxPackedRefs / perSHA512
	for n, refused := range map[int]bool{fits: false, fits + 1: true, 7_000: true, MaxReferences: true} {
		w := newWorld(t.Errorf)
		at := func(_ string, call func() error) error { return call() }
		r := New(simMetadata{w, at}, simBlobs{w, at}, Options{})
		content, repo := manifestOf(n), strings.Repeat("r", 255)
		d := oci.SHA512.FromBytes(content)
		_, err := r.PushManifest(t.Context(), repo, ManifestPush{Digest: d, Tags: []string{strings.Repeat("t", 128)}, Content: content})
		if err == nil {
			err = r.DeleteManifest(t.Context(), repo, d)
		}
		if errors.Is(err, oci.NewError(oci.ManifestInvalid, "")) != refused || err != nil && !refused {
			t.Errorf("%d references: %v", n, err)
		}
	}
}

// manifestOf refers to n layers by sha512, none of which needs to be there.
func manifestOf(n int) []byte {
	var b strings.Builder
	d := oci.SHA512.FromBytes(nil)
	fmt.Fprintf(&b, `{"mediaType":"application/%s","artifactType":"%s","subject":{"digest":"%s"},"layers":[`,
		strings.Repeat("m", 243), strings.Repeat("a", maxArtifactTypeKey), d)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"sha512:%0128x"}`, i)
	}
	b.WriteString("]}")
	return []byte(b.String())
}
