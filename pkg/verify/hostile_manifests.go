package verify

import (
	"bytes"
	"net/http"
	"strings"
)

func hostileManifestCases() []Case {
	return []Case{
		{
			"hostile-manifest-bombs", Hostile, Should, "Pushing Manifests",
			"A manifest that is made to hurt (deep nesting, 100,000 empty layers, numbers without end) is stored byte for byte or refused with 4xx.",
			outage, hostileManifestBombs,
		},
		{
			"hostile-manifest-shapes", Hostile, Should, "Pushing Manifests",
			"A manifest with fields of another type than the image spec's is stored byte for byte or refused with 4xx.",
			outage, hostileManifestShapes,
		},
		{
			"hostile-manifest-no-object", Hostile, Should, "Pushing Manifests",
			"A manifest that is no JSON object is refused with 4xx.",
			"tags that no client can pull", hostileManifestNoObject,
		},
		{
			"hostile-manifest-sizes", Hostile, Should, "Pushing Manifests",
			"A descriptor whose size is negative, too large for 64 bits or no number is refused with 4xx.",
			"clients that count or allocate by it", hostileManifestSizes,
		},
		{
			"hostile-manifest-bytes", Hostile, Must, "Pushing Manifests",
			"A manifest with invalid UTF-8 or a byte order mark is stored byte for byte or refused with 4xx.",
			"content that is not what its digest says", hostileManifestBytes,
		},
		{
			"hostile-media-type", Hostile, Should, "Pushing Manifests",
			"A Content-Type of 6 KB, or one that is no media type, is no fault.",
			outage, hostileMediaType,
		},
	}
}

// storedOrRefused pushes a manifest, and expects its bytes back where it is taken.
func (p *probe) storedOrRefused(content []byte) {
	m := manifest{blob: blobOf(content), mediaType: mediaManifest}
	a := p.putManifest(p.repo, string(m.digest), m).refusedOr(http.StatusCreated)
	if a.status == http.StatusCreated {
		p.getManifest(p.repo, string(m.digest)).is(http.StatusOK).hasBody(content)
	}
}

// spoiled is the image with one piece of its text replaced.
func spoiled(m manifest, piece, by string) []byte {
	return bytes.Replace(m.content, []byte(piece), []byte(by), 1)
}

func hostileManifestBombs(p *probe) {
	m := p.hasImage(p.repo, "v1")
	const field = `"schemaVersion": 2,`
	for _, extra := range []string{
		`"x": ` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + ",",
		`"x": ` + strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000) + ",",
		`"x": ` + strings.Repeat("[", 200_000) + ",",
		`"x": ` + strings.Repeat("9", 100_000) + ",",
		`"x": 1e999999999,`,
		`"x": "` + strings.Repeat(`\u0000`, 10_000) + `",`,
	} {
		p.storedOrRefused(spoiled(m, field, field+extra))
	}
	p.storedOrRefused([]byte(`{"schemaVersion":2,"mediaType":"` + mediaManifest + `","config":{},"layers":[{}` + strings.Repeat(",{}", 100_000) + `]}`))
	p.storedOrRefused([]byte(`{"schemaVersion":2,"mediaType":"` + mediaManifest + `","manifests":[{}` + strings.Repeat(",{}", 100_000) + `]}`))
	p.goesOn(m)
}

func hostileManifestShapes(p *probe) {
	m := p.hasImage(p.repo, "v1")
	const start = `{"schemaVersion":2,"mediaType":"` + mediaManifest + `",`
	for _, rest := range []string{
		`"config":null,"layers":null}`, `"config":[],"layers":{}}`, `"config":"x","layers":"x"}`, `"config":1,"layers":[1,null,"x",[]]}`,
		`"config":{"digest":null,"size":null,"mediaType":null},"layers":[null]}`, `"config":{"digest":1},"layers":[{"digest":{}}]}`,
		`"config":{"digest":"../../etc/passwd","size":1,"mediaType":"x"},"layers":[]}`, `"config":{"digest":"","size":0,"mediaType":""},"layers":[]}`,
		`"subject":null}`, `"subject":[]}`, `"subject":{"digest":"x"}}`, `"subject":{"digest":"sha256:../..","size":-1,"mediaType":"x"},"layers":[]}`,
		`"annotations":[]}`, `"annotations":{"a":1}}`, `"artifactType":1}`, `"manifests":null}`,
	} {
		p.storedOrRefused([]byte(start + rest))
	}
	p.storedOrRefused([]byte(`{"schemaVersion":"two","mediaType":7}`))
	p.storedOrRefused([]byte(`{}`))
	p.goesOn(m)
}

func hostileManifestNoObject(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, content := range []string{"", "[]", "null", `"text"`, "1", "{", "not json", string(m.content) + "}", "<manifest/>"} {
		p.putManifest(p.repo, "v2", manifest{blob: blobOf([]byte(content)), mediaType: mediaManifest}).refused()
	}
	p.getManifest(p.repo, "v2").is(http.StatusNotFound)
	p.goesOn(m)
}

func hostileManifestSizes(p *probe) {
	m := p.newImage(p.repo)
	for _, size := range []string{"-1", "99999999999999999999999", "1e400", "1.5", `"1000"`, "true", "-9223372036854775809"} {
		content := spoiled(m, `"size": 1000`, `"size": `+size)
		p.putManifest(p.repo, "v1", manifest{blob: blobOf(content), mediaType: mediaManifest}).refused()
	}
}

func hostileManifestBytes(p *probe) {
	m := p.hasImage(p.repo, "v1")
	const field = `"annotations": {`
	for _, text := range []string{"\xff\xfe", "\xc0\xaf", "\xed\xa0\x80", `\ud800`, "é\u202e"} {
		p.storedOrRefused(spoiled(m, field, field+`"x": "`+text+`",`))
	}
	p.storedOrRefused(append([]byte("\xef\xbb\xbf"), m.content...))
	p.storedOrRefused(append([]byte(" \r\n\t"), m.content...))
	p.goesOn(m)
}

func hostileMediaType(p *probe) {
	m := p.hasImage(p.repo, "v1")
	for _, mediaType := range []string{"application/" + strings.Repeat("a", 6000), "/", "a/b/c", "text", "application/json; charset=\"", "*/*", ";;;", "\xff/\xfe"} {
		p.put(p.repo.manifest("v2"), withBody(m.content), withHeader("Content-Type", mediaType)).noFault()
		p.get(p.repo.manifest("v1"), withHeader("Accept", mediaType)).noFault()
	}
	p.goesOn(m)
}
