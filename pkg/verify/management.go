package verify

import (
	"net/http"
	"slices"
)

func managementCases() []Case {
	return slices.Concat(tagDeletionCases(), manifestDeletionCases(), blobDeletionCases())
}

func tagDeletionCases() []Case {
	return []Case{
		{
			"delete-tag", Management, Must, "Deleting tags",
			"DELETE of a tag answers 202, and GET and HEAD of it 404 at once.",
			"a release that was taken back is still deployed", deleteTag,
		},
		{
			"delete-tag-keeps-others", Management, Must, "Deleting tags",
			"DELETE of a tag leaves the manifest and its other tags.",
			"taking one tag away takes the release away", deleteTagKeepsOthers,
		},
		{
			"delete-tag-last", Management, Should, "Deleting tags",
			"A manifest whose last tag was deleted is still pulled by its digest.",
			"pinned deployments", deleteTagLast,
		},
		{
			"delete-tag-missing", Management, Should, "Endpoints",
			"DELETE of a tag that is not there answers 404.",
			"a typing error goes unseen", deleteTagMissing,
		},
		{
			"delete-tag-then-push", Management, Must, "Deleting tags",
			"A tag that was deleted is pushed again, to the same manifest and to another one, and pulled.",
			"tags that can never be used again", deleteTagThenPush,
		},
	}
}

func manifestDeletionCases() []Case {
	return []Case{
		{
			"delete-manifest", Management, Must, "Deleting Manifests",
			"DELETE of a manifest by digest answers 202, and GET and HEAD of the digest 404 at once.",
			"what was taken back is still pulled", deleteManifest,
		},
		{
			"delete-manifest-tags", Management, Must, "Deleting Manifests",
			"After DELETE of a manifest, every tag that pointed at it answers 404.",
			"tags that lead nowhere, or to what was taken back", deleteManifestTags,
		},
		{
			"delete-manifest-tags-list", Management, Should, "Deleting Manifests",
			"After DELETE of a manifest, its tags are no longer listed, and all others are.",
			"clients pull what is gone", deleteManifestTagsList,
		},
		{
			"delete-manifest-moved-tag", Management, Must, "Deleting Manifests",
			"DELETE of a manifest leaves a tag that has moved to another one.",
			"clearing up old builds deletes the new one", deleteManifestMovedTag,
		},
		{
			"delete-manifest-keeps-others", Management, Must, "Deleting Manifests",
			"DELETE of a manifest leaves other manifests that have blobs in common with it, and these blobs.",
			"images on the same base", deleteManifestKeepsOthers,
		},
		{
			"delete-manifest-repositories-apart", Management, Must, "Definitions",
			"DELETE of a manifest leaves the same manifest in another repository.",
			"copies of an image vanish with the first", deleteManifestRepositoriesApart,
		},
		{
			"delete-manifest-missing", Management, Should, "Endpoints",
			"DELETE of a manifest that is not there, or no longer, answers 404.",
			"a typing error goes unseen", deleteManifestMissing,
		},
		{
			"delete-missing-repository", Management, Must, "Deleting Manifests",
			"DELETE of a manifest in a repository that does not exist answers 404.",
			"a typing error goes unseen", deleteMissingRepository,
		},
		{
			"delete-manifest-then-push", Management, Must, "Deleting Manifests",
			"A manifest that was deleted is pushed again, and pulled by tag and digest.",
			"builds that are repeatable cannot be repeated", deleteManifestThenPush,
		},
		{
			"delete-index-child", Management, Must, "Deleting Manifests",
			"DELETE of a manifest that an index names takes it away or is refused; the index is pulled as it was.",
			"clearing up one platform breaks all", deleteIndexChild,
		},
		{
			"delete-index-keeps-children", Management, Should, "Deleting Manifests",
			"DELETE of an index leaves the manifests that it names.",
			"pinned deployments, and other indexes that name them", deleteIndexKeepsChildren,
		},
		{
			"delete-referrer-keeps-subject", Management, Must, "Deleting Manifests",
			"DELETE of a manifest with a subject leaves the subject and its tag.",
			"taking a signature away takes the image away", deleteReferrerKeepsSubject,
		},
	}
}

// deletes expects 202 from a DELETE. A registry may have no deletion: then it
// answers 400 or 405, and the case ends.
func (p *probe) deletes(target string) {
	p.tryDelete(target).is(http.StatusAccepted)
}

// hasDeleted deletes where this is not what the case is about.
func (p *probe) hasDeleted(target string) { p.given(func() { p.deletes(target) }) }

// lacks expects a manifest to be gone.
func (p *probe) lacks(repo repository, ref string) {
	p.headManifest(repo, ref).is(http.StatusNotFound)
	p.getManifest(repo, ref).is(http.StatusNotFound)
}

func deleteTag(p *probe) {
	m := p.hasImage(p.repo, "v1")
	p.hasManifest(p.repo, "v2", m)
	p.pulls(p.repo, "v1", m)
	p.deletes(p.repo.manifest("v1"))
	p.lacks(p.repo, "v1")
}

func deleteTagKeepsOthers(p *probe) {
	m := p.hasImage(p.repo, "v1")
	p.hasManifest(p.repo, "v2", m)
	other := p.hasManifest(p.repo, "v3", p.variant(m))
	p.hasDeleted(p.repo.manifest("v1"))
	p.pulls(p.repo, "v2", m)
	p.pulls(p.repo, string(m.digest), m)
	p.pulls(p.repo, "v3", other)
}

func deleteTagLast(p *probe) {
	m := p.hasImage(p.repo, "v1")
	p.hasDeleted(p.repo.manifest("v1"))
	p.pulls(p.repo, string(m.digest), m)
}

func deleteTagMissing(p *probe) {
	p.hasImage(p.repo, "v1")
	p.hasDeleted(p.repo.manifest("v1"))
	p.delete(p.repo.manifest("v1")).is(http.StatusNotFound)
	p.delete(p.repo.manifest("v2")).is(http.StatusNotFound)
}

func deleteTagThenPush(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, next := range []manifest{m, p.variant(m)} {
		p.hasDeleted(p.repo.manifest("v1"))
		p.putManifest(p.repo, "v1", next).is(http.StatusCreated)
		p.pulls(p.repo, "v1", next)
	}
}

func deleteManifest(p *probe) {
	m := p.hasImage(p.repo, "")
	p.pulls(p.repo, string(m.digest), m)
	p.deletes(p.repo.manifest(string(m.digest)))
	p.lacks(p.repo, string(m.digest))
}

func deleteManifestTags(p *probe) {
	m := p.withTags("v1", "v2", "v3")
	p.pulls(p.repo, "v1", m)
	p.hasDeleted(p.repo.manifest(string(m.digest)))
	for _, tag := range []string{"v1", "v2", "v3"} {
		p.lacks(p.repo, tag)
	}
}

func deleteManifestTagsList(p *probe) {
	m := p.withTags("v1", "v2")
	p.hasManifest(p.repo, "v3", p.variant(m))
	p.hasDeleted(p.repo.manifest(string(m.digest)))
	tags, a := p.allTags(p.repo, "")
	a.hasTags(tags, "v3")
}

func deleteManifestMovedTag(p *probe) {
	old := p.hasImage(p.repo, "v1")
	m := p.hasManifest(p.repo, "v1", p.variant(old))
	p.hasDeleted(p.repo.manifest(string(old.digest)))
	p.pulls(p.repo, "v1", m)
	p.pulls(p.repo, string(m.digest), m)
	tags, a := p.allTags(p.repo, "")
	a.hasTags(tags, "v1")
}

// pullsAll pulls an image with its blobs.
func (p *probe) pullsAll(repo repository, ref string, m manifest) {
	p.pulls(repo, ref, m)
	for _, d := range append(m.doc.Layers, *m.doc.Config) {
		p.get(repo.blob(d.Digest)).is(http.StatusOK).hasLength(int(d.Size))
	}
}

func deleteManifestKeepsOthers(p *probe) {
	gone := p.hasImage(p.repo, "v1")
	m := p.hasManifest(p.repo, "v2", p.variant(gone))
	p.hasDeleted(p.repo.manifest(string(gone.digest)))
	p.pullsAll(p.repo, "v2", m)
}

func deleteManifestRepositoriesApart(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, d := range append(m.doc.Layers, *m.doc.Config) {
		p.hasCopied(p.other, p.repo, d.Digest)
	}
	p.hasManifest(p.other, "v1", m)
	p.hasDeleted(p.repo.manifest(string(m.digest)))
	p.pullsAll(p.other, "v1", m)
	p.pulls(p.other, string(m.digest), m)
}

func deleteManifestMissing(p *probe) {
	m := p.hasImage(p.repo, "v1")
	p.hasDeleted(p.repo.manifest(string(m.digest)))
	p.delete(p.repo.manifest(string(m.digest))).is(http.StatusNotFound)
	p.delete(p.repo.manifest(string(p.newBlob(10).digest))).is(http.StatusNotFound)
}

func deleteMissingRepository(p *probe) {
	a := p.delete(p.repo.manifest(string(p.newBlob(10).digest)))
	if a.status == http.StatusBadRequest || a.status == http.StatusMethodNotAllowed {
		p.notOffered(a, "deletion is disabled")
	}
	a.is(http.StatusNotFound)
}

func deleteManifestThenPush(p *probe) {
	config, layer := p.newBlob(200), p.newBlob(1000)
	m := p.imageOf(config, layer).encode()
	push := func() *answer {
		for _, b := range []blob{config, layer} {
			if p.head(p.repo.blob(b.digest)).status != http.StatusOK {
				p.hasBlob(p.repo, b)
			}
		}
		return p.putManifest(p.repo, "v1", m)
	}
	p.given(func() { push().is(http.StatusCreated) })
	for range 2 {
		p.hasDeleted(p.repo.manifest(string(m.digest)))
		push().is(http.StatusCreated)
		p.pullsAll(p.repo, "v1", m)
		p.pulls(p.repo, string(m.digest), m)
	}
}

func deleteIndexChild(p *probe) {
	a, b := p.hasImage(p.repo, ""), p.hasImage(p.repo, "")
	index := p.hasManifest(p.repo, "v1", p.indexOf(a, b).encode())
	answer := p.delete(p.repo.manifest(string(a.digest)))
	if answer.status == http.StatusAccepted {
		p.lacks(p.repo, string(a.digest))
	} else {
		answer.refused()
		p.pulls(p.repo, string(a.digest), a)
	}
	p.pulls(p.repo, "v1", index)
	p.pulls(p.repo, string(b.digest), b)
}

func deleteIndexKeepsChildren(p *probe) {
	child := p.hasImage(p.repo, "")
	index := p.hasManifest(p.repo, "v1", p.indexOf(child).encode())
	p.hasDeleted(p.repo.manifest(string(index.digest)))
	p.pullsAll(p.repo, string(child.digest), child)
}

func deleteReferrerKeepsSubject(p *probe) {
	subject := p.hasImage(p.repo, "v1")
	m := p.hasManifest(p.repo, "", p.referrer(p.repo, "application/vnd.example.signature", subject))
	p.hasDeleted(p.repo.manifest(string(m.digest)))
	p.pullsAll(p.repo, "v1", subject)
	p.pulls(p.repo, string(subject.digest), subject)
}
