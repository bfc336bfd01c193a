package verify

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

func hostileUploadCases() []Case {
	return []Case{
		{
			"hostile-session-guessed", Hostile, Should, "Endpoints",
			"An upload that was never opened is not found: 4xx, for each method and each form of the id.",
			elsewhere, hostileSessionGuessed,
		},
		{
			"hostile-session-elsewhere", Hostile, Should, "Pushing blobs",
			"An upload that was opened in one repository cannot be written to or ended in another.",
			"whoever may push to one repository pushes to all", hostileSessionElsewhere,
		},
		{
			"hostile-digest-twice", Hostile, Must, "POST then PUT",
			"Where digest stands twice in the query, no blob is stored under a digest that is not its own.",
			"content that is not what its digest says", hostileDigestTwice,
		},
		{
			"hostile-mount-names", Hostile, Must, "Mounting a blob from another repository",
			"A mount from a name, or of a digest, that is none gives no blob: 4xx, or 202 as for any that is not there.",
			elsewhere, hostileMountNames,
		},
		{
			"hostile-content-range", Hostile, Should, "Pushing a blob in chunks",
			"A Content-Range that cannot be read is no fault, and never makes a blob of other bytes.",
			outage, hostileContentRange,
		},
		{
			"hostile-content-range-refused", Hostile, Should, "Pushing a blob in chunks",
			"A chunk whose Content-Range cannot be read is refused with 4xx.",
			"a client with a fault pushes for nothing", hostileContentRangeRefused,
		},
		{
			"hostile-blob-cut", Hostile, Must, "POST then PUT",
			"A blob whose bytes end before its Content-Length is not stored.",
			"connections break off: half a layer would be pulled as the whole", hostileBlobCut,
		},
		{
			"hostile-manifest-cut", Hostile, Must, "Pushing Manifests",
			"A manifest whose bytes end before its Content-Length is not stored, and its tag stays where it was.",
			"connections break off: a tag would name half a manifest", hostileManifestCut,
		},
	}
}

func hostileSessionGuessed(p *probe) {
	m := p.hasImage(p.repo, "v1")
	// What could be an id is random: some registries keep an upload that an earlier
	// run has opened here, and give it back.
	x, n := hex.EncodeToString(p.rand.bytes(2500)), p.rand.bytes(3)
	number := fmt.Sprintf("1%03d%03d%03d", n[0], n[1], n[2])
	for _, id := range []string{p.newUUID(), number, "a%2Fb", "%2e%2e", "..%2f..%2f..", "%00", x, x[:8] + "." + x[8:16], "_uploads" + x[:8]} {
		target := p.repo.uploads(id)
		p.get(target, asIs()).findsNothing()
		p.patch(target, asIs(), withBody([]byte("content"))).findsNothing()
		p.put(target+"?digest="+url.QueryEscape(string(p.newBlob(1).digest)), asIs(), withBody([]byte("content"))).findsNothing()
		p.delete(target, asIs()).findsNothing()
	}
	p.goesOn(m)
}

func hostileSessionElsewhere(p *probe) {
	b := p.newBlob(500)
	var opened *answer
	p.given(func() {
		p.pushBlob(p.other, p.newBlob(10)).is(http.StatusCreated)
		opened = p.post(p.repo.uploads("")).is(http.StatusAccepted)
	})
	moved := strings.Replace(opened.location(), "/"+string(p.repo)+"/", "/"+string(p.other)+"/", 1)
	if moved == opened.location() {
		p.notOffered(opened, "the location of an upload does not name its repository")
	}
	p.patch(moved, withBody(b.content)).refused()
	p.put(withQuery(moved, "digest", string(b.digest)), withBody(b.content)).refused()
	p.delete(moved).refused()
	p.get(p.other.blob(b.digest)).is(http.StatusNotFound)
	p.put(opened.merged(b.digest), withBody(b.content)).is(http.StatusCreated) // its owner goes on
}

func hostileDigestTwice(p *probe) {
	b, wrong := p.newBlob(500), p.newBlob(500)
	for _, pair := range [][2]oci.Digest{{b.digest, wrong.digest}, {wrong.digest, b.digest}} {
		target := withQuery(withQuery(p.newUpload(p.repo, ""), "digest", string(pair[0])), "digest", string(pair[1]))
		p.put(target, withBody(b.content), withHeader("Content-Type", octetStream)).refusedOr(http.StatusCreated)
		p.get(p.repo.blob(wrong.digest)).is(http.StatusNotFound)
	}
}

func hostileMountNames(p *probe) {
	b := p.newBlob(100)
	p.hasBlob(p.other, b)
	for _, from := range []string{"..", "../" + string(p.other), "Upper/Case", "a//b", "/" + string(p.other), "%00", string(p.other) + "/", "a\r\nb", strings.Repeat("a", 4000)} {
		// Only of a blob that is nowhere: it may be had without a source.
		none := p.newBlob(1).digest
		p.post(p.repo.uploads("?" + url.Values{"mount": {string(none)}, "from": {from}}.Encode())).refusedOr(http.StatusAccepted)
	}
	for _, mount := range append(illegalDigests(), "", "../../"+string(b.digest)) {
		p.post(p.repo.uploads("?" + url.Values{"mount": {mount}, "from": {string(p.other)}}.Encode())).refusedOr(http.StatusAccepted)
	}
}

func unreadableRanges() []string {
	return []string{"5-1", "-1-3", "abc", "-", "0-", "-9", "0-99999999999999999999999", "99999999999999999999-99999999999999999999", "0x0-0x9", "0-9,10-19", "bytes", "0 - 9"}
}

func hostileContentRange(p *probe) {
	for _, spec := range unreadableRanges() {
		b := p.newBlob(10)
		loc := p.newUpload(p.repo, "")
		a := p.patch(loc, withBody(b.content), withHeader("Content-Range", spec)).refusedOr(http.StatusAccepted)
		if a.status == http.StatusAccepted && a.header.Get("Location") != "" {
			loc = a.location()
		}
		// Whatever is there now, it is these bytes or it is refused.
		if p.put(withQuery(loc, "digest", string(b.digest))).refusedOr(http.StatusCreated).status == http.StatusCreated {
			p.isPulled(p.repo, b)
		}
	}
}

func hostileContentRangeRefused(p *probe) {
	for _, spec := range unreadableRanges() {
		p.patch(p.newUpload(p.repo, ""), withBody(p.rand.bytes(10)), withHeader("Content-Range", spec)).refused()
	}
}

func hostileBlobCut(p *probe) {
	b := p.newBlob(200_000)
	half := blobOf(b.content[:100_000])
	for _, d := range []oci.Digest{b.digest, half.digest} {
		p.try(http.MethodPut, withQuery(p.newUpload(p.repo, ""), "digest", string(d)), withBody(b.content), withHeader("Content-Type", octetStream), cutAfter(100_000))
	}
	p.hasImage(p.repo, "v1") // meanwhile the registry is done with what came
	for _, d := range []oci.Digest{b.digest, half.digest} {
		p.get(p.repo.blob(d)).is(http.StatusNotFound)
	}
	p.pushBlob(p.repo, b).is(http.StatusCreated)
}

func hostileManifestCut(p *probe) {
	m := p.hasImage(p.repo, "v1")
	// Cut where the manifest ends and only spaces are missing: what came is valid.
	n := p.newImage(p.repo)
	padded := append(bytes.Clone(n.content), bytes.Repeat([]byte(" "), 50_000)...)
	p.try(http.MethodPut, p.repo.manifest("v1"), withBody(padded), withHeader("Content-Type", n.mediaType), cutAfter(len(n.content)))
	p.hasImage(p.repo, "v2") // meanwhile the registry is done with what came
	p.getManifest(p.repo, string(n.digest)).is(http.StatusNotFound)
	p.goesOn(m)
}
