package verify

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

const mounting = "Mounting a blob from another repository"

func mountCases() []Case {
	return []Case{
		{
			"mount", Push, Should, mounting,
			"POST with mount and from of a blob that is there answers 201.",
			"docker, podman and containerd upload again what the registry has", mount,
		},
		{
			"mount-location", Push, Must, mounting,
			"The 201 of a mount carries a Location from which the blob can be pulled.",
			"clients that go on with it", mountLocation,
		},
		{
			"mount-digest-header", Push, Should, "containerd",
			"The 201 of a mount carries the blob's digest in Docker-Content-Digest.",
			"clients that check what was mounted", mountDigestHeader,
		},
		{
			"mount-pull", Push, Must, mounting,
			"A mounted blob is found and pulled in its new repository, and in the old one as before.",
			"images with layers that nobody can pull", mountPull,
		},
		{
			"mount-chain", Push, Must, mounting,
			"A blob that came by a mount can be mounted or pushed on to a third repository.",
			"images that are promoted step by step", mountChain,
		},
		{
			"mount-again", Push, Must, mounting,
			"Mounting what is there already answers 201 or 202, and the blob stays.",
			"docker and podman mount without looking", mountAgain,
		},
		{
			"mount-missing", Push, Should, mounting,
			"A mount from a repository that does not have the blob answers 202.",
			"docker and containerd stop the push on an error", mountMissing,
		},
		{
			"mount-missing-session", Push, Must, mounting,
			"The 202 of a mount that cannot be carries the Location of an upload that takes the blob.",
			"docker, podman and containerd go on with this upload", mountMissingSession,
		},
		{
			"mount-missing-invisible", Push, Must, mounting,
			"A mount that cannot be leaves no blob.",
			"clients are told that a layer is there, and do not push it", mountMissingInvisible,
		},
		{
			"mount-unknown-repository", Push, Should, mounting,
			"A mount from a repository that does not exist answers 202, with an upload that takes the blob.",
			"docker mounts from repositories that may be gone", mountUnknownRepository,
		},
		{
			"mount-without-from", Push, May, mounting,
			"A mount without from answers 201 where the registry has the blob in another repository.",
			"regctl asks for each blob", mountWithoutFrom,
		},
		{
			"mount-without-from-session", Push, Must, mounting,
			"A mount without from of a blob that is nowhere opens an upload that takes the blob.",
			"regctl pushes each blob so", mountWithoutFromSession,
		},
		{
			"mount-digest-invalid", Push, Should, "Pushing blobs",
			"A mount of something that is no digest answers 400, or opens an upload.",
			"a client is told that it has mounted what cannot be", mountDigestInvalid,
		},
	}
}

// mount asks for a blob of another repository.
func (p *probe) mount(to repository, d oci.Digest, from repository) *answer {
	return p.post(to.uploads(mountFrom(d, from)))
}

// offersMount ends the case where a mount of what is there opens an upload.
func (a *answer) offersMount() *answer {
	if a.status == http.StatusAccepted {
		a.p.notOffered(a, "the mount opens an upload")
	}
	return a
}

// mounted mounts a new blob into the second repository.
func (p *probe) mounted() (b blob, a *answer) {
	b = p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.given(func() { a = p.mount(p.other, b.digest, p.repo).offersMount().is(http.StatusCreated) })
	return b, a
}

func mount(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.mount(p.other, b.digest, p.repo).offersMount().is(http.StatusCreated)
}

func mountLocation(p *probe) {
	b, a := p.mounted()
	a.isPullable(b)
}

func mountDigestHeader(p *probe) {
	b, a := p.mounted()
	a.hasDigest(b.digest)
}

func mountPull(p *probe) {
	b, _ := p.mounted()
	for _, repo := range []repository{p.other, p.repo} {
		p.head(repo.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content))
		p.isPulled(repo, b)
	}
}

func mountChain(p *probe) {
	b, _ := p.mounted()
	third := p.other + "-third"
	a := p.mount(third, b.digest, p.other).is(http.StatusCreated, http.StatusAccepted)
	if a.status == http.StatusAccepted {
		u := upload{p: p, location: a.location()}
		u.put(b.digest, b.content).is(http.StatusCreated)
	}
	p.isPulled(third, b)
}

func mountAgain(p *probe) {
	b, _ := p.mounted()
	for _, from := range []repository{p.repo, p.other} {
		p.mount(p.other, b.digest, from).is(http.StatusCreated, http.StatusAccepted)
		p.isPulled(p.other, b)
	}
}

func mountMissing(p *probe) {
	p.hasBlob(p.repo, p.newBlob(10))
	p.mount(p.other, p.newBlob(3000).digest, p.repo).is(http.StatusAccepted)
}

func mountMissingSession(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, p.newBlob(10))
	a := p.mount(p.other, b.digest, p.repo)
	p.given(func() { a.is(http.StatusAccepted) })
	u := upload{p: p, location: a.location()}
	u.put(b.digest, b.content).is(http.StatusCreated)
	p.isPulled(p.other, b)
}

func mountMissingInvisible(p *probe) {
	d := p.newBlob(3000).digest
	p.hasBlob(p.repo, p.newBlob(10))
	a := p.mount(p.other, d, p.repo)
	a.want(a.status != http.StatusCreated, "expected no success: the blob is nowhere")
	p.isMissing(p.other, d)
	p.isMissing(p.repo, d)
}

func mountUnknownRepository(p *probe) {
	b := p.newBlob(3000)
	a := p.mount(p.other, b.digest, p.repo+"-unknown").is(http.StatusAccepted)
	u := upload{p: p, location: a.location()}
	u.put(b.digest, b.content).is(http.StatusCreated)
	p.isPulled(p.other, b)
}

func mountWithoutFrom(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.mount(p.other, b.digest, "").offersMount().is(http.StatusCreated)
	p.isPulled(p.other, b)
}

func mountWithoutFromSession(p *probe) {
	b := p.newBlob(3000)
	u := upload{p: p, location: p.mount(p.repo, b.digest, "").is(http.StatusAccepted).location()}
	u.put(b.digest, b.content).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func mountDigestInvalid(p *probe) {
	p.hasBlob(p.repo, p.newBlob(10))
	for _, d := range []oci.Digest{"latest", "sha256:abc", "none:0123456789abcdef"} {
		p.mount(p.other, d, p.repo).is(http.StatusBadRequest, http.StatusAccepted)
	}
}
