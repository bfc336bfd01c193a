package verify

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/pierless/pierless/pkg/oci"
)

func concurrencyCases() []Case {
	return slices.Concat(pushRaces(), uploadRaces(), deleteRaces(), freshReads(), readRaces())
}

// maxPolls bounds how often a reader asks while writers are at work.
const maxPolls = 500

// meanwhile runs writers at once. Until the last of them is done, and once more
// after, the readers ask again and again.
func (p *probe) meanwhile(writers int, write func(i int), read func()) {
	const readers = 2
	var running atomic.Int64
	running.Store(int64(writers))
	p.each(writers+readers, func(i int) {
		if i < writers {
			defer running.Add(-1)
			write(i)
			return
		}
		for range maxPolls {
			if running.Load() == 0 {
				break
			}
			read()
		}
		read()
	})
}

// upload pushes a blob with POST and PUT. Unlike pushBlob it holds that the POST
// succeeds to be part of the rule: sessions are opened in the crowd as well.
func (p *probe) upload(repo repository, b blob) *answer {
	return p.finish(p.openUpload(repo), b.digest, b.content)
}

func (p *probe) openUpload(repo repository) (location string) {
	return p.post(repo.uploads("")).is(http.StatusAccepted).location()
}

// finish sends the PUT that closes an upload, with the last bytes or with none.
func (p *probe) finish(location string, d oci.Digest, content []byte) *answer {
	return p.put(withQuery(location, "digest", string(d)), withBody(content), withHeader("Content-Type", octetStream))
}

// versions are n manifests over the same blobs, which are in the repository. Each
// has another size, so that a mixture of two is seen.
func (p *probe) versions(repo repository, n int) []manifest {
	image := p.newImage(repo)
	ms := make([]manifest, n)
	for i := range ms {
		doc := image.doc
		doc.Annotations = p.annotated()
		doc.Annotations["land.pierless.verify.padding"] = strings.Repeat("x", 10*i)
		ms[i] = doc.encode()
	}
	return ms
}

// isOneOf expects one of the manifests, whole and with its digest.
func (a *answer) isOneOf(versions []manifest) {
	a.is(http.StatusOK)
	for _, m := range versions {
		switch {
		case a.digest() != string(m.digest):
		case a.exchange.Method == http.MethodHead:
			a.hasLength(len(m.content))
			return
		default:
			a.hasBody(m.content)
			return
		}
	}
	a.want(false, "expected one of the %d manifests that were pushed, with its digest in Docker-Content-Digest", len(versions))
}

// isWhole expects this manifest, whole.
func (a *answer) isWhole(m manifest) { a.isOneOf([]manifest{m}) }

// isMissingOr expects 404, or 200 with these bytes and, where there is one, their
// true length. It tells whether they are there.
func (a *answer) isMissingOr(content []byte) bool {
	if a.is(http.StatusOK, http.StatusNotFound).status == http.StatusNotFound {
		return false
	}
	if a.exchange.Method == http.MethodHead {
		a.hasLength(len(content))
	} else {
		a.hasBody(content)
	}
	return true
}

// listedTags asks for all tags, and expects them in order and each once. Tags that
// cases of this group make are in lower case: both orders of the spec are the same.
func (p *probe) listedTags(repo repository) []string {
	a := p.get(repo.tags("")).is(http.StatusOK)
	tags := a.tagPage(repo)
	for next := a.next(); next != ""; next = a.next() {
		p.want(len(tags) < 1000, "the tag list has no end")
		a = p.get(next).is(http.StatusOK)
		tags = append(tags, a.tagPage(repo)...)
	}
	return tags
}

// tagPage reads a page of a tag list.
func (a *answer) tagPage(repo repository) []string {
	var page struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	a.decode(&page)
	a.want(page.Name == string(repo), "expected the name %q", repo)
	for i := 1; i < len(page.Tags); i++ {
		a.want(page.Tags[i-1] != page.Tags[i], "expected each tag once, %q is there twice", page.Tags[i])
		a.want(page.Tags[i-1] < page.Tags[i], "expected the tags in order, %q is before %q", page.Tags[i-1], page.Tags[i])
	}
	return page.Tags
}

// holds expects that the list has all of these.
func (p *probe) holds(what string, list []string, all ...string) {
	for _, s := range all {
		p.want(slices.Contains(list, s), "%s does not have %s, only %d others", what, s, len(list))
	}
}

// sameRange tells whether a Range header speaks of the first n bytes, with or
// without the unit.
func sameRange(header string, n int) bool {
	return strings.TrimPrefix(header, "bytes=") == rangeTo(n)
}
