package verify

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// upload is a session as a client follows it: each answer may move it on.
type upload struct {
	p        *probe
	location string
	min      int // the least length of a chunk that is not the last
}

// smallChunk is a chunk where the registry announces no least length.
const smallChunk = 1000

// startUpload opens an upload for chunks; the query may be empty.
func (p *probe) startUpload(repo repository, query string) *upload {
	u := &upload{p: p, min: smallChunk}
	p.given(func() {
		a := p.post(repo.uploads(query)).is(http.StatusAccepted)
		u.location = a.location()
		if n, err := strconv.Atoi(a.header.Get("OCI-Chunk-Min-Length")); err == nil && n > 0 {
			u.min = n
		}
	})
	return u
}

// contentRange is the header of n bytes from an offset on.
func contentRange(from, n int) option {
	return withHeader("Content-Range", fmt.Sprintf("%d-%d", from, from+n-1))
}

// patch sends bytes to the upload, with Content-Type alone.
func (u *upload) patch(b []byte, opts ...option) *answer {
	opts = append([]option{withBody(b), withHeader("Content-Type", octetStream)}, opts...)
	return u.follow(u.p.patch(u.location, opts...))
}

// chunk sends bytes with a Content-Range that begins at an offset.
func (u *upload) chunk(from int, b []byte) *answer { return u.patch(b, contentRange(from, len(b))) }

// hasChunk sends a chunk that must be taken before the case can go on.
func (u *upload) hasChunk(from int, b []byte) {
	u.p.given(func() { u.chunk(from, b).is(http.StatusAccepted) })
}

// put closes the upload, with more bytes or none.
func (u *upload) put(d oci.Digest, b []byte, opts ...option) *answer {
	if len(b) > 0 {
		opts = append(opts, withBody(b), withHeader("Content-Type", octetStream))
	}
	return u.p.put(withQuery(u.location, "digest", string(d)), opts...)
}

// get asks where the upload stands.
func (u *upload) get() *answer { return u.follow(u.p.get(u.location)) }

// follow takes the location of an answer that moves the upload on.
func (u *upload) follow(a *answer) *answer {
	if (a.status == http.StatusAccepted || a.status == http.StatusNoContent) && a.header.Get("Location") != "" {
		u.location = a.location()
	}
	return a
}

// hasRange expects the position of the last of n bytes.
func (a *answer) hasRange(n int) *answer { return a.has("Range", fmt.Sprintf("0-%d", n-1)) }

// offset is how many bytes the upload has; below 0 the header cannot be read. An
// upload of nothing says 0-0 with many registries, as one of a byte does: no case
// leaves an upload at one byte and asks.
func (a *answer) offset() int {
	last, found := strings.CutPrefix(a.header.Get("Range"), "0-")
	n, err := strconv.Atoi(last)
	switch {
	case !found || err != nil:
		return -1
	case n <= 0:
		return 0
	}
	return n + 1
}

// isPulled expects a blob to be there, whole.
func (p *probe) isPulled(repo repository, b blob) {
	p.get(repo.blob(b.digest)).is(http.StatusOK).hasBody(b.content)
}

// isMissing expects a blob to be neither found nor pulled.
func (p *probe) isMissing(repo repository, d oci.Digest) {
	p.head(repo.blob(d)).is(http.StatusNotFound)
	p.get(repo.blob(d)).is(http.StatusNotFound)
}

// isPullable expects a Location from which the blob can be pulled.
func (a *answer) isPullable(b blob) {
	a.p.get(a.location()).is(http.StatusOK).hasBody(b.content)
}

// says expects one of the codes in an error, if the error is in the spec's form:
// any other body is allowed.
func (a *answer) says(codes ...oci.Code) {
	if !strings.HasPrefix(strings.TrimSpace(string(a.body)), "{") {
		a.p.notOffered(a, "the error is not in JSON")
	}
	a.isError(a.status, codes...)
}

func uploadCases() []Case {
	return []Case{
		{
			"upload-start", Push, Must, "POST then PUT",
			"POST of an upload answers 202, in a repository that is new and in one that is not.",
			everyClient + " begins each push with it", uploadStart,
		},
		{
			"upload-start-location", Push, Must, "POST then PUT",
			"POST of an upload carries a Location, which no other upload has.",
			everyClient + " sends the blob there", uploadStartLocation,
		},
		{
			"upload-location-usable", Push, Must, "POST then PUT",
			"A blob can be put to the Location of an upload, absolute or relative, with digest added to the parameters it has.",
			everyClient, uploadLocationUsable,
		},
		{
			"upload-location-sorted", Push, Must, "docker, podman, skopeo",
			"The parameters in an upload's Location may come back in another order and escaped anew, with digest among them.",
			"docker and podman sort them, and cannot finish an upload", uploadLocationSorted,
		},
		{
			"upload-location-same-host", Push, Should, "oras, helm",
			"Location of an upload stays on the registry's own scheme, host and port.",
			"oras and helm refuse any other; podman and skopeo send their token there", uploadLocationSameHost,
		},
		{
			"upload-unknown-patch", Push, Should, "Endpoints",
			"PATCH of an upload that was never started answers 404.",
			"clients that start anew when an upload is gone", uploadUnknownPatch,
		},
		{
			"upload-unknown-put", Push, Should, "Endpoints",
			"PUT to an upload that was never started answers 404, and leaves nothing.",
			"clients that start anew when an upload is gone", uploadUnknownPut,
		},
		{
			"upload-unknown-get", Push, Should, "Endpoints",
			"GET of an upload that was never started answers 404.",
			"clients that start anew when an upload is gone", uploadUnknownGet,
		},
		{
			"upload-unknown-delete", Push, Should, "Endpoints",
			"DELETE of an upload that was never started answers 404 or 400.",
			"clients that clean up are told of a success that was none", uploadUnknownDelete,
		},
		{
			"upload-unknown-code", Push, Should, "Error Codes",
			"An error of an unknown upload that is in JSON has the code BLOB_UPLOAD_UNKNOWN.",
			"clients that tell a lost upload from a lost repository", uploadUnknownCode,
		},
		{
			"upload-of-one-repository", Push, Should, "Definitions",
			"An upload is used through the repository in which it was started and through no other, and is unharmed by the attempt.",
			"access rules that are made per repository", uploadOfOneRepository,
		},
		{
			"upload-unfinished-invisible", Push, Must, "Pushing a blob in chunks",
			"Bytes that were uploaded are no blob before the upload is closed.",
			"a push that was given up looks like a blob", uploadUnfinishedInvisible,
		},
		{
			"upload-complete-again", Push, Should, "docker, crane",
			"The PUT that closed an upload, sent again, answers 201 again, 404, or 400 that speaks of the upload: not that the digest is wrong.",
			"clients that lost the answer and try again: they must not think that their content is bad", uploadCompleteAgain,
		},
		{
			"upload-complete-ended", Push, Should, "Endpoints",
			"An upload that was closed is gone: GET and PATCH answer 404.",
			"clients that take it for open", uploadCompleteEnded,
		},
		{
			"upload-complete-other-content", Push, Must, "Pushing blobs",
			"Other bytes that are sent to an upload after its end never change the blob.",
			"content that is not what its digest says", uploadCompleteOtherContent,
		},
		{
			"upload-cancel", Push, Should, "Cancel a blob upload",
			"DELETE of an upload answers 204.",
			"docker cancels the uploads that failed mounts open; they stay and cost", uploadCancel,
		},
		{
			"upload-cancel-gone", Push, Should, "Cancel a blob upload",
			"An upload that was cancelled is gone: GET, PATCH, PUT and DELETE answer 404.",
			"uploads that never end", uploadCancelGone,
		},
		{
			"upload-cancel-invisible", Push, Must, "Cancel a blob upload",
			"No blob comes of an upload that was cancelled.",
			"content that its owner has withdrawn", uploadCancelInvisible,
		},
	}
}

func uploadStart(p *probe) {
	p.post(p.repo.uploads("")).is(http.StatusAccepted)
	p.hasBlob(p.repo, p.newBlob(10))
	p.post(p.repo.uploads("")).is(http.StatusAccepted)
}

func uploadStartLocation(p *probe) {
	seen := map[string]bool{}
	for range 4 {
		a := p.post(p.repo.uploads("")).is(http.StatusAccepted)
		loc := a.location()
		a.want(!seen[loc], "expected a Location that no other upload has")
		seen[loc] = true
	}
}

func uploadLocationUsable(p *probe) {
	b := p.newBlob(3000)
	loc := p.post(p.repo.uploads("")).is(http.StatusAccepted).location()
	p.put(withQuery(loc, "digest", string(b.digest)), withBody(b.content), withHeader("Content-Type", octetStream)).is(http.StatusCreated)
}

func uploadLocationSorted(p *probe) {
	b := p.newBlob(3000)
	target, err := url.Parse(p.newUpload(p.repo, ""))
	p.want(err == nil, "a Location that was read once is a URL")
	query := target.Query()
	query.Set("digest", string(b.digest))
	target.RawQuery = query.Encode()
	p.put(target.String(), withBody(b.content), withHeader("Content-Type", octetStream)).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

func uploadLocationSameHost(p *probe) {
	a := p.post(p.repo.uploads("")).is(http.StatusAccepted)
	loc, err := url.Parse(a.location())
	a.want(err == nil && loc.Scheme == a.url.Scheme && loc.Host == a.url.Host, "expected a Location on %s://%s", a.url.Scheme, a.url.Host)
}

// neverStarted is the location of an upload that is not there.
func (p *probe) neverStarted() string {
	p.hasBlob(p.repo, p.newBlob(10)) // so that the repository is there
	return p.repo.uploads(p.newUUID())
}

// newUUID is the name of an upload as most registries choose it.
func (p *probe) newUUID() string {
	x := p.rand.bytes(16)
	x[6], x[8] = x[6]&0x0f|0x40, x[8]&0x3f|0x80 // version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", x[:4], x[4:6], x[6:8], x[8:10], x[10:])
}

func uploadUnknownPatch(p *probe) {
	u := &upload{p: p, location: p.neverStarted()}
	u.chunk(0, p.rand.bytes(100)).is(http.StatusNotFound)
}

func uploadUnknownPut(p *probe) {
	b, u := p.newBlob(100), &upload{p: p, location: p.neverStarted()}
	u.put(b.digest, b.content).is(http.StatusNotFound)
	p.isMissing(p.repo, b.digest)
}

func uploadUnknownGet(p *probe) { p.get(p.neverStarted()).is(http.StatusNotFound) }

func uploadUnknownDelete(p *probe) {
	a := p.delete(p.neverStarted())
	if a.status == http.StatusMethodNotAllowed {
		p.notOffered(a, "uploads cannot be cancelled")
	}
	a.is(http.StatusNotFound, http.StatusBadRequest)
}

func uploadUnknownCode(p *probe) {
	a := p.get(p.neverStarted())
	p.given(func() { a.refused() })
	a.says(oci.BlobUploadUnknown)
}

func uploadOfOneRepository(p *probe) {
	b, u := p.newBlob(2000), p.startUpload(p.repo, "")
	p.hasBlob(p.other, p.newBlob(10))
	// The whole name between slashes: the other's name begins with this one.
	there := strings.Replace(u.location, "/"+string(p.repo)+"/", "/"+string(p.other)+"/", 1)
	if there == u.location {
		p.notOffered(p.get(u.location), "the repository is not in the Location of an upload")
	}
	stranger := &upload{p: p, location: there}
	p.get(there).refused()
	stranger.chunk(0, b.content).refused()
	stranger = &upload{p: p, location: there}
	stranger.put(b.digest, b.content).refused()
	p.isMissing(p.other, b.digest)
	p.isMissing(p.repo, b.digest)
	u.put(b.digest, b.content).is(http.StatusCreated)
}

func uploadUnfinishedInvisible(p *probe) {
	b, u := p.newBlob(2000), p.startUpload(p.repo, "")
	u.hasChunk(0, b.content)
	p.isMissing(p.repo, b.digest)
	u.put(b.digest, nil).is(http.StatusCreated)
	p.isPulled(p.repo, b)
}

// isOver expects the answer to a PUT that has closed its upload before.
func (a *answer) isOver() {
	if a.status == http.StatusBadRequest {
		a.isError(a.status, oci.BlobUploadUnknown, oci.BlobUploadInvalid)
		return
	}
	a.is(http.StatusCreated, http.StatusNotFound)
}

func uploadCompleteAgain(p *probe) {
	b := p.newBlob(2000)
	whole, u := p.startUpload(p.repo, ""), p.startUpload(p.other, "")
	p.given(func() { whole.put(b.digest, b.content).is(http.StatusCreated) })
	whole.put(b.digest, b.content).isOver()
	u.hasChunk(0, b.content)
	p.given(func() { u.put(b.digest, nil).is(http.StatusCreated) })
	u.put(b.digest, nil).isOver()
	p.isPulled(p.repo, b)
	p.isPulled(p.other, b)
}

func uploadCompleteEnded(p *probe) {
	b, u := p.newBlob(2000), p.startUpload(p.repo, "")
	p.given(func() { u.put(b.digest, b.content).is(http.StatusCreated) })
	u.get().is(http.StatusNotFound)
	u.chunk(len(b.content), p.rand.bytes(100)).is(http.StatusNotFound)
	u.patch(p.rand.bytes(100)).is(http.StatusNotFound)
}

func uploadCompleteOtherContent(p *probe) {
	b, u := p.newBlob(2000), p.startUpload(p.repo, "")
	u.hasChunk(0, b.content)
	p.given(func() { u.put(b.digest, nil).is(http.StatusCreated) })
	u.patch(p.rand.bytes(2000))
	p.isPulled(p.repo, b)
	u.put(b.digest, p.rand.bytes(2000))
	p.isPulled(p.repo, b)
	other := p.newBlob(100)
	u.put(other.digest, p.rand.bytes(100)).refused()
	p.isMissing(p.repo, other.digest)
	p.isPulled(p.repo, b)
}

// cancelled opens an upload, sends it a chunk and cancels it.
func (p *probe) cancelled(b blob) *upload {
	u := p.startUpload(p.repo, "")
	u.hasChunk(0, b.content)
	a := p.delete(u.location)
	if a.status == http.StatusMethodNotAllowed || a.status == http.StatusNotFound || a.status == http.StatusBadRequest {
		p.notOffered(a, "uploads cannot be cancelled")
	}
	p.given(func() { a.want(a.status >= 200 && a.status < 300, "expected a 2xx status") })
	return u
}

func uploadCancel(p *probe) {
	u := p.startUpload(p.repo, "")
	a := p.delete(u.location)
	if a.status == http.StatusMethodNotAllowed || a.status == http.StatusBadRequest {
		p.notOffered(a, "uploads cannot be cancelled")
	}
	a.is(http.StatusNoContent)
	u = p.startUpload(p.repo, "")
	u.hasChunk(0, p.rand.bytes(2000))
	p.delete(u.location).is(http.StatusNoContent)
}

func uploadCancelGone(p *probe) {
	b := p.newBlob(2000)
	u := p.cancelled(b)
	u.get().is(http.StatusNotFound)
	u.chunk(len(b.content), p.rand.bytes(100)).is(http.StatusNotFound)
	u.put(b.digest, nil).is(http.StatusNotFound)
	u.put(b.digest, b.content).is(http.StatusNotFound)
	p.delete(u.location).is(http.StatusNotFound)
}

func uploadCancelInvisible(p *probe) {
	b := p.newBlob(2000)
	u := p.cancelled(b)
	p.isMissing(p.repo, b.digest)
	u.put(b.digest, nil).refused()
	p.isMissing(p.repo, b.digest)
}
