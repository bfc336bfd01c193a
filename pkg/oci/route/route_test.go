package route_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

const (
	dgst   = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	dgst5  = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
	longID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

func TestParse(t *testing.T) {
	tests := []struct {
		path string
		want route.Request
	}{
		{"/v2", route.Request{Kind: route.Base}},
		{"/v2/", route.Request{Kind: route.Base}},
		{"/v2/_catalog", route.Request{Kind: route.Catalog}},
		{"/v2/_pierless/token", route.Request{Kind: route.Token}},
		{"/v2/a/blobs/" + dgst, route.Request{Kind: route.Blob, Name: "a", Digest: dgst}},
		{"/v2/a/b/c/blobs/" + dgst5, route.Request{Kind: route.Blob, Name: "a/b/c", Digest: dgst5}},
		{"/v2/a/blobs/uploads/", route.Request{Kind: route.UploadStart, Name: "a"}},
		{"/v2/a/blobs/uploads", route.Request{Kind: route.UploadStart, Name: "a"}},
		{"/v2/a/blobs/uploads/" + longID, route.Request{Kind: route.Upload, Name: "a", Upload: longID}},
		{"/v2/a/manifests/latest", route.Request{Kind: route.Manifest, Name: "a", Reference: oci.Reference{Tag: "latest"}}},
		{"/v2/a/manifests/" + dgst, route.Request{Kind: route.Manifest, Name: "a", Reference: oci.Reference{Digest: dgst}}},
		{"/v2/a/tags/list", route.Request{Kind: route.TagList, Name: "a"}},
		{"/v2/a/referrers/" + dgst, route.Request{Kind: route.Referrers, Name: "a", Digest: dgst}},
		{"/v2/a/_pierless/uploads", route.Request{Kind: route.DirectStart, Name: "a"}},
		{"/v2/a/b/_pierless/uploads/" + longID, route.Request{Kind: route.Direct, Name: "a/b", Upload: longID}},
		{"/v2/a/_pierless/parts/" + longID, route.Request{Kind: route.DirectParts, Name: "a", Upload: longID}},
		{"/v2/a/_pierless/verifications/" + longID, route.Request{Kind: route.Verification, Name: "a", Upload: longID}},
		// Names made of the grammar's own words.
		{"/v2/a/blobs/uploads/manifests/x", route.Request{Kind: route.Manifest, Name: "a/blobs/uploads", Reference: oci.Reference{Tag: "x"}}},
		{"/v2/blobs/blobs/" + dgst, route.Request{Kind: route.Blob, Name: "blobs", Digest: dgst}},
		{"/v2/blobs/uploads/blobs/uploads/", route.Request{Kind: route.UploadStart, Name: "blobs/uploads"}},
		{"/v2/blobs/uploads/blobs/uploads/x", route.Request{Kind: route.Upload, Name: "blobs/uploads", Upload: "x"}},
		{"/v2/tags/list/tags/list", route.Request{Kind: route.TagList, Name: "tags/list"}},
		{"/v2/manifests/manifests/manifests", route.Request{Kind: route.Manifest, Name: "manifests", Reference: oci.Reference{Tag: "manifests"}}},
		{"/v2/a/uploads/tags/list", route.Request{Kind: route.TagList, Name: "a/uploads"}},
		{"/v2/a/manifests/_pierless", route.Request{Kind: route.Manifest, Name: "a", Reference: oci.Reference{Tag: "_pierless"}}},
		{"/v2/a/blobs/uploads/_pierless", route.Request{Kind: route.Upload, Name: "a", Upload: "_pierless"}},
		{"/v2/a/_pierless/uploads/_pierless", route.Request{Kind: route.Direct, Name: "a", Upload: "_pierless"}},
		{"/v2/a/_pierless/uploads/uploads", route.Request{Kind: route.Direct, Name: "a", Upload: "uploads"}},
		{"/v2/uploads/_pierless/uploads", route.Request{Kind: route.DirectStart, Name: "uploads"}},
		{"/v2/a/blobs/uploads/_pierless/uploads", route.Request{Kind: route.DirectStart, Name: "a/blobs/uploads"}},
		{"/v2/parts/verifications/_pierless/parts/parts", route.Request{Kind: route.DirectParts, Name: "parts/verifications", Upload: "parts"}},
		{"/v2/a/_pierless/verifications/list", route.Request{Kind: route.Verification, Name: "a", Upload: "list"}},
		{"/v2/a/manifests/uploads", route.Request{Kind: route.Manifest, Name: "a", Reference: oci.Reference{Tag: "uploads"}}},
	}
	for _, tt := range tests {
		got, err := route.Parse(tt.path)
		if err != nil || got != tt.want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", tt.path, got, err, tt.want)
		}
		if again, err := route.Parse(got.Path()); err != nil || again != got {
			t.Errorf("Parse(%q) = %+v, %v; want it back as it was", got.Path(), again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	long := strings.Repeat("a", 256)
	tests := []struct {
		path string
		want oci.Code
	}{
		{"", oci.Unsupported},
		{"/", oci.Unsupported},
		{"/v1/a/tags/list", oci.Unsupported},
		{"/v2x/a/tags/list", oci.Unsupported},
		{"/v2/a", oci.Unsupported},
		{"/v2/a/tags", oci.Unsupported},
		{"/v2/a/tags/list/", oci.Unsupported},
		{"/v2/a/uploads/" + longID, oci.Unsupported},
		{"/v2//tags/list", oci.NameInvalid},
		{"/v2/tags/list", oci.NameInvalid},
		{"/v2/blobs/" + dgst, oci.NameInvalid},
		{"/v2/blobs/uploads/", oci.NameInvalid},
		{"/v2/a//b/tags/list", oci.NameInvalid},
		{"/v2/../tags/list", oci.NameInvalid},
		{"/v2/a/../b/tags/list", oci.NameInvalid},
		{"/v2/./tags/list", oci.NameInvalid},
		{"/v2/A/tags/list", oci.NameInvalid},
		{"/v2/a\x00b/tags/list", oci.NameInvalid},
		{"/v2/a%2Fb/tags/list", oci.NameInvalid},
		{"/v2/a?x/manifests/x", oci.NameInvalid},
		{"/v2/a#x/manifests/x", oci.NameInvalid},
		{"/v2/-a/tags/list", oci.NameInvalid},
		{"/v2/a___b/tags/list", oci.NameInvalid},
		{"/v2/a..b/tags/list", oci.NameInvalid},
		{"/v2/a._b/tags/list", oci.NameInvalid},
		{"/v2/ä/tags/list", oci.NameInvalid},
		{"/v2/" + long + "/tags/list", oci.NameInvalid},
		{"/v2/a/manifests/", oci.TagInvalid},
		{"/v2/a/manifests/.x", oci.TagInvalid},
		{"/v2/a/manifests/" + strings.Repeat("t", 129), oci.TagInvalid},
		{"/v2/a/manifests/sha256:abc", oci.DigestInvalid},
		{"/v2/a/blobs/latest", oci.DigestInvalid},
		{"/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", oci.DigestInvalid},
		{"/v2/a/blobs/" + strings.ToUpper(dgst), oci.DigestInvalid},
		{"/v2/a/referrers/latest", oci.DigestInvalid},
		{"/v2/a/blobs/uploads/..", oci.BlobUploadUnknown},
		{"/v2/a/blobs/uploads/a%2Fb", oci.BlobUploadUnknown},
		{"/v2/_pierless/token/", oci.Unsupported},
		{"/v2/a/_pierless/token", oci.Unsupported},
		{"/v2/_pierless/uploads", oci.NameInvalid},
		{"/v2/_pierless/uploads/x", oci.NameInvalid},
		{"/v2//_pierless/uploads", oci.NameInvalid},
		{"/v2/A/_pierless/parts/x", oci.NameInvalid},
		{"/v2/a/_pierless/_pierless/uploads", oci.NameInvalid},
		{"/v2/a/_pierless/tags/list", oci.NameInvalid},
		{"/v2/a/_pierless/manifests/x", oci.NameInvalid},
		{"/v2/a/_pierless/blobs/uploads/", oci.NameInvalid},
		{"/v2/a/_pierless/b/_pierless/uploads", oci.NameInvalid},
		{"/v2/a/_pierless", oci.Unsupported},
		{"/v2/a/_pierless/parts", oci.Unsupported},
		{"/v2/a/_pierless/verifications", oci.Unsupported},
		{"/v2/a/_pierless/other/x", oci.Unsupported},
		{"/v2/a/_pierless/uploads/x/y", oci.Unsupported},
		{"/v2/a/_pierless/uploads/", oci.BlobUploadUnknown},
		{"/v2/a/_pierless/parts/", oci.BlobUploadUnknown},
		{"/v2/a/_pierless/verifications/..", oci.BlobUploadUnknown},
		{"/v2/a/_pierless/uploads/" + strings.Repeat("0", 129), oci.BlobUploadUnknown},
	}
	for _, tt := range tests {
		got, err := route.Parse(tt.path)
		var oe *oci.Error
		if !errors.As(err, &oe) || oe.Code != tt.want || got != (route.Request{}) {
			t.Errorf("Parse(%q) = %+v, %v; want %s", tt.path, got, err, tt.want)
		}
	}
}

func TestParseEscaped(t *testing.T) {
	want := route.Request{Kind: route.Blob, Name: "a", Digest: dgst}
	if got, err := route.ParseEscaped("/v2/a/blobs/" + strings.ReplaceAll(dgst, ":", "%3A")); err != nil || got != want {
		t.Errorf("an escaped colon: got %+v, %v; want %+v", got, err, want)
	}
	for _, path := range []string{
		"/v2/a%2Fb/tags/list", "/v2/a%2fb/tags/list", "/v2/a%252Fb/tags/list", "/v2/%zz/tags/list",
		"/v2/%2e%2e/tags/list", "/v2/a%00/tags/list", "/v2/a%3Fx/tags/list", "/v2%2Fa/tags/list",
	} {
		got, err := route.ParseEscaped(path)
		var oe *oci.Error
		if !errors.As(err, &oe) {
			t.Errorf("ParseEscaped(%q) = %+v, %v; want an OCI error", path, got, err)
		}
	}
}

// FuzzParse holds that whatever is accepted is valid, and that Path is the
// inverse of Parse.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"/v2/", "/v2/_catalog", "/v2/_pierless/token", "/v2/a/blobs/" + dgst, "/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/x",
		"/v2/a/blobs/uploads/manifests/x", "/v2/a/../b/tags/list", "/v2/a%2Fb/tags/list", "/v2/a/referrers/" + dgst5,
		"/v2/a/_pierless/uploads", "/v2/a/_pierless/uploads/x", "/v2/a/b/_pierless/parts/x", "/v2/a/_pierless/verifications/x",
		"/v2/uploads/_pierless/uploads/_pierless", "/v2/_pierless/uploads", "/v2/a/_pierless/parts/", "/v2/a/manifests/_pierless",
		"/v2/tags/list/tags/list", "/v2//blobs/uploads/", "/v2/blobs/uploads/blobs/uploads/%00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if r, err := route.ParseEscaped(path); err == nil && strings.ContainsAny(r.Path(), "%?#\x00") {
			t.Fatalf("ParseEscaped(%q) let an escape through: %q", path, r.Path())
		}
		r, err := route.Parse(path)
		if err != nil {
			var oe *oci.Error
			if !errors.As(err, &oe) || r != (route.Request{}) {
				t.Fatalf("Parse(%q) = %+v, %v; want an OCI error alone", path, r, err)
			}
			return
		}
		if r.Kind != route.Base && r.Kind != route.Catalog && r.Kind != route.Token {
			if err := oci.CheckName(r.Name); err != nil {
				t.Fatalf("Parse(%q) accepted the name %q", path, r.Name)
			}
		}
		again, err := route.Parse(r.Path())
		if err != nil || again != r {
			t.Fatalf("Parse(%q) = %+v, and its path %q gives %+v, %v", path, r, r.Path(), again, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for name, path := range map[string]string{
		"base": "/v2/", "blob": "/v2/team/app/blobs/" + dgst, "manifest": "/v2/team/app/manifests/latest",
		"upload": "/v2/team/app/blobs/uploads/" + longID, "none": "/v2/team/app/other/latest",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = route.ParseEscaped(path)
			}
		})
	}
}

func BenchmarkPath(b *testing.B) {
	r := route.Request{Kind: route.Blob, Name: "team/app", Digest: dgst}
	b.ReportAllocs()
	for b.Loop() {
		_ = r.Path()
	}
}
