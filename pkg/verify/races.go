package verify

import (
	"slices"
	"strings"
	"sync/atomic"
)

// maxPolls limits the requests of a reader while writers are running.
const maxPolls = 500

// meanwhile runs writers in parallel with readers, which repeat until all writers are done,
// and once more after that.
func (t *T) meanwhile(writers int, write func(i int), read func()) {
	const readers = 2
	var running atomic.Int64
	running.Store(int64(writers))
	t.parallel(writers+readers, func(i int) {
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

// versions returns n manifests over the same blobs, which are in the repository. They differ
// in size, so that a mixture of two is detected.
func (t *T) versions(repo repository, n int) []manifest {
	image := t.newImage(repo)
	ms := make([]manifest, n)
	for i := range ms {
		doc := image.doc
		doc.Annotations = t.annotated()
		doc.Annotations["land.pierless.verify.padding"] = strings.Repeat("x", 10*i)
		ms[i] = doc.encode()
	}
	return ms
}

// wantContains expects that the list contains all of these.
func (t *T) wantContains(what string, list []string, all ...string) {
	for _, s := range all {
		t.want(slices.Contains(list, s), "%s does not have %s, only %d others", what, s, len(list))
	}
}
