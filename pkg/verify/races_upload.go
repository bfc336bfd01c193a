package verify

import (
	"net/http"
	"slices"
	"strings"
)

const raceChunk = 10_000

// sendChunk sends the first chunk of an upload.
func (t *T) sendChunk(location string, content []byte) *answer {
	return t.patch(location, octets(content), contentRange(0, len(content)))
}

func raceUploadsApart(t *T) {
	t.parallel(12, func(int) {
		b := t.newBlob(raceChunk)
		a := t.sendChunk(t.openUpload(t.repo), b.content).wantStatus(http.StatusAccepted)
		t.finish(a.location(), b.digest, nil).wantStored(t.repo, b)
	})
}

func raceChunkSame(t *T) {
	b := t.newBlob(raceChunk)
	loc := t.newUpload(t.repo, "")
	accepted := t.accepted(6, func(int) *answer { return t.sendChunk(loc, b.content) })
	if len(accepted) > 0 {
		u := &upload{t: t, location: accepted[0].location()}
		if status := u.get(); status.Status == http.StatusNoContent {
			status.Header.Set("Range", strings.TrimPrefix(status.Header.Get("Range"), "bytes=")) // with or without the unit
			status.wantRange(len(b.content))
		}
		u.put(b.digest, nil).wantStored(t.repo, b)
		return
	}
	// All were refused. The upload must not lead to a wrong blob.
	if t.finish(loc, b.digest, nil).Status == http.StatusCreated {
		t.wantBlob(t.repo, b)
	}
}

// accepted runs f n times at once and returns the responses with 202.
func (t *T) accepted(n int, f func(i int) *answer) (accepted []*answer) {
	all := make([]*answer, n)
	t.parallel(n, func(i int) { all[i] = f(i) })
	for _, a := range all {
		if a.Status == http.StatusAccepted {
			accepted = append(accepted, a)
		}
	}
	return accepted
}

func raceChunkDifferent(t *T) {
	loc := t.newUpload(t.repo, "")
	blobs := t.newBlobs(6, raceChunk)
	winner := make([]bool, len(blobs))
	accepted := t.accepted(len(blobs), func(i int) *answer {
		a := t.sendChunk(loc, blobs[i].content)
		winner[i] = a.Status == http.StatusAccepted
		return a
	})
	for i, b := range blobs {
		if !winner[i] {
			continue
		}
		// Even if several got 202, a completed blob must have its bytes.
		if a := t.finish(accepted[0].location(), b.digest, nil); a.Status == http.StatusCreated || len(accepted) == 1 {
			a.wantStored(t.repo, b)
		}
	}
	if len(accepted) > 1 {
		t.fail(accepted[1], "expected 202 for one of %d chunks with the same place, got it for %d", len(blobs), len(accepted))
	}
}

func raceChunkLosers(t *T) {
	b := t.newBlob(raceChunk)
	loc := t.newUpload(t.repo, "")
	accepted := t.accepted(6, func(int) *answer { return t.sendChunk(loc, b.content).wantRefusedOr(http.StatusAccepted) })
	t.want(len(accepted) > 0, "expected 202 for one of 6 that sent the same chunk, all were refused")
}

func raceUploadPut(t *T) {
	b := t.newBlob(raceChunk)
	loc := t.newUpload(t.repo, "")
	t.parallel(6, func(int) {
		if t.finish(loc, b.digest, b.content).Status == http.StatusCreated {
			t.wantBlob(t.repo, b)
		}
	})
	t.get(t.repo.blob(b.digest)).wantMissingOr(b.content)
}

func raceUploadPutLosers(t *T) {
	b := t.newBlob(raceChunk)
	loc := t.newUpload(t.repo, "")
	created := make([]bool, 6)
	t.parallel(len(created), func(i int) {
		created[i] = t.finish(loc, b.digest, b.content).wantRefusedOr(http.StatusCreated).Status == http.StatusCreated
	})
	t.want(slices.Contains(created, true), "expected 201 for one of 6 that closed the upload, all were refused")
}

func raceCancelPut(t *T) {
	t.parallel(8, func(int) {
		b := t.newBlob(raceChunk)
		loc := t.newUpload(t.repo, "")
		stored := false
		t.parallel(2, func(i int) {
			if i == 0 {
				t.delete(loc)
			} else {
				stored = t.finish(loc, b.digest, b.content).Status == http.StatusCreated
			}
		})
		a := t.get(t.repo.blob(b.digest))
		if stored {
			a.wantStatus(http.StatusOK)
		}
		a.wantMissingOr(b.content)
	})
}

func raceCancelChunk(t *T) {
	t.parallel(8, func(int) {
		content := t.rand.bytes(raceChunk)
		loc := t.newUpload(t.repo, "")
		var cancel *answer
		t.parallel(2, func(i int) {
			if i == 0 {
				cancel = t.delete(loc)
			} else {
				t.sendChunk(loc, content)
			}
		})
		if cancel.Status == http.StatusNoContent {
			t.get(loc).wantStatus(http.StatusNotFound)
		}
	})
}

func raceUploadReaders(t *T) {
	blobs := t.newBlobs(4, 20*raceChunk)
	t.meanwhile(len(blobs), func(i int) {
		b := blobs[i]
		if i%2 == 0 {
			t.upload(t.repo, b).wantStatus(http.StatusCreated)
			return
		}
		a := t.sendChunk(t.openUpload(t.repo), b.content).wantStatus(http.StatusAccepted)
		t.get(t.repo.blob(b.digest)).wantStatus(http.StatusNotFound) // not closed yet
		t.finish(a.location(), b.digest, nil).wantStatus(http.StatusCreated)
	}, func() {
		for _, b := range blobs {
			t.head(t.repo.blob(b.digest)).wantMissingOr(b.content)
			t.get(t.repo.blob(b.digest)).wantMissingOr(b.content)
		}
	})
}
