package verify

import (
	"net/http"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

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
	t.put(AddQuery(loc, "digest", string(b.digest)), octets(b.content)).wantStatus(http.StatusCreated)
}

func uploadLocationSorted(t *T) {
	b := t.newBlob(3000)
	opened := t.setupWith(func() *answer { return t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted) })
	t.put(opened.merged(b.digest), octets(b.content)).wantStored(t.repo, b)
}

func uploadLocationSameHost(t *T) {
	t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted).wantOwnHost()
}

// neverStarted returns the location of an upload that does not exist.
func (t *T) neverStarted() string {
	t.seedBlob(t.repo, t.newBlob(10)) // creates the repository
	return t.repo.uploads(t.newUUID())
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

func uploadUnknownDelete(t *T) {
	t.delete(t.neverStarted()).
		notOfferedIf("uploads cannot be cancelled", http.StatusMethodNotAllowed).wantStatus(http.StatusNotFound, http.StatusBadRequest)
}

func uploadUnknownCode(t *T) {
	a := t.get(t.neverStarted())
	t.setup(func() { a.wantRefused() })
	a.wantCode(oci.BlobUploadUnknown)
}

func uploadOfOneRepository(t *T) {
	b, u := t.newBlob(2000), t.startUpload(t.repo, "")
	t.seedBlob(t.other, t.newBlob(10))
	// With slashes: the other name begins with this one.
	there := strings.Replace(u.location, "/"+string(t.repo)+"/", "/"+string(t.other)+"/", 1)
	if there == u.location {
		t.notOffered(t.get(u.location), "the location of an upload does not contain its repository")
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
	u.put(b.digest, nil).wantStored(t.repo, b)
}

// wantOver expects the response to a repeated closing PUT.
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

// cancelled opens an upload, sends a chunk and cancels the upload.
func (t *T) cancelled(b blob) *upload {
	u := t.startUpload(t.repo, "")
	u.seedChunk(0, b.content)
	a := t.delete(u.location)
	a.notOfferedIf("uploads cannot be cancelled", http.StatusMethodNotAllowed, http.StatusNotFound, http.StatusBadRequest)
	t.setup(func() { a.want(a.Status >= 200 && a.Status < 300, "expected a 2xx status") })
	return u
}

func uploadCancel(t *T) {
	u := t.startUpload(t.repo, "")
	a := t.delete(u.location)
	a.notOfferedIf("uploads cannot be cancelled", http.StatusMethodNotAllowed, http.StatusBadRequest)
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
