package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// maxAnswer limits how much of a refusal is read into memory, in bytes.
const maxAnswer = 1 << 20

// forward sends a request to the registry and its answer to the client. inspect, if not nil,
// sees the answer first; an error that it returns is answered instead.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, inspect func(*http.Response) error) {
	through := httputil.ReverseProxy{
		Rewrite: p.rewrite, Transport: p.transport, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		ModifyResponse: func(resp *http.Response) error {
			localize(p.upstream, resp.Header, r.Host)
			for name := range w.Header() {
				resp.Header.Del(name) // the proxy has set its own; the registry's would be added
			}
			if err := drainRefused(r, resp); err != nil {
				return err
			}
			if inspect != nil {
				return inspect(resp)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if errors.Is(err, errAnswered) {
				return
			}
			var known *oci.Error
			if !errors.As(err, &known) && !errors.Is(err, context.Canceled) {
				err = fmt.Errorf("%w (cause: %w)", errUnreachable(), err)
			}
			p.fail(w, r, err)
		},
	}
	through.ServeHTTP(w, r)
}

func errUnreachable() *oci.Error {
	return oci.NewError(oci.Unavailable, "pierless proxy got no answer from the registry: try again; its log has the cause")
}

// rewrite turns a request to the proxy into one to the registry, and adds nothing to it.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	out.URL.Scheme, out.URL.Host, out.Host = p.upstream.Scheme, p.upstream.Host, ""
	out.URL.RawQuery = pr.In.URL.RawQuery // unchanged, even if Go cannot parse it
	// Unchanged as well, even if Go would escape it in another way.
	path, _, _ := strings.Cut(pr.In.RequestURI, "?")
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && path != out.URL.EscapedPath() {
		out.URL.Opaque = path
	}
	if out.Body != nil {
		out.Body = io.NopCloser(pr.In.Body) // the transport must not close it: drainRefused reads the rest
	}
}

// drainRefused reads the body of a refused request to its end before the client gets the
// refusal, and puts an error in the spec's form in place of a gateway's own 413.
func drainRefused(r *http.Request, resp *http.Response) error {
	hasBody := r.Body != nil && r.Body != http.NoBody
	tooLarge := resp.StatusCode == http.StatusRequestEntityTooLarge
	if resp.StatusCode < 300 || !hasBody && !tooLarge {
		return nil
	}
	// The connection may break while the body is read here instead of by the registry.
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil && !tooLarge {
		return fmt.Errorf("read the registry's answer: %w", err)
	}
	_ = resp.Body.Close()
	if hasBody && r.Header.Get("Expect") == "" {
		drain(r.Body)
	}
	if tooLarge && !inSpecForm(answer) {
		return oci.TooLarge(r.ContentLength)
	}
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	return nil
}

func inSpecForm(answer []byte) bool {
	var errs oci.Errors
	return json.Unmarshal(answer, &errs) == nil && len(errs) > 0 && errs[0].Code != ""
}
