package verify

import (
	"bytes"
	"net/http"
	"strings"
)

// wantStoredOrRefused pushes a manifest, and expects the same bytes back if it is accepted.
func (t *T) wantStoredOrRefused(content []byte) {
	m := manifest{blob: blobOf(content), mediaType: mediaManifest}
	a := t.putManifest(t.repo, string(m.digest), m).wantRefusedOr(http.StatusCreated)
	if a.Status == http.StatusCreated {
		t.getManifest(t.repo, string(m.digest)).wantStatus(http.StatusOK).wantBody(content)
	}
}

// spoiled returns the image with one piece of its text replaced.
func spoiled(m manifest, piece, by string) []byte {
	return bytes.Replace(m.content, []byte(piece), []byte(by), 1)
}

func hostileManifestBombs(t *T) {
	m := t.seedImage(t.repo, "v1")
	const field = `"schemaVersion": 2,`
	for _, extra := range []string{
		`"x": ` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + ",",
		`"x": ` + strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000) + ",",
		`"x": ` + strings.Repeat("[", 200_000) + ",",
		`"x": ` + strings.Repeat("9", 100_000) + ",",
		`"x": 1e999999999,`,
		`"x": "` + strings.Repeat(`\u0000`, 10_000) + `",`,
	} {
		t.wantStoredOrRefused(spoiled(m, field, field+extra))
	}
	t.wantStoredOrRefused([]byte(`{"schemaVersion":2,"mediaType":"` + mediaManifest + `","config":{},"layers":[{}` + strings.Repeat(",{}", 100_000) + `]}`))
	t.wantStoredOrRefused([]byte(`{"schemaVersion":2,"mediaType":"` + mediaManifest + `","manifests":[{}` + strings.Repeat(",{}", 100_000) + `]}`))
	t.wantUnharmed(m)
}

func hostileManifestShapes(t *T) {
	m := t.seedImage(t.repo, "v1")
	const start = `{"schemaVersion":2,"mediaType":"` + mediaManifest + `",`
	for _, rest := range []string{
		`"config":null,"layers":null}`, `"config":[],"layers":{}}`, `"config":"x","layers":"x"}`, `"config":1,"layers":[1,null,"x",[]]}`,
		`"config":{"digest":null,"size":null,"mediaType":null},"layers":[null]}`, `"config":{"digest":1},"layers":[{"digest":{}}]}`,
		`"config":{"digest":"../../etc/passwd","size":1,"mediaType":"x"},"layers":[]}`, `"config":{"digest":"","size":0,"mediaType":""},"layers":[]}`,
		`"subject":null}`, `"subject":[]}`, `"subject":{"digest":"x"}}`, `"subject":{"digest":"sha256:../..","size":-1,"mediaType":"x"},"layers":[]}`,
		`"annotations":[]}`, `"annotations":{"a":1}}`, `"artifactType":1}`, `"manifests":null}`,
	} {
		t.wantStoredOrRefused([]byte(start + rest))
	}
	t.wantStoredOrRefused([]byte(`{"schemaVersion":"two","mediaType":7}`))
	t.wantStoredOrRefused([]byte(`{}`))
	t.wantUnharmed(m)
}

func hostileManifestNoObject(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, content := range []string{"", "[]", "null", `"text"`, "1", "{", "not json", string(m.content) + "}", "<manifest/>"} {
		t.putManifest(t.repo, "v2", manifest{blob: blobOf([]byte(content)), mediaType: mediaManifest}).wantRefused()
	}
	t.getManifest(t.repo, "v2").wantStatus(http.StatusNotFound)
	t.wantUnharmed(m)
}

func hostileManifestSizes(t *T) {
	m := t.newImage(t.repo)
	for _, size := range []string{"-1", "99999999999999999999999", "1e400", "1.5", `"1000"`, "true", "-9223372036854775809"} {
		content := spoiled(m, `"size": 1000`, `"size": `+size)
		t.putManifest(t.repo, "v1", manifest{blob: blobOf(content), mediaType: mediaManifest}).wantRefused()
	}
}

func hostileManifestBytes(t *T) {
	m := t.seedImage(t.repo, "v1")
	const field = `"annotations": {`
	for _, text := range []string{"\xff\xfe", "\xc0\xaf", "\xed\xa0\x80", `\ud800`, "é\u202e"} {
		t.wantStoredOrRefused(spoiled(m, field, field+`"x": "`+text+`",`))
	}
	t.wantStoredOrRefused(append([]byte("\xef\xbb\xbf"), m.content...))
	t.wantStoredOrRefused(append([]byte(" \r\n\t"), m.content...))
	t.wantUnharmed(m)
}

func hostileMediaType(t *T) {
	m := t.seedImage(t.repo, "v1")
	for _, mediaType := range []string{"application/" + strings.Repeat("a", 6000), "/", "a/b/c", "text", "application/json; charset=\"", "*/*", ";;;", "\xff/\xfe"} {
		t.put(t.repo.manifest("v2"), withBody(m.content), withHeader("Content-Type", mediaType)).wantNo5xx()
		t.get(t.repo.manifest("v1"), withHeader("Accept", mediaType)).wantNo5xx()
	}
	t.wantUnharmed(m)
}
