package idle

import (
	"io"
	"math"
	"net/http"
	"time"
)

// piece is the number of bytes of a file that the kernel sends under one deadline.
const piece = 256 << 10

// writer is the ResponseWriter of a request. Each write extends its deadline.
type writer struct {
	http.ResponseWriter
	conn  *http.ResponseController
	limit time.Duration
}

func (w *writer) advance() { _ = w.conn.SetWriteDeadline(time.Now().Add(w.limit)) }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	w.advance()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	w.advance()
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom, so that the kernel can copy a file to the socket.
// net/http finds a file inside one io.LimitedReader, but not inside two.
func (w *writer) ReadFrom(src io.Reader) (n int64, err error) {
	whole, limited := src.(*io.LimitedReader)
	if !limited {
		whole = &io.LimitedReader{R: src, N: math.MaxInt64}
	}
	for whole.N > 0 {
		part := &io.LimitedReader{R: whole.R, N: min(whole.N, piece)}
		size := part.N
		w.advance()
		m, err := io.Copy(w.ResponseWriter, part)
		n += m
		whole.N -= size - part.N
		if err != nil || part.N > 0 {
			return n, err
		}
	}
	return n, nil
}

// Unwrap lets http.ResponseController find the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
