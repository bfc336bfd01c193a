package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/server/auth"
)

// Options of a Server. The zero value is ready for use.
type Options struct {
	// Log records one line per request. nil means slog.Default.
	Log *slog.Logger
	// ServeBlobs sends blob bytes through this process even if the store has URLs to
	// redirect to: for clients that cannot reach the store. Direct uploads are refused.
	ServeBlobs bool
	// RedirectHead answers HEAD of a blob with a redirect to a URL that is presigned for
	// HEAD, if the store has URLs: for a gateway that drops Content-Length.
	RedirectHead bool
	// ErrorsOnly logs only the requests that failed by a fault of the registry.
	ErrorsOnly bool

	// Authorize, if non-nil, decides whether the handler of a request runs.
	Authorize Authorize
	// Directory has the tokens and rules; nil if the registry has no access control.
	Directory *access.Directory
	// Host returns the host, with a port unless it is 443, for which the proof in a request
	// must be made. nil means that of the request.
	Host func(r *http.Request) string
	// Prove verifies the proof of an identity for that host; nil if the registry takes no
	// logins. The error is an *oci.Error if the proof is refused.
	Prove func(ctx context.Context, host string, proof access.Proof) (access.Identity, error)
	// Admit, if non-nil, may delay or refuse an authorized request. release is called when
	// the request ends.
	Admit func(r *http.Request) (release func(), err error)
}

// Authorize returns the context for the handler of a request, with the caller for the log. req
// is the zero Request for a path that is not in the API; need is from the table of endpoints.
// With an error, which should be an *oci.Error, the request is refused with the headers that
// Authorize has set, and the context may be nil.
type Authorize func(w http.ResponseWriter, r *http.Request, req route.Request, need route.Method) (context.Context, error)

// handler answers a request of one kind with one method. Server writes its error.
type handler func(w http.ResponseWriter, r *http.Request, req route.Request) error

// handlers are keyed by kind and method.
type handlers map[route.Kind]map[string]handler

// Server is an http.Handler for the endpoints of one family, or of several.
type Server struct {
	opts     Options
	table    *route.Table
	handlers handlers
}

func newServer(opts Options, h handlers) *Server {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	return &Server{opts, route.API(), h}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := newRecorder(rw, r)
	req, err := s.table.ParseEscaped(r.URL.EscapedPath())
	if err = s.serve(w, r, req, err); err != nil {
		writeError(w, r, req, err)
	}
	s.logRequest(w, r, req, err)
}

// WriteError answers a request for which no handler runs with err, and logs it as
// ServeHTTP does. It reads little of the request's body.
func (s *Server) WriteError(rw http.ResponseWriter, r *http.Request, err error) {
	w := newRecorder(rw, r)
	req, _ := s.table.ParseEscaped(r.URL.EscapedPath()) // for the log
	writeError(w, r, req, err)
	s.logRequest(w, r, req, err)
}

// serve runs the handler of a request. pathErr is the error of the path, which only an
// authorized caller learns.
func (s *Server) serve(w *recorder, r *http.Request, req route.Request, pathErr error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			if e, ok := v.(error); ok && errors.Is(e, http.ErrAbortHandler) {
				panic(v)
			}
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	if s.opts.Authorize != nil {
		ctx, err := s.opts.Authorize(w, r, req, s.table.Needs(req.Kind, r.Method))
		if ctx != nil {
			w.who = auth.Name(ctx)
		}
		if err != nil {
			return err
		}
		r = r.WithContext(ctx)
	}
	if s.opts.Admit != nil {
		release, err := s.opts.Admit(r)
		if err != nil {
			return err
		}
		defer release()
	}
	w.drain = drainKnown()
	if pathErr != nil {
		return pathErr
	}
	methods, found := s.handlers[req.Kind]
	if !found {
		return oci.NewError(oci.Unsupported, "this function does not serve this path: its route in API Gateway points to the wrong function")
	}
	handle, found := methods[r.Method]
	if !found {
		w.Header().Set("Allow", s.allowed(req.Kind))
		return oci.NewError(oci.Unsupported, "%s is not a method of this path: Allow lists its methods", r.Method)
	}
	return handle(w, r, req)
}

// allowed returns the value of the Allow header.
func (s *Server) allowed(kind route.Kind) string {
	var names []string
	for _, m := range s.table.Endpoint(kind).Methods {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}
