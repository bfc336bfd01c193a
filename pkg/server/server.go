package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/pierless/pierless/internal/idle"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/oci/upload"
	"github.com/pierless/pierless/pkg/registry"
)

// Options of the handlers. The zero value is ready for use.
type Options struct {
	// Log receives one line per request. nil means slog.Default.
	Log *slog.Logger
	// ServeBlobs passes blob bytes through this process even where the store has
	// URLs to redirect to: for clients that cannot reach the store. Direct uploads are
	// refused then.
	ServeBlobs bool
	// RedirectHead answers HEAD of a blob with a redirect to a URL that is presigned
	// for HEAD, where the store has URLs: for a gateway that does not pass on the
	// length that a handler says.
	RedirectHead bool
	// ErrorsOnly keeps the log to requests that failed by a fault of the registry.
	ErrorsOnly bool
}

// handler answers a request of one kind, with one of the methods that the kind
// has. What it returns, family writes.
type handler func(w http.ResponseWriter, r *http.Request, req route.Request) error

// family serves the routes of one family: it parses the path, picks the handler
// by kind, writes errors and logs.
type family struct {
	log        *slog.Logger
	errorsOnly bool
	drain      drainLimit
	handlers   map[route.Kind]handler
}

func newFamily(opts Options, handlers map[route.Kind]handler) family {
	log := opts.Log
	if log == nil {
		log = slog.Default()
	}
	return family{log: log, errorsOnly: opts.ErrorsOnly, drain: drainKnown(), handlers: handlers}
}

// Refuse returns what a handler in front of the families answers with: err as an
// OCI error, with the same headers and the same line in the log as theirs. The caller is
// a stranger: little of its body is read.
func Refuse(opts Options) func(w http.ResponseWriter, r *http.Request, err error) {
	f := newFamily(opts, nil)
	f.drain = drainStranger()
	return func(w http.ResponseWriter, r *http.Request, err error) {
		f.answer(w, r, func(*recorder) (route.Request, error) {
			req, _ := route.ParseEscaped(r.URL.EscapedPath()) // for the log
			return req, err
		})
	}
}

// ServeHTTP implements http.Handler.
func (f family) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	f.answer(rw, r, func(w *recorder) (route.Request, error) {
		req, err := route.ParseEscaped(r.URL.EscapedPath())
		if err == nil {
			err = f.serve(w, r, req)
		}
		return req, err
	})
}

func (f family) answer(rw http.ResponseWriter, r *http.Request, serve func(*recorder) (route.Request, error)) {
	start := time.Now()
	w := &recorder{ResponseWriter: rw}
	id := requestID(r)
	w.Header().Set("X-Request-Id", id)
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	oci.SetSecurityHeaders(w.Header())
	req, err := serve(w)
	if err != nil {
		f.writeError(w, r, req, err)
	}
	f.logRequest(r, req, w, id, time.Since(start), err)
}

func (f family) serve(w http.ResponseWriter, r *http.Request, req route.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			if e, ok := v.(error); ok && errors.Is(e, http.ErrAbortHandler) {
				panic(v)
			}
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	handle, found := f.handlers[req.Kind]
	if !found {
		return oci.NewError(oci.Unsupported, "this path is served elsewhere: the front door sent it to the wrong function")
	}
	if !slices.Contains(req.Kind.Methods(), r.Method) {
		w.Header().Set("Allow", strings.Join(req.Kind.Methods(), ", "))
		return oci.NewError(oci.Unsupported, "%s is not a method of this path: Allow lists them", r.Method)
	}
	return handle(w, r, req)
}

// requestID takes over the id of a proxy in front, if it is one that can stand in
// a log line.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id != "" && len(id) <= 64 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == "" {
		return id
	}
	b := make([]byte, 8)
	_, _ = rand.Read(b) // documented never to fail
	return hex.EncodeToString(b)
}

// logRequest writes the line of a request. It names the route, never the path:
// an upload's path is the right to write to it.
func (f family) logRequest(r *http.Request, req route.Request, w *recorder, id string, took time.Duration, err error) {
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("id", id), slog.String("method", r.Method), slog.String("route", string(req.Kind)),
		slog.String("name", req.Name), slog.Int("status", w.status), slog.Int64("bytes", w.bytes), slog.Duration("took", took),
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
	if f.errorsOnly && level < slog.LevelError {
		return
	}
	f.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// recorder notes what was answered, for the log.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
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

// ReadFrom keeps the way open for the kernel to copy a file to the socket.
func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController find the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeError is the one place where an error becomes an answer. A cause that is
// not meant for clients stays in the log.
func (f family) writeError(w *recorder, r *http.Request, req route.Request, err error) {
	if w.status != 0 {
		return // the answer has begun; breaking off is all that is left
	}
	stalled := idle.Stalled(r)
	if stalled != nil {
		err = stalled
	}
	errs := wireErrors(r.Context(), err)
	var offset *upload.OffsetError
	if errors.As(err, &offset) {
		setUpload(w, req.Name, registry.Upload{ID: req.Upload, Offset: offset.Offset}) // from where clients resume
	}
	status := errs.Status()
	switch {
	case stalled != nil: // the client may still read; net/http takes it for gone
	case errors.Is(r.Context().Err(), context.Canceled): // at a deadline the client still listens
		status = idle.StatusClientGone
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	}
	if r.Body != nil && r.Context().Err() == nil && r.Header.Get("Expect") == "" {
		drain := f.drain.of(errs)
		idle.Drain(r, drain.bytes, drain.within)
	}
	writeJSON(w, status, errs)
}

// wireErrors finds what the client is told.
func wireErrors(ctx context.Context, err error) oci.Errors {
	var many oci.Errors
	if errors.As(err, &many) {
		return many
	}
	var one *oci.Error
	if errors.As(err, &one) {
		return oci.Errors{one}
	}
	switch {
	case errors.Is(err, registry.ErrNoDirect):
		return oci.Errors{errNoDirect()}
	case errors.Is(err, registry.ErrFull):
		full := oci.NewError(oci.Unavailable, "the registry's disk is full: ask its operator for space, then push again")
		full.Status = http.StatusInsufficientStorage
		return oci.Errors{full}
	case errors.Is(err, registry.ErrUnavailable):
		return oci.Errors{oci.NewError(oci.Unavailable, "the storage behind the registry does not answer: try again")}
	case errors.Is(err, registry.ErrContended), ctx.Err() != nil:
		return oci.Errors{oci.NewError(oci.Unavailable, "the registry is busy with other writes to the same item: try again")}
	}
	return oci.Errors{{Code: oci.Unknown}}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	content, err := json.Marshal(body)
	if err != nil {
		content, status = []byte(`{"errors":[{"code":"UNKNOWN"}]}`), http.StatusInternalServerError
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	w.WriteHeader(status)
	_, _ = w.Write(content) // a client that left is no fault of ours
}
