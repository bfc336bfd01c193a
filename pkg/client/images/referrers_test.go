package images

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// artifactOf is an artifact, which refers to subject unless that is nil. Its blob is pushed.
func artifactOf(t *testing.T, repo *client.Repository, artifactType string, subject *oci.Descriptor) client.Manifest {
	t.Helper()
	empty := []byte("{}")
	must(repo.PushBlob(t.Context(), client.Blob{
		Digest: digestOf(empty), Size: int64(len(empty)),
		Open: func(int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(empty)), nil },
	}))(t)
	m := map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "artifactType": artifactType, "layers": []any{},
		"config":      oci.Descriptor{MediaType: "application/vnd.oci.empty.v1+json", Digest: digestOf(empty), Size: 2},
		"annotations": map[string]string{"made-by": "test"},
	}
	if subject != nil {
		m["subject"] = subject
	}
	content := jsonOf(t, m)
	return manifestOf(oci.Descriptor{MediaType: oci.MediaTypeImageManifest, Digest: digestOf(content)}, content)
}

func pushReferrer(
	t *testing.T, reg *testRegistry, name string, subject oci.Descriptor, artifactType string,
) oci.Digest {
	t.Helper()
	repo := must(reg.Repository(name))(t)
	m := artifactOf(t, repo, artifactType, &subject)
	must(repo.PushManifest(t.Context(), oci.Reference{Digest: m.Digest}, m.MediaType, m.Content))(t)
	return m.Digest
}

func pushTagged(t *testing.T, reg *testRegistry, name, tag, artifactType string) oci.Digest {
	t.Helper()
	repo := must(reg.Repository(name))(t)
	m := artifactOf(t, repo, artifactType, nil)
	must(repo.PushManifest(t.Context(), oci.Reference{Tag: tag}, m.MediaType, m.Content))(t)
	return m.Digest
}

// withoutReferrers hides the referrers API, as registries lack it that know subjects no
// better than any other field.
func (r *testRegistry) withoutReferrers() *testRegistry {
	r.intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if strings.Contains(req.URL.Path, "/referrers/") {
			http.NotFound(w, req)
			return true
		}
		return false
	})
	r.hide = "OCI-Subject"
	return r
}

// listed are the referrers of a digest.
func (r *testRegistry) listed(t *testing.T, name string, d oci.Digest) []oci.Digest {
	t.Helper()
	var found []oci.Digest
	for d, err := range must(r.Repository(name))(t).Referrers(t.Context(), d, "") {
		found = append(found, must(d.Digest, err)(t))
		if d.Annotations["made-by"] != "test" || !strings.HasPrefix(d.ArtifactType, "application/x-") {
			t.Errorf("the descriptor %+v does not say what the manifest says", d)
		}
	}
	slices.Sort(found)
	return found
}

func sorted(d ...oci.Digest) []oci.Digest {
	slices.Sort(d)
	return d
}

// signedIndex is an index, with referrers of itself, of an image and of a referrer, and
// with signatures of cosign.
type signedIndex struct {
	root               client.Manifest
	amd64              oci.Digest
	ofRoot, ofAmd64    []oci.Digest
	ofSBOM             oci.Digest
	signature, attests oci.Digest // by tag: of the index, and of the image
}

func (s signedIndex) tags() map[string]oci.Digest {
	return map[string]oci.Digest{cosignTag(s.root.Digest, ".sig"): s.signature, cosignTag(s.amd64, ".att"): s.attests}
}

func cosignTag(d oci.Digest, suffix string) string {
	return strings.Replace(string(d), ":", "-", 1) + suffix
}

func pushSigned(t *testing.T, reg *testRegistry, spool *Spool) signedIndex {
	t.Helper()
	s := signedIndex{root: pushIndex(t, reg, spool, "app:1")}
	s.amd64 = reg.resolve(t, "app:1amd64")
	image := must(must(reg.Repository("app"))(t).Resolve(t.Context(), oci.Reference{Digest: s.amd64}))(t)
	for _, kind := range []string{"sbom", "signature", "scan"} {
		s.ofRoot = append(s.ofRoot, pushReferrer(t, reg, "app", s.root.Descriptor, "application/x-"+kind))
	}
	s.ofAmd64 = []oci.Digest{pushReferrer(t, reg, "app", image, "application/x-sbom")}
	sbom := must(must(reg.Repository("app"))(t).Resolve(t.Context(), oci.Reference{Digest: s.ofAmd64[0]}))(t)
	s.ofSBOM = pushReferrer(t, reg, "app", sbom, "application/x-signature")
	s.signature = pushTagged(t, reg, "app", cosignTag(s.root.Digest, ".sig"), "application/x-cosign")
	s.attests = pushTagged(t, reg, "app", cosignTag(s.amd64, ".att"), "application/x-attestation")
	return s
}

func (s signedIndex) check(t *testing.T, reg *testRegistry, name string) {
	t.Helper()
	for subject, want := range map[oci.Digest][]oci.Digest{
		s.root.Digest: sorted(s.ofRoot...), s.amd64: s.ofAmd64, s.ofAmd64[0]: {s.ofSBOM}, s.ofSBOM: nil,
	} {
		if got := reg.listed(t, name, subject); !slices.Equal(got, want) {
			t.Errorf("referrers of %s: %v, want %v", subject, got, want)
		}
	}
	for tag, want := range s.tags() {
		if got := reg.resolve(t, name+":"+tag); got != want {
			t.Errorf("%s is %q, want %s", tag, got, want)
		}
	}
}

// checkLayout fails unless index.json names the image, referrers and signatures once.
func (s signedIndex) checkLayout(t *testing.T, dir string) {
	t.Helper()
	var got []string
	for _, c := range must(readIndex(must(os.ReadFile(filepath.Join(dir, indexFile)))(t)))(t).Manifests {
		got = append(got, string(c.Digest)+" "+c.Annotations[refName])
	}
	want := []string{string(s.root.Digest) + " 1"}
	for tag, d := range s.tags() {
		want = append(want, string(d)+" "+tag)
	}
	for _, d := range slices.Concat(s.ofRoot, s.ofAmd64, []oci.Digest{s.ofSBOM}) {
		want = append(want, string(d)+" ")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("index.json names %q, want %q", got, want)
	}
}

// TestReferrers: signatures and SBOMs are found wherever they were copied to, through
// registries with the referrers API and without, layouts and archives.
func TestReferrers(t *testing.T) {
	from, without, back := newTestRegistry(t), newTestRegistry(t).withoutReferrers(), newTestRegistry(t)
	spool := testSpool(t)
	s := pushSigned(t, from, spool)
	opts := Options{Referrers: true}
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "image.tar")
	archive := func() Reference { return place(t, "oci-archive:"+file+":1") }
	for range 2 { // the second time adds nothing
		must(copyImage(t, from.from(t, "app:1"), without.to(t, "app:1"), opts))(t)
	}
	s.check(t, without, "app")
	for _, subject := range []oci.Digest{s.root.Digest, s.amd64} {
		if without.resolve(t, "app:"+client.ReferrersTag(subject)) == "" {
			t.Errorf("the registry without the referrers API has no list of %s", subject)
		}
	}
	for range 2 {
		must(copyImage(t, without.from(t, "app:1"), must(ToLayout(dir, "1"))(t), opts))(t)
	}
	s.checkLayout(t, dir)
	must(copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), must(ToArchive(archive(), spool))(t), opts))(t)
	must(copyImage(t, must(FromArchive(archive(), nil, spool))(t), back.to(t, "app:1"), opts))(t)
	s.check(t, back, "app")
	if got := back.resolve(t, "app:"+client.ReferrersTag(s.root.Digest)); got != "" {
		t.Errorf("a registry with the referrers API got the list %s", got)
	}
	must(copyImage(t, without.from(t, "app:1"), back.to(t, "direct:1"), opts))(t)
	s.check(t, back, "direct")
	// Without --referrers nothing but the image goes.
	must(copyImage(t, from.from(t, "app:1"), back.to(t, "alone:1"), Options{}))(t)
	if got := back.listed(t, "alone", s.root.Digest); len(got) > 0 {
		t.Errorf("referrers %v", got)
	}
	for tag := range s.tags() {
		if got := back.resolve(t, "alone:"+tag); got != "" {
			t.Errorf("%s was copied", tag)
		}
	}
}

// TestReferrerAsImage: an artifact that is copied itself is listed too, and the image shows
// after its signatures.
func TestReferrerAsImage(t *testing.T) {
	from, to := newTestRegistry(t), newTestRegistry(t).withoutReferrers()
	s := pushSigned(t, from, testSpool(t))
	must(copyImage(t, from.from(t, "app@"+string(s.ofRoot[0])), to.to(t, "app:sbom"), Options{}))(t)
	if got := to.listed(t, "app", s.root.Digest); !slices.Equal(got, s.ofRoot[:1]) {
		t.Errorf("referrers %v, want %s", got, s.ofRoot[0])
	}
	list := "/manifests/" + client.ReferrersTag(s.root.Digest)
	var order []string
	reads := 0
	to.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		path := r.URL.Path
		if r.Method == http.MethodPut && (strings.HasSuffix(path, list) || strings.HasSuffix(path, "/manifests/1")) {
			order = append(order, path)
		}
		if r.Method == http.MethodGet && strings.HasSuffix(path, list) {
			reads++
		}
		if strings.Contains(path, "/referrers/") {
			http.NotFound(w, r)
			return true
		}
		return false
	})
	must(copyImage(t, from.from(t, "app:1"), to.to(t, "late:1"), Options{Referrers: true}))(t)
	if want := []string{"/v2/late" + list, "/v2/late/manifests/1"}; !slices.Equal(order, want) {
		t.Errorf("written in the order %q, want %q", order, want)
	}
	if reads != 2 { // before and after the write
		t.Errorf("the list was read %d times", reads)
	}
}

// TestReferrersThatCannotBeListed: a signature that would be out of sight fails the copy.
func TestReferrersThatCannotBeListed(t *testing.T) {
	from, to := newTestRegistry(t), newTestRegistry(t).withoutReferrers()
	s := pushSigned(t, from, testSpool(t))
	pushTagged(t, to, "app", client.ReferrersTag(s.root.Digest), "application/x-other")
	_, err := copyImage(t, from.from(t, "app:1"), to.to(t, "app:1"), Options{Referrers: true})
	if err == nil || !strings.Contains(err.Error(), "not a list of referrers") || to.resolve(t, "app:1") != "" {
		t.Errorf("the image shows, or another error: %v", err)
	}
}

// TestStaleReferrer: a list may name referrers that were deleted.
func TestStaleReferrer(t *testing.T) {
	from, to := newTestRegistry(t).withoutReferrers(), newTestRegistry(t)
	s := pushSigned(t, from, testSpool(t))
	repo := must(from.Repository("app"))(t)
	if err := repo.DeleteManifest(t.Context(), oci.Reference{Digest: s.ofRoot[0]}); err != nil {
		t.Fatal(err)
	}
	w := &watcher{}
	must(copyImage(t, from.from(t, "app:1"), to.to(t, "app:1"), Options{Referrers: true, Observer: w}))(t)
	if got := to.listed(t, "app", s.root.Digest); !slices.Equal(got, sorted(s.ofRoot[1:]...)) {
		t.Errorf("referrers %v", got)
	}
	if len(w.notes) != 1 || !strings.Contains(w.notes[0], string(s.ofRoot[0])) {
		t.Errorf("notes %q", w.notes)
	}
}

// TestLayoutWithReferrersTag: regctl keeps the list in layouts too.
func TestLayoutWithReferrersTag(t *testing.T) {
	from, to := newTestRegistry(t).withoutReferrers(), newTestRegistry(t)
	s := pushSigned(t, from, testSpool(t))
	dir := t.TempDir()
	tag := client.ReferrersTag(s.root.Digest)
	must(copyImage(t, from.from(t, "app:"+tag), must(ToLayout(dir, tag))(t), Options{}))(t)
	must(copyImage(t, from.from(t, "app:1"), must(ToLayout(dir, "1"))(t), Options{}))(t)
	must(copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), to.to(t, "app:1"), Options{Referrers: true}))(t)
	if got := to.listed(t, "app", s.root.Digest); !slices.Equal(got, sorted(s.ofRoot...)) {
		t.Errorf("referrers %v, want %v", got, s.ofRoot)
	}
	if err := os.Remove(filepath.Join(dir, blobPath(s.ofRoot[0]))); err != nil {
		t.Fatal(err)
	}
	// index.json names referrers as well, since the list was copied with its entries.
	content := must(os.ReadFile(filepath.Join(dir, indexFile)))(t)
	in := must(readIndex(content))(t)
	in.Manifests = slices.DeleteFunc(in.Manifests, func(c child) bool { return c.Annotations[refName] == "" })
	if err := os.WriteFile(filepath.Join(dir, indexFile), jsonOf(t, in), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &watcher{}
	opts := Options{Referrers: true, Observer: w}
	must(copyImage(t, must(FromLayout(dir, oci.Reference{}))(t), to.to(t, "less:1"), opts))(t)
	if got := to.listed(t, "less", s.root.Digest); !slices.Equal(got, sorted(s.ofRoot[1:]...)) || len(w.notes) != 1 {
		t.Errorf("referrers %v, notes %q", got, w.notes)
	}
}

// TestReferrerInLayout: index.json names an artifact that was copied itself once.
func TestReferrerInLayout(t *testing.T) {
	from := newTestRegistry(t)
	s := pushSigned(t, from, testSpool(t))
	dir := t.TempDir()
	must(copyImage(t, from.from(t, "app@"+string(s.ofRoot[0])), must(ToLayout(dir, "sbom"))(t), Options{}))(t)
	in := must(readIndex(must(os.ReadFile(filepath.Join(dir, indexFile)))(t)))(t)
	if len(in.Manifests) != 1 || in.Manifests[0].Digest != s.ofRoot[0] || in.Manifests[0].Annotations[refName] != "sbom" {
		t.Errorf("index.json names %+v", in.Manifests)
	}
}

// TestReferrersOfSHA512: the referrers tag is cut, and cosign's tags would be too long.
func TestReferrersOfSHA512(t *testing.T) {
	from, to := newTestRegistry(t).withoutReferrers(), newTestRegistry(t).withoutReferrers()
	repo := must(from.Repository("app"))(t)
	image := artifactOf(t, repo, "application/x-image", nil)
	image.Digest = oci.SHA512.FromBytes(image.Content)
	must(repo.PushManifest(t.Context(), oci.Reference{Digest: image.Digest}, image.MediaType, image.Content))(t)
	sbom := pushReferrer(t, from, "app", image.Descriptor, "application/x-sbom")
	ref := "app@" + string(image.Digest)
	must(copyImage(t, from.from(t, ref), to.to(t, ref), Options{Referrers: true}))(t)
	if got := to.listed(t, "app", image.Digest); !slices.Equal(got, []oci.Digest{sbom}) {
		t.Errorf("referrers %v", got)
	}
}
