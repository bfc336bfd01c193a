package verify

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// leftovers records the content that a case has put into the registry.
type leftovers struct {
	mu                         sync.Mutex
	manifests, blobs, sessions []string
}

// note records the Location of new content.
func (l *leftovers) note(r Request, a *answer) {
	raw := a.Header.Get("Location")
	loc, err := a.URL.Parse(raw)
	if raw == "" || err != nil || r.Method != http.MethodPut && r.Method != http.MethodPost {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case a.Status == http.StatusAccepted:
		l.sessions = append(l.sessions, loc.String())
	case a.Status != http.StatusCreated:
	case strings.Contains(loc.Path, "/manifests/"):
		l.manifests = append(l.manifests, loc.String())
	case strings.Contains(loc.Path, "/blobs/"):
		l.blobs = append(l.blobs, loc.String())
		l.sessions = slices.DeleteFunc(l.sessions, func(s string) bool { return samePath(s, a.URL) }) // it has ended
	}
}

func samePath(s string, u *url.URL) bool {
	v, err := url.Parse(s)
	return err == nil && v.Path == u.Path
}

// cleanUp deletes the content of the case, as far as the registry allows it. The last is
// deleted first: some registries require that an index goes before its manifests.
func (t *T) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cleanUpTimeout)
	defer cancel()
	t.left.mu.Lock()
	defer t.left.mu.Unlock()
	for _, kind := range [][]string{t.left.sessions, t.left.manifests, t.left.blobs} {
		gone := map[string]bool{}
		for _, target := range slices.Backward(kind) {
			if !gone[target] && ctx.Err() == nil {
				gone[target] = true
				t.client.follow(ctx, Request{Method: http.MethodDelete, Target: target})
			}
		}
	}
}
