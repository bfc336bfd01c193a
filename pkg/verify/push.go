package verify

import (
	"net/http"
	"slices"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

const mib = 1 << 20

func pushCases() []Case {
	return slices.Concat(uploadCases(), blobPushCases(), digestCases(), singlePostCases(), mountCases())
}

func blobPushCases() []Case {
	return []Case{
		{
			"blob-put", Push, Must, "POST then PUT",
			"PUT of a whole blob to an upload answers 201.",
			"containerd, docker, helm and oras push so; oras, helm and podman insist on 201", blobPut,
		},
		{
			"blob-put-location", Push, Must, "POST then PUT",
			"The 201 of a blob carries a Location from which it can be pulled.",
			"clients that go on with it", blobPutLocation,
		},
		{
			"blob-put-digest-header", Push, Should, "containerd",
			"The 201 of a blob carries its digest in Docker-Content-Digest.",
			"containerd 1.6 fails; others cannot check what was stored", blobPutDigestHeader,
		},
		{
			"blob-put-visible", Push, Must, "docker",
			"A blob is found and pulled right after its 201, every time.",
			"docker asks after each PUT; a pull right after a push finds holes", blobPutVisible,
		},
		{
			"blob-put-visible-after-miss", Push, Must, "every client",
			"A blob that was asked for and missing before its push is found right after it.",
			everyClient + " looks before it pushes, and is told later that the blob is not there", blobPutVisibleAfterMiss,
		},
		{
			"blob-put-again", Push, Must, "POST then PUT",
			"A blob that is there already is pushed again with 201, and stays as it was.",
			"clients that do not look before they push; builds that make the same layer twice", blobPutAgain,
		},
		{
			"blob-put-two-repositories", Push, Must, "POST then PUT",
			"The same blob is pushed to two repositories and pulled from both.",
			"base layers: most blobs are in many repositories", blobPutTwoRepositories,
		},
		{
			"blob-put-sizes", Push, Must, "POST then PUT",
			"Blobs of 1 byte, and of 5 MiB less one byte, 5 MiB, and one byte more, are pushed in one PUT and come back the same.",
			"content at the edges of what object stores take as one part", blobPutSizes,
		},
		{
			"blob-put-cut", Push, Must, "POST then PUT",
			"A PUT whose body broke off leaves no blob, and the blob can be pushed anew.",
			"half a layer under the digest of the whole, for every later push too", blobPutCut,
		},
		{
			"blob-put-stream", Push, May, "POST then PUT",
			"PUT of a blob without Content-Length is taken.",
			"clients that do not know the size", blobPutStream,
		},
		{
			"blob-put-range", Push, Should, "Pushing a blob in chunks",
			"A whole blob is the first and last chunk: PUT with Content-Range is taken.",
			"clients whose blob fits into one chunk", blobPutRange,
		},
		{
			"blob-put-sha512-unannounced", Push, Should, "POST then PUT",
			"A blob with a sha512 digest is put to an upload that was started without digest-algorithm.",
			"clients do not know the parameter yet", blobPutSHA512Unannounced,
		},
	}
}

func blobPut(p *probe) {
	b := p.newBlob(3000)
	p.pushBlob(p.repo, b).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func blobPutLocation(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b).isPullable(b)
}

func blobPutDigestHeader(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b).hasDigest(b.digest)
}

func blobPutVisible(p *probe) {
	for range 5 {
		b := p.newBlob(3000)
		p.hasBlob(p.repo, b)
		for range 3 {
			p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(len(b.content))
			p.isPulled(p.repo, b)
		}
	}
}

func blobPutVisibleAfterMiss(p *probe) {
	for range 3 {
		b := p.newBlob(3000)
		p.given(func() { p.isMissing(p.repo, b.digest) })
		p.hasBlob(p.repo, b)
		p.head(p.repo.blob(b.digest)).is(http.StatusOK)
		p.isPulled(p.repo, b)
	}
}

func blobPutAgain(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	for range 2 {
		p.pushBlob(p.repo, b).is(http.StatusCreated)
		p.isPulled(p.repo, b)
	}
}

func blobPutTwoRepositories(p *probe) {
	b := p.newBlob(3000)
	p.hasBlob(p.repo, b)
	p.pushBlob(p.other, b).is(http.StatusCreated)
	p.isPulled(p.other, b)
	p.isPulled(p.repo, b)
}

func blobPutSizes(p *probe) {
	for _, n := range []int{1, 5*mib - 1, 5 * mib, 5*mib + 1} {
		b := p.newBlob(n)
		p.pushBlob(p.repo, b).is(http.StatusCreated)
		p.head(p.repo.blob(b.digest)).is(http.StatusOK).hasLength(n)
		p.isPulled(p.repo, b)
	}
}

func blobPutCut(p *probe) {
	b := p.newBlob(3000)
	p.try(http.MethodPut, withQuery(p.newUpload(p.repo, ""), "digest", string(b.digest)),
		withBody(b.content), withHeader("Content-Type", octetStream), cutAfter(2000))
	p.isMissing(p.repo, b.digest)
	p.pushBlob(p.repo, b).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func blobPutStream(p *probe) {
	b := p.newBlob(3000)
	a := p.put(withQuery(p.newUpload(p.repo, ""), "digest", string(b.digest)), withBody(b.content), asStream())
	if a.status == http.StatusLengthRequired {
		p.notOffered(a, "PUT needs a Content-Length")
	}
	a.is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func blobPutRange(p *probe) {
	b := p.newBlob(3000)
	p.startUpload(p.repo, "").put(b.digest, b.content, contentRange(0, len(b.content))).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func blobPutSHA512Unannounced(p *probe) {
	b := sha512Of(p.rand.bytes(3000))
	p.startUpload(p.repo, "").put(b.digest, b.content).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func digestCases() []Case {
	return []Case{
		{
			"blob-digest-mismatch", Push, Must, "Pushing blobs",
			"PUT with a digest that is not the content's is refused, and leaves no blob under that digest.",
			"content that is not what its digest says", blobDigestMismatch,
		},
		{
			"blob-digest-mismatch-status", Push, Should, "Pushing blobs",
			"PUT with a digest that is not the content's answers 400.",
			"clients take 5xx for an outage and try again for minutes", blobDigestMismatchStatus,
		},
		{
			"blob-digest-mismatch-code", Push, Should, "Error Codes",
			"An error of a digest that is not the content's, if it is in JSON, has the code DIGEST_INVALID.",
			"docker and podman print it", blobDigestMismatchCode,
		},
		{
			"blob-digest-mismatch-own", Push, Should, "Pushing blobs",
			"Content that was refused for its digest is not there under its own digest either.",
			"content that nobody meant to push", blobDigestMismatchOwn,
		},
		{
			"blob-digest-malformed", Push, Should, "Pushing blobs",
			"PUT with something that is no digest answers 400.",
			"clients take 5xx for an outage and try again for minutes", blobDigestMalformed,
		},
		{
			"blob-digest-unsupported", Push, Should, "Pushing blobs",
			"PUT with a digest of an algorithm that does not exist answers 400.",
			"clients cannot tell that they must use another algorithm", blobDigestUnsupported,
		},
		{
			"blob-digest-missing", Push, Must, "Pushing a blob in chunks",
			"PUT without a digest is refused, and the blob is not there.",
			"content that nobody has verified", blobDigestMissing,
		},
		{
			"upload-algorithm-unsupported", Push, May, "Pushing blobs",
			"POST of an upload with a digest-algorithm that does not exist answers 400.",
			"clients learn only after the whole upload that it was in vain", uploadAlgorithmUnsupported,
		},
	}
}

// mismatched puts content under the digest of other content.
func (p *probe) mismatched() (claimed oci.Digest, own blob, a *answer) {
	claimed, own = p.newBlob(3000).digest, p.newBlob(3000)
	return claimed, own, p.startUpload(p.repo, "").put(claimed, own.content)
}

func blobDigestMismatch(p *probe) {
	claimed, _, a := p.mismatched()
	a.want(a.status >= 400, "expected an error")
	p.isMissing(p.repo, claimed)
}

func blobDigestMismatchStatus(p *probe) {
	_, _, a := p.mismatched()
	a.is(http.StatusBadRequest)
}

func blobDigestMismatchCode(p *probe) {
	_, _, a := p.mismatched()
	p.given(func() { a.refused() })
	a.says(oci.DigestInvalid)
}

func blobDigestMismatchOwn(p *probe) {
	_, own, a := p.mismatched()
	p.given(func() { a.want(a.status >= 400, "expected an error") })
	p.isMissing(p.repo, own.digest)
}

func blobDigestMalformed(p *probe) {
	b := p.newBlob(300)
	hex := b.digest.Encoded()
	for _, d := range []string{"latest", "sha256", "sha256:", ":" + hex, hex, "sha256:" + hex[1:], "sha256:" + hex + "0", "sha256:" + strings.Repeat("g", 64)} {
		p.startUpload(p.repo, "").put(oci.Digest(d), b.content).is(http.StatusBadRequest)
	}
	p.isMissing(p.repo, b.digest)
}

// noAlgorithms are names that the grammar of digests allows and nobody uses.
func noAlgorithms() []string { return []string{"none", "verify+none.1"} }

func blobDigestUnsupported(p *probe) {
	b := p.newBlob(300)
	for _, name := range noAlgorithms() {
		p.startUpload(p.repo, "").put(oci.Digest(name+":"+b.digest.Encoded()), b.content).is(http.StatusBadRequest)
	}
}

func blobDigestMissing(p *probe) {
	b := p.newBlob(300)
	p.put(p.newUpload(p.repo, ""), withBody(b.content), withHeader("Content-Type", octetStream)).refused()
	p.isMissing(p.repo, b.digest)
}

func uploadAlgorithmUnsupported(p *probe) {
	for _, name := range noAlgorithms() {
		a := p.post(withQuery(p.repo.uploads(""), "digest-algorithm", name))
		if a.status == http.StatusAccepted {
			p.notOffered(a, "digest-algorithm is not looked at") // a parameter that is not known is ignored
		}
		a.is(http.StatusBadRequest)
	}
}
