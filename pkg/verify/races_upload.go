package verify

import (
	"fmt"
	"net/http"
)

const raceChunk = 10_000

const resends = "clients and proxies that send again what they think is lost"

func uploadRaces() []Case {
	return []Case{
		{
			"race-uploads-apart", Concurrency, Must, "Pushing a blob in chunks",
			"Uploads that are under way in one repository at once do not mix: each blob has its own bytes.",
			everyClient + " uploads several layers at once", raceUploadsApart,
		},
		{
			"race-chunk-same", Concurrency, Must, "Pushing a blob in chunks",
			"A first chunk that is sent several times at once counts once: the upload's status, if it has one, says so, and the blob is right.",
			resends + ": the layer is in there twice", raceChunkSame,
		},
		{
			"race-chunk-different", Concurrency, Must, "Pushing a blob in chunks",
			"Of different first chunks that are sent to one upload at once at most one is told 202, and the blob has its bytes.",
			resends + ": bytes of two chunks mix", raceChunkDifferent,
		},
		{
			"race-chunk-losers", Concurrency, Should, "Pushing a blob in chunks",
			"Where several send the same chunk to one upload at once, one gets 202 and the others 202 or 4xx.",
			"a 5xx makes clients start the layer again", raceChunkLosers,
		},
		{
			"race-upload-put", Concurrency, Must, "POST then PUT",
			"Where several close one upload with the same bytes at once, each 201 stands for a blob that can be pulled.",
			resends + ": a broken layer under a good digest", raceUploadPut,
		},
		{
			"race-upload-put-losers", Concurrency, Should, "POST then PUT",
			"Where several close one upload with the same bytes at once, one gets 201 and the others 201 or 4xx.",
			"a 5xx makes clients start the layer again", raceUploadPutLosers,
		},
		{
			"race-cancel-put", Concurrency, Must, "Cancel a blob upload",
			"Where an upload is closed and cancelled at once, a 201 stands for a blob that can be pulled.",
			"clients that run into a timeout while the upload ends", raceCancelPut,
		},
		{
			"race-cancel-chunk", Concurrency, Should, "Cancel a blob upload",
			"An upload whose cancel was answered with 204 is gone, whatever chunk was on its way.",
			"storage that fills up with uploads which nobody ends", raceCancelChunk,
		},
		{
			"race-upload-readers", Concurrency, Must, "Pulling blobs",
			"Whoever asks for a blob that is being uploaded gets 404 or the whole of it.",
			"caches and parallel builds that take half a layer", raceUploadReaders,
		},
	}
}

// sendChunk sends the first chunk of an upload.
func (p *probe) sendChunk(location string, content []byte) *answer {
	return p.patch(location, withBody(content), withHeader("Content-Type", octetStream), withHeader("Content-Range", fmt.Sprintf("0-%d", len(content)-1)))
}

func raceUploadsApart(p *probe) {
	p.each(12, func(int) {
		b := p.newBlob(raceChunk)
		a := p.sendChunk(p.openUpload(p.repo), b.content).is(http.StatusAccepted)
		p.finish(a.location(), b.digest, nil).is(http.StatusCreated)
		p.isPulled(p.repo, b)
	})
}

func raceChunkSame(p *probe) {
	b := p.newBlob(raceChunk)
	loc := p.newUpload(p.repo, "")
	accepted := p.accepted(6, func(int) *answer { return p.sendChunk(loc, b.content) })
	if len(accepted) > 0 {
		u := &upload{p: p, location: accepted[0].location()}
		if status := u.get(); status.status == http.StatusNoContent {
			status.want(sameRange(status.header.Get("Range"), len(b.content)), "expected the header Range: %s", rangeTo(len(b.content)))
		}
		u.put(b.digest, nil).is(http.StatusCreated)
		p.isPulled(p.repo, b)
		return
	}
	// All have lost. Whatever the upload has now, nothing wrong may come of it.
	if p.finish(loc, b.digest, nil).status == http.StatusCreated {
		p.isPulled(p.repo, b)
	}
}

// accepted runs f n times at once and returns the answers with 202.
func (p *probe) accepted(n int, f func(i int) *answer) (accepted []*answer) {
	all := make([]*answer, n)
	p.each(n, func(i int) { all[i] = f(i) })
	for _, a := range all {
		if a.status == http.StatusAccepted {
			accepted = append(accepted, a)
		}
	}
	return accepted
}

func raceChunkDifferent(p *probe) {
	loc := p.newUpload(p.repo, "")
	blobs := make([]blob, 6)
	for i := range blobs {
		blobs[i] = p.newBlob(raceChunk)
	}
	winner := make([]bool, len(blobs))
	accepted := p.accepted(len(blobs), func(i int) *answer {
		a := p.sendChunk(loc, blobs[i].content)
		winner[i] = a.status == http.StatusAccepted
		return a
	})
	for i, b := range blobs {
		if !winner[i] {
			continue
		}
		// Even where several were told 202, what ends as a blob has its bytes.
		if a := p.finish(accepted[0].location(), b.digest, nil); a.status == http.StatusCreated || len(accepted) == 1 {
			a.is(http.StatusCreated)
			p.isPulled(p.repo, b)
		}
	}
	if len(accepted) > 1 {
		p.fail(accepted[1], "expected 202 for one of %d chunks with the same place, got it for %d", len(blobs), len(accepted))
	}
}

func raceChunkLosers(p *probe) {
	b := p.newBlob(raceChunk)
	loc := p.newUpload(p.repo, "")
	accepted := p.accepted(6, func(int) *answer { return p.sendChunk(loc, b.content).refusedOr(http.StatusAccepted) })
	p.want(len(accepted) > 0, "expected 202 for one of 6 that sent the same chunk, all were refused")
}

func raceUploadPut(p *probe) {
	b := p.newBlob(raceChunk)
	loc := p.newUpload(p.repo, "")
	p.each(6, func(int) {
		if p.finish(loc, b.digest, b.content).status == http.StatusCreated {
			p.isPulled(p.repo, b)
		}
	})
	p.get(p.repo.blob(b.digest)).isMissingOr(b.content)
}

func raceUploadPutLosers(p *probe) {
	b := p.newBlob(raceChunk)
	loc := p.newUpload(p.repo, "")
	created := make([]bool, 6)
	p.each(len(created), func(i int) {
		created[i] = p.finish(loc, b.digest, b.content).refusedOr(http.StatusCreated).status == http.StatusCreated
	})
	for _, c := range created {
		if c {
			return
		}
	}
	p.want(false, "expected 201 for one of 6 that closed the upload, all were refused")
}

func raceCancelPut(p *probe) {
	p.each(8, func(int) {
		b := p.newBlob(raceChunk)
		loc := p.newUpload(p.repo, "")
		stored := false
		p.each(2, func(i int) {
			if i == 0 {
				p.delete(loc)
			} else {
				stored = p.finish(loc, b.digest, b.content).status == http.StatusCreated
			}
		})
		a := p.get(p.repo.blob(b.digest))
		if stored {
			a.is(http.StatusOK)
		}
		a.isMissingOr(b.content)
	})
}

func raceCancelChunk(p *probe) {
	p.each(8, func(int) {
		content := p.rand.bytes(raceChunk)
		loc := p.newUpload(p.repo, "")
		var cancel *answer
		p.each(2, func(i int) {
			if i == 0 {
				cancel = p.delete(loc)
			} else {
				p.sendChunk(loc, content)
			}
		})
		if cancel.status == http.StatusNoContent {
			p.get(loc).is(http.StatusNotFound)
		}
	})
}

func raceUploadReaders(p *probe) {
	blobs := make([]blob, 4)
	for i := range blobs {
		blobs[i] = p.newBlob(20 * raceChunk)
	}
	p.meanwhile(len(blobs), func(i int) {
		b := blobs[i]
		if i%2 == 0 {
			p.upload(p.repo, b).is(http.StatusCreated)
			return
		}
		a := p.sendChunk(p.openUpload(p.repo), b.content).is(http.StatusAccepted)
		p.get(p.repo.blob(b.digest)).is(http.StatusNotFound) // not closed yet
		p.finish(a.location(), b.digest, nil).is(http.StatusCreated)
	}, func() {
		for _, b := range blobs {
			p.head(p.repo.blob(b.digest)).isMissingOr(b.content)
			p.get(p.repo.blob(b.digest)).isMissingOr(b.content)
		}
	})
}

// rangeTo is how a Range header speaks of the first n bytes.
func rangeTo(n int) string { return fmt.Sprintf("0-%d", n-1) }
