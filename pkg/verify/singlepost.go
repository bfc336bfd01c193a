package verify

import (
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

func singlePostCases() []Case {
	return []Case{
		{
			"blob-post-or-session", Push, Should, "Single POST",
			"POST with a digest and a blob answers 201, or 202 with the Location of an upload that takes the blob.",
			"clients that save a request where they can", blobPostOrSession,
		},
		{
			"blob-post", Push, May, "Single POST",
			"POST with a digest and a blob answers 201, and the blob can be pulled.",
			"clients that save a request where they can", blobPost,
		},
		{
			"blob-post-location", Push, Must, "Single POST",
			"The 201 of a single POST carries a Location from which the blob can be pulled.",
			"clients that go on with it", blobPostLocation,
		},
		{
			"blob-post-digest-header", Push, Should, "containerd",
			"The 201 of a single POST carries the blob's digest in Docker-Content-Digest.",
			"clients that check what was stored", blobPostDigestHeader,
		},
		{
			"blob-post-mismatch", Push, Must, "Single POST",
			"A single POST with a digest that is not the content's is refused, and leaves no blob.",
			"content that is not what its digest says", blobPostMismatch,
		},
		{
			"blob-post-digest-status", Push, Should, "Pushing blobs",
			"A single POST answers 400 where the digest is not the content's, is none, or has an unknown algorithm.",
			"clients take 5xx for an outage and try again for minutes", blobPostDigestStatus,
		},
		{
			"blob-post-cut", Push, Must, "Single POST",
			"A single POST whose body broke off leaves no blob, and the blob can be pushed anew.",
			"half a layer under the digest of the whole", blobPostCut,
		},
	}
}

// singlePost sends a blob with one POST.
func (p *probe) singlePost(d oci.Digest, content []byte) *answer {
	return p.post(withQuery(p.repo.uploads(""), "digest", string(d)), withBody(content), withHeader("Content-Type", octetStream))
}

// offersPost ends the case where the registry takes no single POST.
func (a *answer) offersPost() *answer {
	if a.status == http.StatusAccepted {
		a.p.notOffered(a, "a single POST opens an upload")
	}
	return a
}

// singlePosted is the 201 of a single POST.
func (p *probe) singlePosted(b blob) (a *answer) {
	p.given(func() { a = p.singlePost(b.digest, b.content).offersPost().is(http.StatusCreated) })
	return a
}

func blobPostOrSession(p *probe) {
	b := p.newBlob(3000)
	a := p.singlePost(b.digest, b.content).is(http.StatusCreated, http.StatusAccepted)
	if a.status == http.StatusAccepted {
		u := upload{p: p, location: a.location()}
		u.put(b.digest, b.content).is(http.StatusCreated)
	}
	p.isPulled(p.repo, b)
}

func blobPost(p *probe) {
	b := p.newBlob(3000)
	p.singlePost(b.digest, b.content).offersPost().is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func blobPostLocation(p *probe) {
	b := p.newBlob(3000)
	p.singlePosted(b).isPullable(b)
}

func blobPostDigestHeader(p *probe) {
	b := p.newBlob(3000)
	p.singlePosted(b).hasDigest(b.digest)
}

func blobPostMismatch(p *probe) {
	claimed, own := p.newBlob(3000), p.newBlob(3000)
	a := p.singlePost(claimed.digest, own.content).offersPost()
	a.want(a.status >= 400, "expected an error")
	p.isMissing(p.repo, claimed.digest)
}

func blobPostDigestStatus(p *probe) {
	b := p.newBlob(300)
	hex := b.digest.Encoded()
	for _, d := range []string{string(p.newBlob(300).digest), "latest", "sha256:" + hex[1:], "none:" + hex} {
		p.singlePost(oci.Digest(d), b.content).offersPost().is(http.StatusBadRequest)
	}
}

func blobPostCut(p *probe) {
	p.singlePosted(p.newBlob(100))
	b := p.newBlob(3000)
	p.try(http.MethodPost, withQuery(p.repo.uploads(""), "digest", string(b.digest)),
		withBody(b.content), withHeader("Content-Type", octetStream), cutAfter(2000))
	p.isMissing(p.repo, b.digest)
	p.singlePost(b.digest, b.content).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}
