// Package idle ends requests whose client makes no progress: it stops sending the body, or
// stops reading the answer.
//
// It must not know the purpose of a request.
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
	// Body bounds the pauses of a client that sends a body.
	Body time.Duration
	// Answer bounds the pauses of a client that reads an answer. The operating system
	// buffers some megabytes, which count as read at once; more are accepted when about a
	// third of the buffer is free. So 5 minutes allow for a client that reads 5 KB/s.
	Answer time.Duration
}

// Default returns limits that spare slow clients: some compress a large layer while they
// send it, or read it from a slow disk.
func Default() Limits { return Limits{Body: 2 * time.Minute, Answer: 5 * time.Minute} }

// Watch returns a request and a ResponseWriter that enforce the limits. If the deadlines of
// the connection cannot be set, as on Lambda, nothing is enforced.
func Watch(w http.ResponseWriter, r *http.Request, limits Limits) (http.ResponseWriter, *http.Request) {
	conn := http.NewResponseController(w)
	if r.Body != nil && r.Body != http.NoBody {
		watched := r.WithContext(r.Context()) // a copy: net/http still inspects the original body
		watched.Body = &body{ReadCloser: r.Body, conn: conn, limit: limits.Body}
		r = watched
		// If the handler does not read the body, net/http does, before it sends the answer.
		_ = conn.SetReadDeadline(time.Now().Add(limits.Body))
	}
	return &writer{ResponseWriter: w, conn: conn, limit: limits.Answer}, r
}
