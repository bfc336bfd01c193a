package verify

import (
	"net/http"
	"net/url"
	"strings"
)

func clientStreamRange(t *T) {
	b := t.newBlob(300_000)
	sent := t.patch(t.newUpload(t.repo, ""), streamed(b.content)).wantStatus(http.StatusAccepted).wantRange(len(b.content))
	t.put(sent.merged(b.digest)).wantStored(t.repo, b)
}

func clientEmptyPatch(t *T) {
	b := t.newBlob(100)
	a := t.patch(t.newUpload(t.repo, ""), streamed(nil)).wantStatus(http.StatusAccepted).wantHeader("Range", "0-0")
	t.put(a.merged(b.digest), octets(b.content)).wantStored(t.repo, b)
}

func clientContentRangeUnit(t *T) {
	for _, spec := range []string{"bytes 0-1023", "bytes 0-1023/*", "bytes 0-1023/1024"} {
		b := t.newBlob(1024)
		sent := t.patch(t.newUpload(t.repo, ""), withBody(b.content), withHeader("Content-Range", spec))
		sent.notOfferedIf4xx("Content-Range must have the format of the spec, which has no unit")
		sent.wantStatus(http.StatusAccepted).wantHeader("Range", "0-1023")
		t.put(sent.merged(b.digest)).wantStatus(http.StatusCreated)
	}
}

func clientPatchDigestIgnored(t *T) {
	b := t.newBlob(2000)
	opened := t.setupWith(func() *answer { return t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted) })
	sent := t.patch(opened.appended(b.digest), withBody(b.content)).wantStatus(http.StatusAccepted)
	t.put(sent.merged(b.digest)).wantStored(t.repo, b)
}

func clientBlobPutHeaders(t *T) {
	b := t.newBlob(500)
	whole := t.put(AddQuery(t.newUpload(t.repo, ""), "digest", string(b.digest)), octets(b.content))
	whole.wantStatus(http.StatusCreated).wantDigest(b.digest)
	c := t.newBlob(500)
	var sent *answer
	t.setup(func() {
		sent = t.patch(t.newUpload(t.repo, ""), streamed(c.content)).wantStatus(http.StatusAccepted)
	})
	t.put(sent.merged(c.digest)).wantStatus(http.StatusCreated).wantDigest(c.digest)
}

func clientManifestPutStatus(t *T) {
	m := t.newImage(t.repo)
	for _, ref := range []string{"v1", "v1", string(m.digest)} {
		t.putManifest(t.repo, ref, m).wantStatus(http.StatusCreated)
	}
}

func clientMountWithoutFrom(t *T) {
	known, b := t.newBlob(300), t.newBlob(400)
	t.seedBlob(t.other, known)
	if t.post(t.repo.uploads(mountFrom(known.digest, ""))).wantStatus(http.StatusCreated, http.StatusAccepted).Status == http.StatusCreated {
		t.wantBlob(t.repo, known)
	}
	opened := t.post(t.repo.uploads(mountFrom(b.digest, ""))).wantStatus(http.StatusAccepted)
	t.put(opened.merged(b.digest), octets(b.content)).wantStatus(http.StatusCreated)
}

func clientPostJSON(t *T) {
	b := t.newBlob(400)
	opened := t.post(t.repo.uploads(""), withHeader("Content-Type", "application/json")).wantStatus(http.StatusAccepted)
	t.put(opened.merged(b.digest), withBody(b.content)).wantStatus(http.StatusCreated)
}

func clientLocationOwnHost(t *T) {
	b := t.newBlob(400)
	opened := t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted).wantOwnHost()
	t.patch(opened.location(), withBody(b.content)).wantStatus(http.StatusAccepted).wantOwnHost()
	t.post(t.repo.uploads(mountFrom(b.digest, t.other))).wantStatus(http.StatusAccepted).wantOwnHost()
}

// wantNoRedirect expects a response without redirects.
func (a *answer) wantNoRedirect() *answer {
	return a.want(len(a.hops) == 0 && a.Status/100 != 3, "expected a response without a redirect")
}

func clientUploadNoRedirect(t *T) {
	b := t.newBlob(400)
	opened := t.post(t.repo.uploads("")).wantNoRedirect().wantStatus(http.StatusAccepted)
	sent := t.patch(opened.location(), withBody(b.content)).wantNoRedirect().wantStatus(http.StatusAccepted)
	t.put(sent.merged(b.digest)).wantNoRedirect().wantStatus(http.StatusCreated)
	again := t.post(t.repo.uploads("")).wantNoRedirect().wantStatus(http.StatusAccepted)
	t.put(again.merged(b.digest), withBody(b.content)).wantNoRedirect().wantStatus(http.StatusCreated)
	m := t.imageOf(b).encode()
	t.putManifest(t.repo, "v1", m).wantNoRedirect().wantStatus(http.StatusCreated)
}

func clientChunkResume(t *T) {
	u, _, chunks := t.begun()
	refused := t.setupWith(func() *answer { return u.chunk(2*u.min, chunks[2]).wantRefused() })
	u.location = refused.wantRange(u.min).location()
	u.chunk(u.min, chunks[1]).wantStatus(http.StatusAccepted)
}

func clientParallelLayers(t *T) {
	blobs := t.newBlobs(10, 50_000)
	t.parallel(len(blobs), func(i int) { t.dockerBlob(blobs[i]) })
	t.wantBlobs(blobs)
}

func clientTwoUploads(t *T) {
	first := t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted)
	second := t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted)
	second.want(first.location() != second.location(), "expected a unique location, an earlier upload has the same")
}

func clientMixedUploads(t *T) {
	a, b := t.newBlob(2000), t.newBlob(2000)
	locA, locB := t.newUpload(t.repo, ""), t.newUpload(t.repo, "")
	sentA := t.patch(locA, streamed(a.content)).wantStatus(http.StatusAccepted)
	sentB := t.patch(locB, streamed(b.content)).wantStatus(http.StatusAccepted)
	t.put(sentA.merged(a.digest)).wantStatus(http.StatusCreated)
	t.put(sentB.merged(b.digest)).wantStored(t.repo, a)
	t.get(t.repo.blob(b.digest)).wantStatus(http.StatusOK).wantBody(b.content)
}

func clientUnknownQuery(t *T) {
	const query = "ns=registry.example&account=somebody&x-client=1"
	b := t.newBlob(700)
	opened := t.post(t.repo.uploads("?" + query)).wantStatus(http.StatusAccepted)
	t.put(opened.merged(b.digest)+"&"+query, withBody(b.content)).wantStatus(http.StatusCreated)
	m := t.imageOf(b).encode()
	t.put(t.repo.manifest("v1")+"?"+query, withBody(m.content), withHeader("Content-Type", m.mediaType)).wantStatus(http.StatusCreated)
	t.get(t.repo.blob(b.digest) + "?account=somebody&x-client=1").wantStatus(http.StatusOK).wantBody(b.content)
	t.getManifest(t.repo, "v1?account=somebody&x-client=1").wantStatus(http.StatusOK).wantBody(m.content)
	t.get(t.repo.tags("?account=somebody&x-client=1")).wantStatus(http.StatusOK)
}

func clientNS(t *T) {
	ns := "?ns=" + url.QueryEscape(t.client.Base.Host)
	img := t.pushed(t.newLocalImage(1))
	t.head(t.repo.manifest("v1")+ns, acceptContainerd()).wantStatus(http.StatusOK).wantDigest(img.manifest.digest)
	t.get(t.repo.manifest(string(img.manifest.digest))+ns, acceptContainerd()).wantStatus(http.StatusOK).wantBody(img.manifest.content)
	t.get(t.repo.blob(img.config.digest) + ns).wantStatus(http.StatusOK).wantBody(img.config.content)
	b := t.newBlob(100)
	t.put(AddQuery(t.newUpload(t.repo, ""), "digest", string(b.digest))+"&"+strings.TrimPrefix(ns, "?"), withBody(b.content)).wantStatus(http.StatusCreated)
}

func clientExpectContinue(t *T) {
	b := t.newBlob(100_000)
	t.put(AddQuery(t.newUpload(t.repo, ""), "digest", string(b.digest)), withBody(b.content), withHeader("Expect", "100-continue"), withHeader("Content-Type", octetStream)).
		wantStatus(http.StatusCreated)
	t.wantBlob(t.repo, b)
}

func clientRefusedBody(t *T) {
	b := t.newBlob(2 << 20)
	t.put(AddQuery(t.newUpload(t.repo, ""), "digest", string(t.newBlob(1).digest)), octets(b.content)).wantRefused()
	t.put(t.repo.manifest("sha256:none"), withBody(b.content), withHeader("Content-Type", mediaManifest)) // some registries accept it
	t.get("/v2/").wantStatus(http.StatusOK)
}
