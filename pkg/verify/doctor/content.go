package doctor

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/verify"
)

// stage is the content that a check needs in the registry: the Section of its row.
type stage string

const (
	nothing   stage = "-"
	needBlobs stage = "blobs" // a config and a layer
	needImage stage = "image" // an image, tagged imageTag
)

const (
	imageTag    = "image"
	octetStream = "application/octet-stream"
	// layerSize is a size in bytes that a wrong Content-Length does not match by accident.
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

// content has the blobs that every manifest of the visit refers to.
type content struct{ config, layer blob }

// manifest is a manifest or index to push.
type manifest struct {
	blob
	mediaType string
}

// random returns n random bytes: content that is new to the registry.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // documented never to fail
	return b
}

// encode writes a document with parts that conversions change: characters beyond ASCII,
// unusual white space, and a line break at the end.
func encode(mediaType string, fields map[string]any) manifest {
	fields["schemaVersion"], fields["mediaType"] = 2, mediaType
	fields["annotations"] = map[string]string{"land.pierless.doctor": "Grüße, 船 🚢 " + rand.Text()}
	b, err := json.MarshalIndent(fields, " ", "   ")
	if err != nil {
		panic(err) // it contains only strings and numbers
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

func (v *visit) getManifest(m manifest, ref string) *verify.Reply {
	return v.do(request{Method: http.MethodGet, Target: v.manifestPath(ref), Header: accepted(m)})
}

// prepare pushes the content that the stage needs, once.
func (v *visit) prepare(s stage) error {
	push := map[stage]func() error{needBlobs: v.pushBlobs, needImage: v.pushImage}[s]
	if err, done := v.prepared[s]; done || push == nil {
		return err
	}
	err := push()
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
	if err := v.prepare(needBlobs); err != nil {
		return err
	}
	m := v.blobs.image(oci.MediaTypeImageManifest)
	if r := v.pushManifest(m, imageTag); r.Status != http.StatusCreated {
		v.failed = r
		return errors.New(r.String())
	}
	v.image = &m
	return nil
}

// open starts an upload. If the path with the slash is not served, which has its own
// check, it uses the one without, so that the other checks can continue.
func (v *visit) open() (location string, err error) {
	for _, target := range []string{v.path("/blobs/uploads/"), v.path("/blobs/uploads")} {
		r := v.do(request{Method: http.MethodPost, Target: target})
		v.failed = r
		if r.Status != http.StatusAccepted {
			err = errors.Join(err, errors.New(r.String()))
			continue
		}
		return v.here(r)
	}
	return "", err
}

func (v *visit) pushBlob(b blob) error {
	location, err := v.open()
	if err != nil {
		return err
	}
	r := v.do(request{
		Method: http.MethodPut, Target: verify.AddQuery(location, "digest", string(b.digest)), Body: b.bytes,
		Header: http.Header{"Content-Type": {octetStream}},
	})
	return v.completed(r)
}

// completed returns an error unless an upload became a blob.
func (v *visit) completed(r *verify.Reply) error {
	if r.Status == http.StatusCreated {
		return nil
	}
	v.failed = r
	return errors.New(r.String())
}

// pushManifest pushes to a tag.
func (v *visit) pushManifest(m manifest, tag string) *verify.Reply {
	return v.do(request{Method: http.MethodPut, Target: v.manifestPath(tag), Body: m.bytes, Header: typed(m)})
}

// cleanUp deletes the content of the visit: one by one, because clients do so, then the repository.
func (v *visit) cleanUp() verify.Result {
	done := v.client.CleanUp(v.ctx, verify.CleanUpOptions{
		Prefix: v.repo, ContentFirst: true, Send: func(_ context.Context, r request) *verify.Reply { return v.do(r) },
	})
	v.cleaned = done
	left := done.Remaining
	left.Repositories = 0 // registries need not be able to delete them
	switch {
	case left != verify.Counts{}:
		return wrong(done.Refusal, "the routes must accept DELETE and the functions need permission to delete, as in the template",
			"not deleted: %s, because %s", left, done.Reason)
	case done.Removed == verify.Counts{}:
		return ok("nothing to delete")
	case done.Remaining.Repositories > 0:
		return ok("%s deleted; the name %s stays until the registry collects garbage", done.Removed, v.repo)
	}
	return ok("%s deleted", done.Removed)
}
