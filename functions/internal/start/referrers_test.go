package start_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/storetest"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// TestHugeReferrers: whatever referrers were accepted, their list fits through a function, in pages with all of them.
func TestHugeReferrers(t *testing.T) {
	const most = 3_900_000 // leaves room for the rest of a manifest of 4 MiB
	for name, tt := range map[string]struct {
		n            int
		annotation   string
		artifactType string
		annotated    bool // whether the list shows the annotation
		typed        bool // whether it shows the artifact type
	}{
		"two of 3 MB":                 {2, strings.Repeat("x", 3_000_000), "application/x", true, true},
		"escapes":                     {1, strings.Repeat("<", 1_200_000), "application/x", false, true},
		"escapes that fit":            {3, strings.Repeat("<", 690_000), "application/x", true, true},
		"the largest":                 {2, strings.Repeat("x", most), "application/x", true, true},
		"as much as a row holds":      {120, strings.Repeat("x", 32_000), "application/x", true, true},
		"more than a row holds":       {150, strings.Repeat("x", 34_000), "application/x", true, true},
		"a huge artifact type":        {2, "", strings.Repeat("x", most), true, true},
		"an artifact type of escapes": {2, "", strings.Repeat("<", most), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			meta, blobs := storetest.Open(t)
			c := newCloud(t, meta, blobs)
			subject := oci.SHA256.FromBytes([]byte("subject"))
			want := map[oci.Digest]bool{}
			for i := range tt.n {
				m, err := json.Marshal(map[string]any{
					"artifactType": tt.artifactType, "subject": map[string]any{"digest": subject, "size": 7, "mediaType": "a/b"},
					"annotations": map[string]string{"n": fmt.Sprint(i)},
				})
				if err != nil {
					t.Fatal(err)
				}
				content := strings.Replace(string(m), `"n":`, `"a":"`+tt.annotation+`","n":`, 1)
				content = strings.ReplaceAll(content, `\u003c`, "<")
				r := c.request("PUT", "/v2/a/manifests/"+string(oci.SHA256.FromBytes([]byte(content))), content)
				r.Header.Set("Content-Type", "application/vnd.example+json")
				if resp := c.call(t.Context(), route.FamilyManifests, r); resp.StatusCode != http.StatusCreated {
					t.Fatalf("push: %d %v", resp.StatusCode, errorOf(resp))
				}
				want[oci.SHA256.FromBytes([]byte(content))] = true
			}
			for query := ""; ; {
				r := c.request("GET", "/v2/a/referrers/"+string(subject), "")
				r.URL.RawQuery = query
				resp := c.call(t.Context(), route.FamilyReferrers, r)
				var index oci.Index
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("list: %d %v", resp.StatusCode, errorOf(resp))
				}
				if err := json.NewDecoder(resp.Body).Decode(&index); err != nil {
					t.Fatal(err)
				}
				for _, m := range index.Manifests {
					if !want[m.Digest] {
						t.Errorf("%s is listed twice, or was never pushed", m.Digest)
					}
					delete(want, m.Digest)
					if (m.Annotations["a"] == tt.annotation && m.Annotations["n"] != "") != tt.annotated || (m.ArtifactType == tt.artifactType) != tt.typed {
						t.Errorf("%d annotations, artifact type of %d bytes", len(m.Annotations), len(m.ArtifactType))
					}
				}
				link := resp.Header.Get("Link")
				if link == "" {
					break
				}
				next, err := url.Parse(strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`))
				if err != nil {
					t.Fatal(err)
				}
				query = next.RawQuery
			}
			if len(want) > 0 {
				t.Errorf("%d referrers are missing", len(want))
			}
		})
	}
}
