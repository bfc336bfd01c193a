package verify

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

func hostileSessionGuessed(t *T) {
	m := t.seedImage(t.repo, "v1")
	// Plausible ids are random: some registries keep an upload that an earlier run has
	// opened under this id.
	x, n := hex.EncodeToString(t.rand.bytes(2500)), t.rand.bytes(3)
	number := fmt.Sprintf("1%03d%03d%03d", n[0], n[1], n[2])
	for _, id := range []string{t.newUUID(), number, "a%2Fb", "%2e%2e", "..%2f..%2f..", "%00", x, x[:8] + "." + x[8:16], "_uploads" + x[:8]} {
		target := t.repo.uploads(id)
		t.get(target, asIs()).wantNothingFound()
		t.patch(target, asIs(), withBody([]byte("content"))).wantNothingFound()
		t.put(target+"?digest="+url.QueryEscape(string(t.newBlob(1).digest)), asIs(), withBody([]byte("content"))).wantNothingFound()
		t.delete(target, asIs()).wantNothingFound()
	}
	t.wantUnharmed(m)
}

func hostileSessionElsewhere(t *T) {
	b := t.newBlob(500)
	var opened *answer
	t.setup(func() {
		t.pushBlob(t.other, t.newBlob(10)).wantStatus(http.StatusCreated)
		opened = t.post(t.repo.uploads("")).wantStatus(http.StatusAccepted)
	})
	moved := strings.Replace(opened.location(), "/"+string(t.repo)+"/", "/"+string(t.other)+"/", 1)
	if moved == opened.location() {
		t.notOffered(opened, "the location of an upload does not contain its repository")
	}
	t.patch(moved, withBody(b.content)).wantRefused()
	t.put(AddQuery(moved, "digest", string(b.digest)), withBody(b.content)).wantRefused()
	t.delete(moved).wantRefused()
	t.get(t.other.blob(b.digest)).wantStatus(http.StatusNotFound)
	t.put(opened.merged(b.digest), withBody(b.content)).wantStatus(http.StatusCreated) // the original location still works
}

func hostileDigestTwice(t *T) {
	b, wrong := t.newBlob(500), t.newBlob(500)
	for _, pair := range [][2]oci.Digest{{b.digest, wrong.digest}, {wrong.digest, b.digest}} {
		target := AddQuery(AddQuery(t.newUpload(t.repo, ""), "digest", string(pair[0])), "digest", string(pair[1]))
		t.put(target, octets(b.content)).wantRefusedOr(http.StatusCreated)
		t.get(t.repo.blob(wrong.digest)).wantStatus(http.StatusNotFound)
	}
}

func hostileMountNames(t *T) {
	b := t.seedNewBlob(t.other)
	for _, from := range []string{"..", "../" + string(t.other), "Upper/Case", "a//b", "/" + string(t.other), "%00", string(t.other) + "/", "a\r\nb", strings.Repeat("a", 4000)} {
		// Only of a missing blob: an existing one may be mounted without a source.
		none := t.newBlob(1).digest
		t.post(t.repo.uploads("?" + url.Values{"mount": {string(none)}, "from": {from}}.Encode())).wantRefusedOr(http.StatusAccepted)
	}
	for _, mount := range append(illegalDigests(), "", "../../"+string(b.digest)) {
		t.post(t.repo.uploads("?" + url.Values{"mount": {mount}, "from": {string(t.other)}}.Encode())).wantRefusedOr(http.StatusAccepted)
	}
}

func unreadableRanges() []string {
	return []string{"5-1", "-1-3", "abc", "-", "0-", "-9", "0-99999999999999999999999", "99999999999999999999-99999999999999999999", "0x0-0x9", "0-9,10-19", "bytes", "0 - 9"}
}

func hostileContentRange(t *T) {
	for _, spec := range unreadableRanges() {
		b := t.newBlob(10)
		loc := t.newUpload(t.repo, "")
		a := t.patch(loc, withBody(b.content), withHeader("Content-Range", spec)).wantRefusedOr(http.StatusAccepted)
		if a.Status == http.StatusAccepted && a.Header.Get("Location") != "" {
			loc = a.location()
		}
		// The upload must have these bytes or be refused.
		if t.put(AddQuery(loc, "digest", string(b.digest))).wantRefusedOr(http.StatusCreated).Status == http.StatusCreated {
			t.wantBlob(t.repo, b)
		}
	}
}

func hostileContentRangeRefused(t *T) {
	for _, spec := range unreadableRanges() {
		t.patch(t.newUpload(t.repo, ""), withBody(t.rand.bytes(10)), withHeader("Content-Range", spec)).wantRefused()
	}
}

func hostileBlobCut(t *T) {
	b := t.newBlob(200_000)
	half := blobOf(b.content[:100_000])
	for _, d := range []oci.Digest{b.digest, half.digest} {
		t.try(http.MethodPut, AddQuery(t.newUpload(t.repo, ""), "digest", string(d)), octets(b.content), cutAfter(100_000))
	}
	t.seedImage(t.repo, "v1") // by now the registry has processed the truncated request
	for _, d := range []oci.Digest{b.digest, half.digest} {
		t.get(t.repo.blob(d)).wantStatus(http.StatusNotFound)
	}
	t.pushBlob(t.repo, b).wantStatus(http.StatusCreated)
}

func hostileManifestCut(t *T) {
	m := t.seedImage(t.repo, "v1")
	// Truncate after the manifest, where only spaces are missing: the received bytes are valid.
	n := t.newImage(t.repo)
	t.try(http.MethodPut, t.repo.manifest("v1"), withBody(append(bytes.Clone(n.content), bytes.Repeat([]byte(" "), 50_000)...)), withHeader("Content-Type", n.mediaType), cutAfter(len(n.content)))
	for range 5 { // a registry may still be processing the truncated request
		time.Sleep(50 * time.Millisecond)
		t.getManifest(t.repo, string(n.digest)).wantStatus(http.StatusNotFound)
	}
	t.wantUnharmed(m)
}
