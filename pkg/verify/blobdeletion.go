package verify

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

func blobDeletionCases() []Case {
	const mounted = "deleting an image breaks another one on the same base"
	return []Case{
		{
			"delete-blob", Management, Must, "Deleting Blobs",
			"DELETE of a blob answers 202, and GET and HEAD of it 404 at once.",
			"content that was taken back is still pulled", deleteBlob,
		},
		{
			"delete-blob-missing", Management, Must, "Deleting Blobs",
			"DELETE of a blob that is not there, or no longer, answers 404.",
			"a typing error goes unseen", deleteBlobMissing,
		},
		{
			"delete-blob-then-push", Management, Must, "Deleting Blobs",
			"A blob that was deleted is pushed again, and pulled.",
			"images with a layer that can never be pushed again", deleteBlobThenPush,
		},
		{
			"delete-blob-mounted-from", Management, Must, "Deleting Blobs",
			"DELETE of a blob that was mounted elsewhere: it is gone here at once, and stays there.",
			mounted, deleteBlobMountedFrom,
		},
		{
			"delete-blob-mounted-to", Management, Must, "Deleting Blobs",
			"DELETE of a mounted blob: it is gone here at once, and stays where it came from.",
			mounted, deleteBlobMountedTo,
		},
		{
			"delete-blob-twice-pushed", Management, Must, "Definitions",
			"DELETE of a blob that was pushed to two repositories: it is gone here at once, and stays there.",
			mounted, deleteBlobTwicePushed,
		},
		{
			"delete-source-keeps-mount", Management, Must, "Mounting a blob from another repository",
			"An image of mounted blobs is pulled after image and blobs were deleted where they came from.",
			mounted, deleteSourceKeepsMount,
		},
		{
			"delete-blob-in-use", Management, Should, "Deleting Blobs",
			"DELETE of a blob that an image needs takes it away or is refused, and says truly which.",
			"clients skip the upload of a layer that is not there", deleteBlobInUse,
		},
	}
}

// hasMounted mounts a blob where this is not what the case is about.
func (p *probe) hasMounted(to, from repository, d oci.Digest) {
	p.given(func() { p.mount(to, d, from).offersMount().is(http.StatusCreated) })
}

// hasCopied brings a blob to another repository: with a mount or, where the
// registry has none, with a push.
func (p *probe) hasCopied(to, from repository, d oci.Digest) {
	p.given(func() {
		if p.mount(to, d, from).status == http.StatusCreated {
			return
		}
		content := p.get(from.blob(d)).is(http.StatusOK).body
		p.pushBlob(to, blob{content, d}).is(http.StatusCreated)
	})
}

// pullsBlob expects a blob to be there.
func (p *probe) pullsBlob(repo repository, b blob) {
	p.head(repo.blob(b.digest)).is(http.StatusOK)
	p.isPulled(repo, b)
}

// pushedBlob is a new blob in the repository, which was pulled there.
func (p *probe) pushedBlob(repo repository) blob {
	b := p.newBlob(1000)
	p.hasBlob(repo, b)
	p.given(func() { p.pullsBlob(repo, b) })
	return b
}

func deleteBlob(p *probe) {
	b := p.pushedBlob(p.repo)
	p.deletes(p.repo.blob(b.digest))
	p.isMissing(p.repo, b.digest)
}

func deleteBlobMissing(p *probe) {
	b := p.pushedBlob(p.repo)
	p.hasDeleted(p.repo.blob(b.digest))
	p.delete(p.repo.blob(b.digest)).is(http.StatusNotFound)
	p.delete(p.repo.blob(p.newBlob(10).digest)).is(http.StatusNotFound)
	p.delete(p.other.blob(b.digest)).is(http.StatusNotFound)
}

func deleteBlobThenPush(p *probe) {
	b := p.pushedBlob(p.repo)
	for range 2 {
		p.hasDeleted(p.repo.blob(b.digest))
		p.pushBlob(p.repo, b).is(http.StatusCreated)
		p.pullsBlob(p.repo, b)
	}
}

func deleteBlobMountedFrom(p *probe) {
	b := p.pushedBlob(p.repo)
	p.hasMounted(p.other, p.repo, b.digest)
	p.hasDeleted(p.repo.blob(b.digest))
	p.isMissing(p.repo, b.digest)
	p.pullsBlob(p.other, b)
}

func deleteBlobMountedTo(p *probe) {
	b := p.pushedBlob(p.repo)
	p.hasMounted(p.other, p.repo, b.digest)
	p.hasDeleted(p.other.blob(b.digest))
	p.isMissing(p.other, b.digest)
	p.pullsBlob(p.repo, b)
}

func deleteBlobTwicePushed(p *probe) {
	b := p.pushedBlob(p.repo)
	p.hasBlob(p.other, b)
	p.hasDeleted(p.repo.blob(b.digest))
	p.isMissing(p.repo, b.digest)
	p.pullsBlob(p.other, b)
}

func deleteSourceKeepsMount(p *probe) {
	m := p.hasImage(p.repo, "v1")
	blobs := append(m.doc.Layers, *m.doc.Config)
	for _, d := range blobs {
		p.hasMounted(p.other, p.repo, d.Digest)
	}
	copied := p.hasManifest(p.other, "v1", p.variant(m))
	p.hasDeleted(p.repo.manifest(string(m.digest)))
	for _, d := range blobs {
		p.delete(p.repo.blob(d.Digest)) // some registries refuse it, or have done it by now
	}
	p.pullsAll(p.other, "v1", copied)
}

func deleteBlobInUse(p *probe) {
	m := p.hasImage(p.repo, "v1")
	target := p.repo.blob(m.doc.Layers[0].Digest)
	a := p.delete(target)
	if a.status == http.StatusAccepted {
		p.head(target).is(http.StatusNotFound)
	} else {
		a.refused()
		p.head(target).is(http.StatusOK)
	}
	p.pulls(p.repo, "v1", m)
}
