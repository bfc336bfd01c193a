package proxy

import (
	"sync"
	"time"

	"github.com/pierless/pierless/pkg/oci/route"
)

// sessions are those of this process, by repository and id.
type sessions struct {
	mu    sync.Mutex
	byKey map[sessionKey]*session
}

type sessionKey struct{ name, id string }

// add takes a session up, in place of one that had its name, if there is one: the
// registry says then that it has forgotten it.
func (ss *sessions) add(s *session) (replaced *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.byKey == nil {
		ss.byKey = map[sessionKey]*session{}
	}
	key := sessionKey{s.name, s.id}
	replaced = ss.byKey[key]
	ss.byKey[key] = s
	return replaced
}

// find returns nil for an upload that was not opened through this process.
func (ss *sessions) find(req route.Request) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byKey[sessionKey{req.Name, req.Upload}]
}

func (ss *sessions) remove(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if key := (sessionKey{s.name, s.id}); ss.byKey[key] == s {
		delete(ss.byKey, key)
	}
}

// removeIdle takes out those that nobody has used since a moment; the zero time means
// all.
func (ss *sessions) removeIdle(since time.Time) []*session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	var removed []*session
	for key, s := range ss.byKey {
		if since.IsZero() || s.idle(since) {
			removed = append(removed, s)
			delete(ss.byKey, key)
		}
	}
	return removed
}
