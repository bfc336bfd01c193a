package doctor

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// stage is what of the visit's content a check needs in the registry.
type stage int

const (
	nothing   stage = iota
	needBlobs       // a config and a layer
	needImage       // an image, tagged imageTag
)

const (
	imageTag    = "image"
	octetStream = "application/octet-stream"
	// layerSize is more than HEAD can be wrong about by accident, in bytes.
	layerSize = 3000
)

// blob is content and its digest.
type blob struct {
	bytes  []byte
	digest oci.Digest
}

func newBlob(b []byte) blob { return blob{b, oci.SHA256.FromBytes(b)} }

func (b blob) descriptor(mediaType string) oci.Descriptor {
	return oci.Descriptor{MediaType: mediaType, Digest: b.digest, Size: int64(len(b.bytes))}
}

// content is what every manifest of the visit refers to.
type content struct{ config, layer blob }

// manifest is what is pushed as one.
type manifest struct {
	blob
	mediaType string
}

// random is n bytes that the registry has never seen.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // documented never to fail
	return b
}

// encode writes a document with what gets lost where bytes are not kept: letters
// beyond ASCII, odd white space, and a line break at the end.
func encode(mediaType string, fields map[string]any) manifest {
	fields["schemaVersion"], fields["mediaType"] = 2, mediaType
	fields["annotations"] = map[string]string{"land.pierless.doctor": "Grüße, 船 🚢 " + rand.Text()}
	b, err := json.MarshalIndent(fields, " ", "   ")
	if err != nil {
		panic(err) // it has strings and numbers only
	}
	return manifest{newBlob(append(b, '\n')), mediaType}
}

func (c content) image(mediaType string) manifest {
	config, layer := "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"
	if mediaType == oci.MediaTypeDockerManifest {
		config, layer = "application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"
	}
	return encode(mediaType, map[string]any{
		"config": c.config.descriptor(config), "layers": []oci.Descriptor{c.layer.descriptor(layer)},
	})
}

func index(mediaType string, child manifest) manifest {
	return encode(mediaType, map[string]any{"manifests": []oci.Descriptor{child.descriptor(child.mediaType)}})
}

func (v *visit) path(rest string) string        { return "/v2/" + v.repo + rest }
func (v *visit) blobPath(d oci.Digest) string   { return v.path("/blobs/" + string(d)) }
func (v *visit) manifestPath(ref string) string { return v.path("/manifests/" + ref) }
func accepted(m manifest) http.Header           { return http.Header{"Accept": {m.mediaType}} }
func typed(m manifest) http.Header              { return http.Header{"Content-Type": {m.mediaType}} }

func (v *visit) getManifest(m manifest, ref string) *reply {
	return v.do(request{method: http.MethodGet, target: v.manifestPath(ref), header: accepted(m)})
}

// prepare pushes what the stage needs, once.
func (v *visit) prepare(s stage) error {
	if v.prepared == nil {
		v.prepared = map[stage]error{nothing: nil}
	}
	if err, done := v.prepared[s]; done {
		return err
	}
	err := v.prepare(s - 1)
	if err == nil {
		err = map[stage]func() error{needBlobs: v.pushBlobs, needImage: v.pushImage}[s]()
	}
	v.prepared[s] = err
	return err
}

func (v *visit) pushBlobs() error {
	c := content{newBlob(fmt.Appendf(nil, `{"created by":"pierless doctor","id":%q}`, rand.Text())), newBlob(random(layerSize))}
	for _, b := range []blob{c.config, c.layer} {
		if err := v.pushBlob(b); err != nil {
			return err
		}
	}
	v.blobs = &c
	return nil
}

func (v *visit) pushImage() error {
	m := v.blobs.image(oci.MediaTypeImageManifest)
	if r := v.pushManifest(m, imageTag); r.status != http.StatusCreated {
		v.failed = r
		return errors.New(r.what())
	}
	v.image = &m
	return nil
}

// open starts an upload. Where the address with the slash is not served, which is a
// check of its own, it takes the one without, so that the other checks can go on.
func (v *visit) open() (location string, err error) {
	for _, target := range []string{v.path("/blobs/uploads/"), v.path("/blobs/uploads")} {
		r := v.do(request{method: http.MethodPost, target: target})
		v.failed = r
		if r.status != http.StatusAccepted {
			err = errors.Join(err, errors.New(r.what()))
			continue
		}
		location, err := v.here(r)
		if err == nil {
			v.left.sessions = append(v.left.sessions, location)
		}
		return location, err
	}
	return "", err
}

func (v *visit) pushBlob(b blob) error {
	location, err := v.open()
	if err != nil {
		return err
	}
	r := v.do(request{
		method: http.MethodPut, target: withQuery(location, "digest", string(b.digest)), body: b.bytes,
		header: http.Header{"Content-Type": {octetStream}},
	})
	return v.completed(r, location, b.digest)
}

// completed notes that an upload became a blob.
func (v *visit) completed(r *reply, location string, d oci.Digest) error {
	if r.status != http.StatusCreated {
		v.failed = r
		return errors.New(r.what())
	}
	v.left.sessions = slices.DeleteFunc(v.left.sessions, func(s string) bool { return s == location })
	v.left.blobs = append(v.left.blobs, v.blobPath(d))
	return nil
}

// pushManifest pushes to a tag.
func (v *visit) pushManifest(m manifest, tag string) *reply {
	r := v.do(request{method: http.MethodPut, target: v.manifestPath(tag), body: m.bytes, header: typed(m)})
	if r.status == http.StatusCreated {
		// The tag first: where the bytes were changed, the digest is another.
		v.left.manifests = append(v.left.manifests, v.manifestPath(tag), v.manifestPath(string(m.digest)))
	}
	return r
}

// leftovers are the paths and URLs of what was put into the registry.
type leftovers struct{ sessions, manifests, blobs []string }

const idCleanUp = "cleanup"

func cleanUpCheck() Check {
	return Check{
		ID: idCleanUp, Asks: "What doctor pushed can be deleted again.",
		Breaks: "everybody who deletes images: what nothing refers to costs money for ever", run: (*visit).cleanUp,
	}
}

// cleanUp takes away what the visit put into the registry. What is gone already is
// no fault.
func (v *visit) cleanUp() finding {
	deleted, last := 0, (*reply)(nil)
	var left []string
	for _, kind := range [][]string{v.left.sessions, v.left.manifests, v.left.blobs} {
		slices.Sort(kind)
		for _, target := range slices.Compact(kind) {
			r := v.do(request{method: http.MethodDelete, target: target})
			if r.status >= 200 && r.status < 300 || r.status == http.StatusNotFound {
				deleted++
				continue
			}
			left, last = append(left, r.url.Path), r
		}
	}
	switch {
	case len(left) > 0:
		return wrong(last, "give every family's route the method DELETE, and the function the permission to delete: 'make template' writes the routes",
			"still there after a DELETE: %s", strings.Join(left, ", "))
	case deleted == 0:
		return ok("nothing was pushed")
	}
	return ok("%d deleted", deleted)
}
