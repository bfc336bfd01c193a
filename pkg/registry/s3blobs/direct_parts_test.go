package s3blobs

import (
	"encoding/xml"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/direct"
	"github.com/pierless/pierless/pkg/registry"
)

// listing answers ListParts as S3 does: no more than 1,000 parts at once.
type listing struct {
	XMLName              xml.Name `xml:"ListPartsResult"`
	IsTruncated          bool
	NextPartNumberMarker int
	Part                 []listedPart
}

type listedPart struct {
	PartNumber     int
	Size           int
	ETag           string
	ChecksumSHA256 string `xml:",omitempty"`
}

// lister returns Blobs on a server that has parts 1 to count of every upload.
func lister(t *testing.T, count int, sum string) (blobs *Blobs, calls *int) {
	t.Helper()
	calls = new(int)
	return on(t, func(w http.ResponseWriter, r *http.Request) {
		*calls++
		after, _ := strconv.Atoi(r.FormValue("part-number-marker"))
		if r.Method != http.MethodGet || r.FormValue("uploadId") != "id" || r.URL.Path != "/bucket/blobs/key" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		page := listing{}
		for n := after + 1; n <= count && n <= after+1000; n++ {
			page.Part = append(page.Part, listedPart{n, n, `"tag"`, sum})
			page.NextPartNumberMarker = n
		}
		page.IsTruncated = page.NextPartNumberMarker < count
		if err := xml.NewEncoder(w).Encode(page); err != nil {
			t.Error(err)
		}
	}), calls
}

// on returns Blobs on a server that answers so.
func on(t *testing.T, answer http.HandlerFunc) *Blobs {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	client := s3.New(s3.Options{
		Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		BaseEndpoint: aws.String(server.URL), UsePathStyle: true,
	})
	return New(client, "bucket", Options{})
}

// TestListPartsPages: an upload may have 10,000 parts, which are ten pages.
func TestListPartsPages(t *testing.T) {
	for _, count := range []int{0, 1, 1000, 1001, 10_000} {
		blobs, calls := lister(t, count, sumHello)
		parts, err := blobs.ListParts(t.Context(), "key", started("id"))
		if err != nil || len(parts) != count {
			t.Fatalf("%d parts, %v, want %d", len(parts), err, count)
		}
		for i, p := range parts {
			if want := (direct.Part{Number: i + 1, Size: int64(i + 1), Digest: ofHello}); p != want {
				t.Fatalf("%v, want %v", p, want)
			}
		}
		if want := max(1, (count+999)/1000); *calls != want {
			t.Errorf("%d parts took %d calls, want %d", count, *calls, want)
		}
		stop := errors.New("stop")
		err = blobs.CompleteParts(t.Context(), "key", started("id"), func(parts []direct.Part) error {
			if len(parts) != count {
				t.Errorf("asked about %d parts, want %d", len(parts), count)
			}
			return stop
		})
		if !errors.Is(err, stop) {
			t.Errorf("complete: %v", err)
		}
	}
}

// TestPartWithoutChecksum: a server that drops checksums is found out, before it
// stores anything that nobody has checked.
func TestPartWithoutChecksum(t *testing.T) {
	blobs, _ := lister(t, 3, "")
	if parts, err := blobs.ListParts(t.Context(), "key", started("id")); err == nil {
		t.Errorf("listed: %v", parts)
	}
	err := blobs.CompleteParts(t.Context(), "key", started("id"), func([]direct.Part) error { return nil })
	if err == nil {
		t.Error("completed")
	}
}

// TestWholeDigest: what S3 knows of parts is not taken for the digest of the whole.
func TestWholeDigest(t *testing.T) {
	const single, parts = `"d41d8cd98f00b204e9800998ecf8427e"`, `"d41d8cd98f00b204e9800998ecf8427e-1"`
	for name, tt := range map[string]struct {
		kind      types.ChecksumType
		sum, etag string
		want      oci.Digest
	}{
		"whole":                        {types.ChecksumTypeFullObject, sumHello, single, ofHello},
		"whole, of parts":              {types.ChecksumTypeFullObject, sumHello, parts, ofHello},
		"a server that does not say":   {"", sumHello, single, ofHello},
		"it says nothing, parts":       {"", sumHello, parts, ""},
		"it says nothing, parts, dash": {"", sumHello + "-2", parts, ""},
		"composite":                    {types.ChecksumTypeComposite, sumHello + "-2", parts, ""},
		"composite without a dash":     {types.ChecksumTypeComposite, sumHello, parts, ""},
		"another kind":                 {"NEW", sumHello, single, ""},
		"whole with a dash":            {types.ChecksumTypeFullObject, sumHello + "-1", single, ""},
		"too short":                    {types.ChecksumTypeFullObject, "LPJNug==", single, ""},
		"no checksum":                  {types.ChecksumTypeFullObject, "", single, ""},
	} {
		out := &s3.HeadObjectOutput{ChecksumType: tt.kind, ETag: aws.String(tt.etag), ChecksumSHA256: aws.String(tt.sum)}
		if got := wholeDigest(out); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if got := wholeDigest(&s3.HeadObjectOutput{}); got != "" {
		t.Errorf("nothing: %q", got)
	}
}

// TestStatEncoded: content that came with a Content-Encoding is not taken for what it is.
func TestStatEncoded(t *testing.T) {
	for encoding, want := range map[string]error{"": nil, "gzip": registry.ErrEncoded} {
		blobs := on(t, func(w http.ResponseWriter, _ *http.Request) {
			if encoding != "" {
				w.Header().Set("Content-Encoding", encoding)
			}
			w.Header().Set("Content-Length", "5")
			w.Header().Set("X-Amz-Checksum-Sha256", sumHello)
		})
		size, d, err := blobs.Stat(t.Context(), "key", true)
		if !errors.Is(err, want) || want == nil && (size != 5 || d != ofHello) {
			t.Errorf("%q: %d bytes, %s, %v", encoding, size, d, err)
		}
	}
}
