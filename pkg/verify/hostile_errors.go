package verify

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
)

// errorAnswers sends about 25 invalid requests and returns the error responses.
func (t *T) errorAnswers() []*answer {
	m := t.seedImage(t.repo, "v1")
	none := t.newBlob(1)
	upload := t.newUpload(t.repo, "")
	upper := repository(strings.ToUpper(string(t.repo)))
	q := *t
	q.lenient = true // a missing response is a fault of its own, for other cases
	garbage := manifest{blob: blobOf([]byte("{")), mediaType: mediaManifest}
	missing := t.imageOf(none).encode()
	answers := []*answer{
		q.getManifest(t.repo, "none"), q.getManifest(t.repo, string(none.digest)), q.getManifest(t.other+"/none", "v1"), q.getManifest(t.repo, "-bad"), q.getManifest(upper, "v1"),
		q.get(t.repo.blob(none.digest)), q.get(t.repo.blob("sha256:bad")), q.get(t.repo.uploads("guessed")), q.get((t.other + "/none").tags("")), q.get(t.repo.tags("?n=-1")), q.get(t.repo.tags("?last=%00")), q.get(t.repo.tags("?last=" + strings.Repeat("a", 300))),
		q.get(t.repo.referrers("sha256:bad", "")), q.get("/v2/" + string(t.repo) + "/unheard"),
		q.post(upper.uploads("")), q.post(t.repo.uploads("?mount=bad")), q.post(t.repo.manifest("v1"), withBody([]byte("{}"))),
		q.patch(t.repo.uploads("guessed"), withBody([]byte("x"))), q.patch(upload, withBody([]byte("x")), withHeader("Content-Range", "500-500")),
		q.put(AddQuery(upload, "digest", "bad"), withBody([]byte("x"))), q.put(AddQuery(upload, "digest", string(none.digest)), withBody([]byte("x"))),
		q.putManifest(t.repo, "v2", garbage), q.putManifest(t.repo, "v2", missing), q.putManifest(t.repo, "-bad", m), q.putManifest(t.repo, string(none.digest), m),
	}
	return slices.DeleteFunc(answers, func(a *answer) bool { return a.Status < http.StatusBadRequest })
}

func hostileErrorFormat(t *T) {
	for _, a := range t.errorAnswers() {
		for _, e := range a.errors() {
			code := string(e.Code)
			a.want(code != "" && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == "", "expected an error code of upper case letters and underscores, got %q", code)
		}
	}
}

func hostileErrorCodes(t *T) {
	for _, a := range t.errorAnswers() {
		for _, e := range a.errors() {
			a.want(knownCode(string(e.Code)), "expected one of the spec's error codes, got %q", e.Code)
		}
	}
}

func hostileErrorLeaks(t *T) {
	for _, a := range t.errorAnswers() {
		for _, leak := range []string{
			"goroutine ", "panic:", ".go:", "runtime.", "Traceback (most recent", ".py\"", "\tat java", ".java:", "node_modules", "/var/lib/", "/usr/", "/home/", "/tmp/", "/root/",
			"SELECT ", "SQLSTATE", "arn:aws:", "AccessKeyId",
		} {
			a.want(!bytes.Contains(a.Body, []byte(leak)), "expected an error without %q", leak)
		}
	}
}

// knownCode reports whether an error code is one of the spec (section "Error Codes"), or
// one of distribution that clients know.
func knownCode(code string) bool {
	return slices.Contains([]string{
		"BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN",
		"MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED",
		"UNSUPPORTED", "TOOMANYREQUESTS",
		"TAG_INVALID", "MANIFEST_UNVERIFIED", "RANGE_INVALID", "PAGINATION_NUMBER_INVALID", "UNAVAILABLE", "UNKNOWN",
		"NAME_NOT_FOUND",
	}, code)
}
