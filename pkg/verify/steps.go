package verify

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

// seedBlob pushes a blob.
func (t *T) seedBlob(repo repository, b blob) {
	t.setup(func() { t.pushBlob(repo, b).wantStatus(http.StatusCreated) })
}

// seedNewBlob pushes a new blob.
func (t *T) seedNewBlob(repo repository) blob {
	b := t.newBlob(3000)
	t.seedBlob(repo, b)
	return b
}

// pushBlob uploads a blob with POST and PUT and returns the last response.
func (t *T) pushBlob(repo repository, b blob) *answer {
	query := ""
	if a := b.digest.Algorithm(); a != oci.SHA256 {
		query = "?digest-algorithm=" + string(a)
	}
	loc := t.newUpload(repo, query)
	return t.finish(loc, b.digest, b.content)
}

// putManifest pushes a manifest to a tag or digest and returns the response.
func (t *T) putManifest(repo repository, ref string, m manifest, opts ...option) *answer {
	return t.put(repo.manifest(ref), append([]option{withBody(m.content), withHeader("Content-Type", m.mediaType)}, opts...)...)
}

// seedManifest pushes a manifest; an empty ref means its digest.
func (t *T) seedManifest(repo repository, ref string, m manifest) manifest {
	if ref == "" {
		ref = string(m.digest)
	}
	t.setup(func() { t.putManifest(repo, ref, m).wantStatus(http.StatusCreated) })
	return m
}

// newImage returns an image whose blobs are in the repository; the manifest is not.
func (t *T) newImage(repo repository) manifest {
	config, layer := t.newBlob(200), t.newBlob(1000)
	t.seedBlob(repo, config)
	t.seedBlob(repo, layer)
	return t.imageOf(config, layer).encode()
}

// seedImage pushes an image; an empty ref means its digest.
func (t *T) seedImage(repo repository, ref string) manifest {
	return t.seedManifest(repo, ref, t.newImage(repo))
}

// headManifest sends HEAD of a manifest with the Accept header of most clients.
func (t *T) headManifest(repo repository, ref string) *answer {
	return t.head(repo.manifest(ref), withHeader("Accept", acceptedByMost))
}

// getManifest sends GET of a manifest with the Accept header of most clients.
func (t *T) getManifest(repo repository, ref string) *answer {
	return t.get(repo.manifest(ref), withHeader("Accept", acceptedByMost))
}

// wantBlob expects that a blob can be pulled.
func (t *T) wantBlob(repo repository, b blob) {
	t.get(repo.blob(b.digest)).wantStatus(http.StatusOK).wantBody(b.content)
}

// wantBlobs expects that all blobs can be pulled.
func (t *T) wantBlobs(blobs []blob) {
	for _, b := range blobs {
		t.wantBlob(t.repo, b)
	}
}

// wantNoBlob expects 404 for a blob.
func (t *T) wantNoBlob(repo repository, d oci.Digest) {
	t.head(repo.blob(d)).wantStatus(http.StatusNotFound)
	t.get(repo.blob(d)).wantStatus(http.StatusNotFound)
}

// wantManifest expects a manifest under a tag or digest, byte for byte.
func (t *T) wantManifest(repo repository, ref string, m manifest) *answer {
	return t.getManifest(repo, ref).wantStatus(http.StatusOK).wantBody(m.content)
}

// wantPushed pushes a manifest to a tag or digest, and expects that it can be pulled.
func (t *T) wantPushed(repo repository, ref string, m manifest) {
	t.putManifest(repo, ref, m).wantStatus(http.StatusCreated)
	t.wantManifest(repo, ref, m)
}

// wantAccepted pushes a manifest to its digest, and expects that it can be pulled.
func (t *T) wantAccepted(m manifest) { t.wantPushed(t.repo, string(m.digest), m) }

// upload pushes a blob with POST and PUT. Unlike in pushBlob, a failed POST fails the case:
// concurrent POSTs are part of the requirement.
func (t *T) upload(repo repository, b blob) *answer {
	return t.finish(t.openUpload(repo), b.digest, b.content)
}

func (t *T) openUpload(repo repository) (location string) {
	return t.post(repo.uploads("")).wantStatus(http.StatusAccepted).location()
}

// wantBlobFound expects that a blob is found by HEAD and GET.
func (t *T) wantBlobFound(repo repository, b blob) {
	t.head(repo.blob(b.digest)).wantStatus(http.StatusOK)
	t.wantBlob(repo, b)
}

// seedMount mounts a blob.
func (t *T) seedMount(to, from repository, d oci.Digest) {
	t.setup(func() { t.mount(to, d, from).offersMount().wantStatus(http.StatusCreated) })
}

// seedCopy copies a blob to another repository, with a mount or, if the registry does not
// support that, with a push.
func (t *T) seedCopy(to, from repository, d oci.Digest) {
	t.setup(func() {
		if t.mount(to, d, from).Status == http.StatusCreated {
			return
		}
		content := t.get(from.blob(d)).wantStatus(http.StatusOK).Body
		t.pushBlob(to, blob{content, d}).wantStatus(http.StatusCreated)
	})
}

// mount requests a mount.
func (t *T) mount(to repository, d oci.Digest, from repository) *answer {
	return t.post(to.uploads(mountFrom(d, from)))
}

// offersMount ends the case if a mount of an existing blob opens an upload.
func (a *answer) offersMount() *answer {
	return a.notOfferedIf("the mount opens an upload", http.StatusAccepted)
}

// tryDelete sends a DELETE, and ends the case if the registry does not support deletion.
func (t *T) tryDelete(target string) *answer {
	return t.delete(target).notOfferedIf("deletion is disabled", http.StatusBadRequest, http.StatusMethodNotAllowed)
}

// wantDeleted expects 202 from a DELETE, if the registry supports deletion.
func (t *T) wantDeleted(target string) { t.tryDelete(target).wantStatus(http.StatusAccepted) }

// seedDelete deletes content.
func (t *T) seedDelete(target string) { t.setup(func() { t.wantDeleted(target) }) }

// wantNoManifest expects 404 for a manifest.
func (t *T) wantNoManifest(repo repository, ref string) {
	t.headManifest(repo, ref).wantStatus(http.StatusNotFound)
	t.getManifest(repo, ref).wantStatus(http.StatusNotFound)
}

// wantImageIn expects that an image and its blobs can be pulled.
func (t *T) wantImageIn(repo repository, ref string, m manifest) {
	t.wantManifest(repo, ref, m)
	for _, d := range append(m.doc.Layers, *m.doc.Config) {
		t.get(repo.blob(d.Digest)).wantStatus(http.StatusOK).wantLength(int(d.Size))
	}
}

// wantUnharmed expects that the image v1 can still be pulled.
func (t *T) wantUnharmed(m manifest) {
	t.getManifest(t.repo, "v1").wantStatus(http.StatusOK).wantBody(m.content)
}
