package s3blobs

import (
	"strings"
	"testing"
)

// TestContentHasOnePrefix: lifecycle rules, which expire objects under tails/, must match no
// content.
func TestContentHasOnePrefix(t *testing.T) {
	for _, key := range []string{"", strings.Repeat("0", 64), "../" + tailPrefix, tailPrefix} {
		if object := *contentKey(key); !strings.HasPrefix(object, "blobs/") {
			t.Errorf("content of %q is stored at %s, outside of blobs/", key, object)
		}
	}
	if object := *tailKey("k", "n"); !strings.HasPrefix(object, "tails/") {
		t.Errorf("a tail is stored at %s, outside of tails/", object)
	}
}
