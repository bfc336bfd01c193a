// Package idle ends requests whose client makes no progress: it sends nothing more of the
// body, or reads nothing more of the answer.
//
// It must not know what the requests are about.
package idle

import (
	"net/http"
	"time"
)

// StatusClientGone is logged as the status of a request whose client closed the connection
// before the answer. It is never sent.
const StatusClientGone = 499

// Limits are the times without progress after which a request ends.
type Limits struct {
	// Body is how long a client may send nothing of a body that is being read.
	Body time.Duration
	// Answer is how long a client may read nothing of an answer. Some megabytes that the
	// operating system buffers count as read at once, and the next ones only when about a
	// third of them is free again: 5 minutes let a client through that reads 5 KB/s.
	Answer time.Duration
}

// Default returns limits that no client which is alive meets: some compress a large layer
// while they send it, or read it from a slow disk.
func Default() Limits { return Limits{Body: 2 * time.Minute, Answer: 5 * time.Minute} }

// Watch returns a request and a ResponseWriter that hold the client to the limits. Without
// a connection whose deadlines can be set, as on Lambda, there are none.
func Watch(w http.ResponseWriter, r *http.Request, limits Limits) (http.ResponseWriter, *http.Request) {
	conn := http.NewResponseController(w)
	if r.Body != nil && r.Body != http.NoBody {
		watched := r.WithContext(r.Context()) // a copy: net/http looks at the body of its own
		watched.Body = &body{ReadCloser: r.Body, conn: conn, limit: limits.Body}
		r = watched
		// If nobody reads the body, net/http does, before it sends the answer.
		_ = conn.SetReadDeadline(time.Now().Add(limits.Body))
	}
	return &writer{ResponseWriter: w, conn: conn, limit: limits.Answer}, r
}
