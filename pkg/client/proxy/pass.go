package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
)

// maxAnswer is how much of a refusal is read ahead, in bytes.
const maxAnswer = 1 << 20

// pass hands a request to the registry and its answer back. seen, which may be nil,
// looks at the answer first; an error that it returns is answered instead.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, seen func(*http.Response) error) {
	through := httputil.ReverseProxy{
		Rewrite: p.rewrite, Transport: p.transport, ErrorLog: p.errorLog,
		ModifyResponse: func(resp *http.Response) error {
			localize(p.upstream, resp.Header, r.Host)
			for name := range w.Header() {
				resp.Header.Del(name) // ours are set; the registry's would be added to them
			}
			if err := settle(r, resp); err != nil {
				return err
			}
			if seen != nil {
				return seen(resp)
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
	return oci.NewError(oci.Unavailable, "pierless proxy got no answer from the registry: try again; its log says why")
}

// rewrite turns a request to us into one to the registry, and adds nothing to it.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	out.URL.Scheme, out.URL.Host, out.Host = p.upstream.Scheme, p.upstream.Host, ""
	out.URL.RawQuery = pr.In.URL.RawQuery // as it came, even what Go cannot parse
	// As it came, even where Go would escape it in another way.
	path, _, _ := strings.Cut(pr.In.RequestURI, "?")
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && path != out.URL.EscapedPath() {
		out.URL.Opaque = path
	}
	if out.Body != nil {
		out.Body = io.NopCloser(pr.In.Body) // ours to close: settle reads the rest
	}
}

// settle reads the body of a refused request to its end before the refusal is passed on,
// and says in our words what a gateway says in its own.
func settle(r *http.Request, resp *http.Response) error {
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
	_ = resp.Body.Close() // it was read
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
