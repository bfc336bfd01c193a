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
	t        *T
	location string
	min      int // the least length of a chunk that is not the last
}

// smallChunk is a chunk where the registry announces no least length.
const smallChunk = 1000

// startUpload opens an upload for chunks; the query may be empty.
func (t *T) startUpload(repo repository, query string) *upload {
	u := &upload{t: t, min: smallChunk}
	t.setup(func() {
		a := t.post(repo.uploads(query)).wantStatus(http.StatusAccepted)
		u.location = a.location()
		if n, err := strconv.Atoi(a.Header.Get("OCI-Chunk-Min-Length")); err == nil && n > 0 {
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
	return u.follow(u.t.patch(u.location, opts...))
}

// chunk sends bytes with a Content-Range that begins at an offset.
func (u *upload) chunk(from int, b []byte) *answer { return u.patch(b, contentRange(from, len(b))) }

// seedChunk sends a chunk that must be taken before the case can go on.
func (u *upload) seedChunk(from int, b []byte) {
	u.t.setup(func() { u.chunk(from, b).wantStatus(http.StatusAccepted) })
}

// put closes the upload, with more bytes or none.
func (u *upload) put(d oci.Digest, b []byte, opts ...option) *answer {
	if len(b) > 0 {
		opts = append(opts, withBody(b), withHeader("Content-Type", octetStream))
	}
	return u.t.put(AddQuery(u.location, "digest", string(d)), opts...)
}

// get asks where the upload stands.
func (u *upload) get() *answer { return u.follow(u.t.get(u.location)) }

// follow takes the location of an answer that moves the upload on.
func (u *upload) follow(a *answer) *answer {
	if (a.Status == http.StatusAccepted || a.Status == http.StatusNoContent) && a.Header.Get("Location") != "" {
		u.location = a.location()
	}
	return a
}

// wantRange expects the position of the last of n bytes.
func (a *answer) wantRange(n int) *answer { return a.wantHeader("Range", fmt.Sprintf("0-%d", n-1)) }

// offset is how many bytes the upload has; below 0 the header cannot be read. An
// upload of nothing says 0-0 with many registries, as one of a byte does: no case
// leaves an upload at one byte and asks.
func (a *answer) offset() int {
	last, found := strings.CutPrefix(a.Header.Get("Range"), "0-")
	n, err := strconv.Atoi(last)
	switch {
	case !found || err != nil:
		return -1
	case n <= 0:
		return 0
	}
	return n + 1
}

// wantBlob expects a blob to be there, whole.
func (t *T) wantBlob(repo repository, b blob) {
	t.get(repo.blob(b.digest)).wantStatus(http.StatusOK).wantBody(b.content)
}

// wantNoBlob expects a blob to be neither found nor pulled.
func (t *T) wantNoBlob(repo repository, d oci.Digest) {
	t.head(repo.blob(d)).wantStatus(http.StatusNotFound)
	t.get(repo.blob(d)).wantStatus(http.StatusNotFound)
}

// wantPullable expects a Location from which the blob can be pulled.
func (a *answer) wantPullable(b blob) {
	a.t.get(a.location()).wantStatus(http.StatusOK).wantBody(b.content)
}

// wantCode expects one of the codes in an error, if the error is in the spec's form:
// any other body is allowed.
func (a *answer) wantCode(codes ...oci.Code) {
	if !strings.HasPrefix(strings.TrimSpace(string(a.Body)), "{") {
		a.t.notOffered(a, "the error is not in JSON")
	}
	a.wantError(a.Status, codes...)
}

func uploadStart(t *T) {
	t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted)
	t.seedBlob(t.repo, t.newBlob(10))
	t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted)
}

func uploadStartLocation(t *T) {
	seen := map[string]bool{}
	for range 4 {
		a := t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted)
		loc := a.location()
		a.want(!seen[loc], "expected a Location that no other upload has")
		seen[loc] = true
	}
}

func uploadLocationUsable(t *T) {
	b := t.newBlob(3000)
	loc := t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted).location()
	t.put(AddQuery(loc, "digest", string(b.digest)), withBody(b.content), withHeader("Content-Type", octetStream)).wantStatus(http.StatusCreated)
}

func uploadLocationSorted(t *T) {
	b := t.newBlob(3000)
	target, err := url.Parse(t.newUpload(t.repo, ""))
	t.want(err == nil, "a Location that was read once is a URL")
	query := target.Query()
	query.Set("digest", string(b.digest))
	target.RawQuery = query.Encode()
	t.put(target.String(), withBody(b.content), withHeader("Content-Type", octetStream)).wantStatus(http.StatusCreated)
	t.wantBlob(t.repo, b)
}

func uploadLocationSameHost(t *T) {
	a := t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted)
	loc, err := url.Parse(a.location())
	a.want(err == nil && loc.Scheme == a.URL.Scheme && loc.Host == a.URL.Host, "expected a Location on %s://%s", a.URL.Scheme, a.URL.Host)
}

// neverStarted is the location of an upload that is not there.
func (t *T) neverStarted() string {
	t.seedBlob(t.repo, t.newBlob(10)) // so that the repository is there
	return t.repo.uploads(t.newUUID())
}

// newUUID is the name of an upload as most registries choose it.
func (t *T) newUUID() string {
	x := t.rand.bytes(16)
	x[6], x[8] = x[6]&0x0f|0x40, x[8]&0x3f|0x80 // version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", x[:4], x[4:6], x[6:8], x[8:10], x[10:])
}

func uploadUnknownPatch(t *T) {
	u := &upload{t: t, location: t.neverStarted()}
	u.chunk(0, t.rand.bytes(100)).wantStatus(http.StatusNotFound)
}

func uploadUnknownPut(t *T) {
	b, u := t.newBlob(100), &upload{t: t, location: t.neverStarted()}
	u.put(b.digest, b.content).wantStatus(http.StatusNotFound)
	t.wantNoBlob(t.repo, b.digest)
}

func uploadUnknownGet(t *T) { t.get(t.neverStarted()).wantStatus(http.StatusNotFound) }

func uploadUnknownDelete(t *T) {
	a := t.delete(t.neverStarted())
	if a.Status == http.StatusMethodNotAllowed {
		t.notOffered(a, "uploads cannot be cancelled")
	}
	a.wantStatus(http.StatusNotFound, http.StatusBadRequest)
}

func uploadUnknownCode(t *T) {
	a := t.get(t.neverStarted())
	t.setup(func() { a.wantRefused() })
	a.wantCode(oci.BlobUploadUnknown)
}

func uploadOfOneRepository(t *T) {
	b, u := t.newBlob(2000), t.startUpload(t.repo, "")
	t.seedBlob(t.other, t.newBlob(10))
	// The whole name between slashes: the other's name begins with this one.
	there := strings.Replace(u.location, "/"+string(t.repo)+"/", "/"+string(t.other)+"/", 1)
	if there == u.location {
		t.notOffered(t.get(u.location), "the repository is not in the Location of an upload")
	}
	stranger := &upload{t: t, location: there}
	t.get(there).wantRefused()
	stranger.chunk(0, b.content).wantRefused()
	stranger = &upload{t: t, location: there}
	stranger.put(b.digest, b.content).wantRefused()
	t.wantNoBlob(t.other, b.digest)
	t.wantNoBlob(t.repo, b.digest)
	u.put(b.digest, b.content).wantStatus(http.StatusCreated)
}

func uploadUnfinishedInvisible(t *T) {
	b, u := t.newBlob(2000), t.startUpload(t.repo, "")
	u.seedChunk(0, b.content)
	t.wantNoBlob(t.repo, b.digest)
	u.put(b.digest, nil).wantStatus(http.StatusCreated)
	t.wantBlob(t.repo, b)
}

// wantOver expects the answer to a PUT that has closed its upload before.
func (a *answer) wantOver() {
	if a.Status == http.StatusBadRequest {
		a.wantError(a.Status, oci.BlobUploadUnknown, oci.BlobUploadInvalid)
		return
	}
	a.wantStatus(http.StatusCreated, http.StatusNotFound)
}

func uploadCompleteAgain(t *T) {
	b := t.newBlob(2000)
	whole, u := t.startUpload(t.repo, ""), t.startUpload(t.other, "")
	t.setup(func() { whole.put(b.digest, b.content).wantStatus(http.StatusCreated) })
	whole.put(b.digest, b.content).wantOver()
	u.seedChunk(0, b.content)
	t.setup(func() { u.put(b.digest, nil).wantStatus(http.StatusCreated) })
	u.put(b.digest, nil).wantOver()
	t.wantBlob(t.repo, b)
	t.wantBlob(t.other, b)
}

func uploadCompleteEnded(t *T) {
	b, u := t.newBlob(2000), t.startUpload(t.repo, "")
	t.setup(func() { u.put(b.digest, b.content).wantStatus(http.StatusCreated) })
	u.get().wantStatus(http.StatusNotFound)
	u.chunk(len(b.content), t.rand.bytes(100)).wantStatus(http.StatusNotFound)
	u.patch(t.rand.bytes(100)).wantStatus(http.StatusNotFound)
}

func uploadCompleteOtherContent(t *T) {
	b, u := t.newBlob(2000), t.startUpload(t.repo, "")
	u.seedChunk(0, b.content)
	t.setup(func() { u.put(b.digest, nil).wantStatus(http.StatusCreated) })
	u.patch(t.rand.bytes(2000))
	t.wantBlob(t.repo, b)
	u.put(b.digest, t.rand.bytes(2000))
	t.wantBlob(t.repo, b)
	other := t.newBlob(100)
	u.put(other.digest, t.rand.bytes(100)).wantRefused()
	t.wantNoBlob(t.repo, other.digest)
	t.wantBlob(t.repo, b)
}

// cancelled opens an upload, sends it a chunk and cancels it.
func (t *T) cancelled(b blob) *upload {
	u := t.startUpload(t.repo, "")
	u.seedChunk(0, b.content)
	a := t.delete(u.location)
	if a.Status == http.StatusMethodNotAllowed || a.Status == http.StatusNotFound || a.Status == http.StatusBadRequest {
		t.notOffered(a, "uploads cannot be cancelled")
	}
	t.setup(func() { a.want(a.Status >= 200 && a.Status < 300, "expected a 2xx status") })
	return u
}

func uploadCancel(t *T) {
	u := t.startUpload(t.repo, "")
	a := t.delete(u.location)
	if a.Status == http.StatusMethodNotAllowed || a.Status == http.StatusBadRequest {
		t.notOffered(a, "uploads cannot be cancelled")
	}
	a.wantStatus(http.StatusNoContent)
	u = t.startUpload(t.repo, "")
	u.seedChunk(0, t.rand.bytes(2000))
	t.delete(u.location).wantStatus(http.StatusNoContent)
}

func uploadCancelGone(t *T) {
	b := t.newBlob(2000)
	u := t.cancelled(b)
	u.get().wantStatus(http.StatusNotFound)
	u.chunk(len(b.content), t.rand.bytes(100)).wantStatus(http.StatusNotFound)
	u.put(b.digest, nil).wantStatus(http.StatusNotFound)
	u.put(b.digest, b.content).wantStatus(http.StatusNotFound)
	t.delete(u.location).wantStatus(http.StatusNotFound)
}

func uploadCancelInvisible(t *T) {
	b := t.newBlob(2000)
	u := t.cancelled(b)
	t.wantNoBlob(t.repo, b.digest)
	u.put(b.digest, nil).wantRefused()
	t.wantNoBlob(t.repo, b.digest)
}
