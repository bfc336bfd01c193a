package server

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// recorder is the ResponseWriter of a request. It records the answer for the log.
type recorder struct {
	http.ResponseWriter
	start  time.Time
	id     string
	who    string // name of the caller
	status int
	bytes  int64
	drain  drainLimit // for the body of the request, if it is refused
}

// newRecorder sets the headers that every answer has.
func newRecorder(rw http.ResponseWriter, r *http.Request) *recorder {
	w := &recorder{ResponseWriter: rw, start: time.Now(), id: requestID(r), drain: drainStranger()}
	w.Header().Set("X-Request-Id", w.id)
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	oci.SetSecurityHeaders(w.Header())
	return w
}

// requestID keeps the id that a proxy in front has set if it is short and safe to log.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id != "" && len(id) <= 64 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == "" {
		return id
	}
	b := make([]byte, 8)
	_, _ = rand.Read(b) // documented never to fail
	return hex.EncodeToString(b)
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom, so that the kernel can copy a file to the socket.
func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController find the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// logRequest writes the line of a request. It names the kind, never the path: the path of
// an upload is a secret that permits to write to it.
func (s *Server) logRequest(w *recorder, r *http.Request, req route.Request, err error) {
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("id", w.id), slog.String("method", r.Method), slog.String("route", string(req.Kind)),
		slog.String("name", req.Name), slog.String("who", w.who), slog.String("ip", clientIP(r)),
		slog.Int("status", w.status), slog.Int64("bytes", w.bytes), slog.Duration("took", time.Since(w.start)),
	}
	if ref := req.Reference.String() + string(req.Digest); ref != "" {
		attrs = append(attrs, slog.String("reference", ref))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
		if w.status >= http.StatusInternalServerError {
			level = slog.LevelError
		}
	}
	if s.opts.ErrorsOnly && level < slog.LevelError {
		return
	}
	s.opts.Log.LogAttrs(r.Context(), level, "request", attrs...)
}
