package verify

import (
	"net/http"
)

func deleteTag(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.seedManifest(t.repo, "v2", m)
	t.wantManifest(t.repo, "v1", m)
	t.wantDeleted(t.repo.manifest("v1"))
	t.wantNoManifest(t.repo, "v1")
}

func deleteTagKeepsOthers(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.seedManifest(t.repo, "v2", m)
	other := t.seedManifest(t.repo, "v3", t.variant(m))
	t.seedDelete(t.repo.manifest("v1"))
	t.wantManifest(t.repo, "v2", m)
	t.wantManifest(t.repo, string(m.digest), m)
	t.wantManifest(t.repo, "v3", other)
}

func deleteTagLast(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.seedDelete(t.repo.manifest("v1"))
	t.wantManifest(t.repo, string(m.digest), m)
}

func deleteTagMissing(t *T) {
	t.seedImage(t.repo, "v1")
	t.seedDelete(t.repo.manifest("v1"))
	t.delete(t.repo.manifest("v1")).wantStatus(http.StatusNotFound)
	t.delete(t.repo.manifest("v2")).wantStatus(http.StatusNotFound)
}

func deleteTagThenPush(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, next := range []manifest{m, t.variant(m)} {
		t.seedDelete(t.repo.manifest("v1"))
		t.wantPushed(t.repo, "v1", next)
	}
}

func deleteManifest(t *T) {
	m := t.seedImage(t.repo, "")
	t.wantManifest(t.repo, string(m.digest), m)
	t.wantDeleted(t.repo.manifest(string(m.digest)))
	t.wantNoManifest(t.repo, string(m.digest))
}

func deleteManifestTags(t *T) {
	m := t.withTags("v1", "v2", "v3")
	t.wantManifest(t.repo, "v1", m)
	t.seedDelete(t.repo.manifest(string(m.digest)))
	for _, tag := range []string{"v1", "v2", "v3"} {
		t.wantNoManifest(t.repo, tag)
	}
}

func deleteManifestTagsList(t *T) {
	m := t.withTags("v1", "v2")
	t.seedManifest(t.repo, "v3", t.variant(m))
	t.seedDelete(t.repo.manifest(string(m.digest)))
	t.wantTags("v3")
}

func deleteManifestMovedTag(t *T) {
	old := t.seedImage(t.repo, "v1")
	m := t.seedManifest(t.repo, "v1", t.variant(old))
	t.seedDelete(t.repo.manifest(string(old.digest)))
	t.wantManifest(t.repo, "v1", m)
	t.wantManifest(t.repo, string(m.digest), m)
	t.wantTags("v1")
}

func deleteManifestKeepsOthers(t *T) {
	gone := t.seedImage(t.repo, "v1")
	m := t.seedManifest(t.repo, "v2", t.variant(gone))
	t.seedDelete(t.repo.manifest(string(gone.digest)))
	t.wantImageIn(t.repo, "v2", m)
}

func deleteManifestRepositoriesApart(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, d := range append(m.doc.Layers, *m.doc.Config) {
		t.seedCopy(t.other, t.repo, d.Digest)
	}
	t.seedManifest(t.other, "v1", m)
	t.seedDelete(t.repo.manifest(string(m.digest)))
	t.wantImageIn(t.other, "v1", m)
	t.wantManifest(t.other, string(m.digest), m)
}

func deleteManifestMissing(t *T) {
	m := t.seedImage(t.repo, "v1")
	t.seedDelete(t.repo.manifest(string(m.digest)))
	t.delete(t.repo.manifest(string(m.digest))).wantStatus(http.StatusNotFound)
	t.delete(t.repo.manifest(string(t.newBlob(10).digest))).wantStatus(http.StatusNotFound)
}

func deleteMissingRepository(t *T) {
	t.delete(t.repo.manifest(string(t.newBlob(10).digest))).
		notOfferedIf("deletion is disabled", http.StatusBadRequest, http.StatusMethodNotAllowed).wantStatus(http.StatusNotFound)
}

func deleteManifestThenPush(t *T) {
	config, layer := t.newBlob(200), t.newBlob(1000)
	m := t.imageOf(config, layer).encode()
	push := func() *answer {
		for _, b := range []blob{config, layer} {
			if t.head(t.repo.blob(b.digest)).Status != http.StatusOK {
				t.seedBlob(t.repo, b)
			}
		}
		return t.putManifest(t.repo, "v1", m)
	}
	t.setup(func() { push().wantStatus(http.StatusCreated) })
	for range 2 {
		t.seedDelete(t.repo.manifest(string(m.digest)))
		push().wantStatus(http.StatusCreated)
		t.wantImageIn(t.repo, "v1", m)
		t.wantManifest(t.repo, string(m.digest), m)
	}
}

func deleteIndexChild(t *T) {
	a, b := t.seedImage(t.repo, ""), t.seedImage(t.repo, "")
	index := t.seedManifest(t.repo, "v1", t.indexOf(a, b).encode())
	answer := t.delete(t.repo.manifest(string(a.digest)))
	if answer.Status == http.StatusAccepted {
		t.wantNoManifest(t.repo, string(a.digest))
	} else {
		answer.wantRefused()
		t.wantManifest(t.repo, string(a.digest), a)
	}
	t.wantManifest(t.repo, "v1", index)
	t.wantManifest(t.repo, string(b.digest), b)
}

func deleteIndexKeepsChildren(t *T) {
	child := t.seedImage(t.repo, "")
	index := t.seedManifest(t.repo, "v1", t.indexOf(child).encode())
	t.seedDelete(t.repo.manifest(string(index.digest)))
	t.wantImageIn(t.repo, string(child.digest), child)
}

func deleteReferrerKeepsSubject(t *T) {
	subject := t.seedImage(t.repo, "v1")
	m := t.seedManifest(t.repo, "", t.referrer(t.repo, mediaSignature, subject))
	t.seedDelete(t.repo.manifest(string(m.digest)))
	t.wantImageIn(t.repo, "v1", subject)
	t.wantManifest(t.repo, string(subject.digest), subject)
}
