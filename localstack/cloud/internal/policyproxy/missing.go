package policyproxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
)

// hiddenKey marks requests of callers who may not list the bucket: S3 does not tell
// them that an object is missing.
type hiddenKey struct{}

func withHidden(r *http.Request) *http.Request {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), hiddenKey{}, true))
}

// hideMissing turns a 404 into the 403 that S3 gives who may not list.
func hideMissing(response *http.Response) error {
	if response.StatusCode != http.StatusNotFound || response.Request.Context().Value(hiddenKey{}) == nil {
		return nil
	}
	body := accessDenied("Access Denied")
	response.Body.Close()
	response.StatusCode, response.Status = http.StatusForbidden, "403 Forbidden"
	response.Body = io.NopCloser(bytes.NewReader(body))
	response.ContentLength = int64(len(body))
	response.Header = http.Header{"Content-Type": {"application/xml"}, "Content-Length": {strconv.Itoa(len(body))}}
	return nil
}

// counter counts what is read of a request's body.
type counter struct {
	io.ReadCloser
	n atomic.Int64 // the transport may still read when the response is there
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// countingWriter counts what is written of a response's body.
type countingWriter struct {
	http.ResponseWriter
	n int64
}

// Write implements http.ResponseWriter.
func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController find the connection.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
