package verify

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
)

func hostileErrorCases() []Case {
	return []Case{
		{
			"hostile-error-format", Hostile, Must, "Error Codes",
			"The JSON body of a 4xx answer is an errors array whose codes are upper case letters and underscores.",
			"clients cannot show what is wrong", hostileErrorFormat,
		},
		{
			"hostile-error-codes", Hostile, Must, "Error Codes",
			"The error codes are those of the spec, or of distribution before it.",
			"clients decide by them what to do", hostileErrorCodes,
		},
		{
			"hostile-error-leaks", Hostile, Should, "Error Codes",
			"An error never shows a stack trace, a path of the machine or a query of the database.",
			"whoever sends wrong input learns how to send worse", hostileErrorLeaks,
		},
	}
}

// provoked are the answers to some twenty requests that are wrong.
func (p *probe) provoked() []*answer {
	m := p.hasImage(p.repo, "v1")
	none := p.newBlob(1)
	upload := p.newUpload(p.repo, "")
	upper := repository(strings.ToUpper(string(p.repo)))
	q := *p
	q.lenient = true // to give no answer at all is another fault
	garbage := manifest{blob: blobOf([]byte("{")), mediaType: mediaManifest}
	missing := p.imageOf(none).encode()
	answers := []*answer{
		q.getManifest(p.repo, "none"), q.getManifest(p.repo, string(none.digest)), q.getManifest(p.other+"/none", "v1"), q.getManifest(p.repo, "-bad"), q.getManifest(upper, "v1"),
		q.get(p.repo.blob(none.digest)), q.get(p.repo.blob("sha256:bad")), q.get(p.repo.uploads("guessed")), q.get((p.other + "/none").tags("")), q.get(p.repo.tags("?n=-1")), q.get(p.repo.tags("?last=%00")), q.get(p.repo.tags("?last=" + strings.Repeat("a", 300))),
		q.get(p.repo.referrers("sha256:bad", "")), q.get("/v2/" + string(p.repo) + "/unheard"),
		q.post(upper.uploads("")), q.post(p.repo.uploads("?mount=bad")), q.post(p.repo.manifest("v1"), withBody([]byte("{}"))),
		q.patch(p.repo.uploads("guessed"), withBody([]byte("x"))), q.patch(upload, withBody([]byte("x")), withHeader("Content-Range", "500-500")),
		q.put(withQuery(upload, "digest", "bad"), withBody([]byte("x"))), q.put(withQuery(upload, "digest", string(none.digest)), withBody([]byte("x"))),
		q.putManifest(p.repo, "v2", garbage), q.putManifest(p.repo, "v2", missing), q.putManifest(p.repo, "-bad", m), q.putManifest(p.repo, string(none.digest), m),
	}
	var errors []*answer
	for _, a := range answers {
		if a.status >= http.StatusBadRequest {
			errors = append(errors, a)
		}
	}
	return errors
}

func hostileErrorFormat(p *probe) {
	for _, a := range p.provoked() {
		for _, e := range a.errors() {
			code := string(e.Code)
			a.want(code != "" && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == "", "expected an error code of upper case letters and underscores, got %q", code)
		}
	}
}

func hostileErrorCodes(p *probe) {
	for _, a := range p.provoked() {
		for _, e := range a.errors() {
			a.want(knownCode(string(e.Code)), "expected one of the spec's error codes, got %q", e.Code)
		}
	}
}

func hostileErrorLeaks(p *probe) {
	for _, a := range p.provoked() {
		for _, leak := range []string{
			"goroutine ", "panic:", ".go:", "runtime.", "Traceback (most recent", ".py\"", "\tat java", ".java:", "node_modules", "/var/lib/", "/usr/", "/home/", "/tmp/", "/root/",
			"SELECT ", "SQLSTATE", "arn:aws:", "AccessKeyId",
		} {
			a.want(!bytes.Contains(a.body, []byte(leak)), "expected an error without %q", leak)
		}
	}
}

// legacyCodes are codes that are not the spec's, but that distribution sends and
// clients know.
func legacyCodes() []string {
	return []string{"TAG_INVALID", "MANIFEST_UNVERIFIED", "RANGE_INVALID", "PAGINATION_NUMBER_INVALID", "UNAVAILABLE", "UNKNOWN", "NAME_NOT_FOUND"}
}

// specCodes are those of the spec (section "Error Codes").
func specCodes() []string {
	return []string{
		"BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID", "MANIFEST_UNKNOWN",
		"NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS",
	}
}

func knownCode(code string) bool {
	return slices.Contains(specCodes(), code) || slices.Contains(legacyCodes(), code)
}
