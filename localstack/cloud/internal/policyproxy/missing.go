package policyproxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
)

// hiddenKey marks requests of callers without s3:ListBucket, for which S3 does not reveal
// that an object is missing.
type hiddenKey struct{}

func withHidden(r *http.Request) *http.Request {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), hiddenKey{}, true))
}

// hideMissing replaces a 404 by S3's 403 for callers without s3:ListBucket.
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

// counter counts the bytes read from a request's body.
type counter struct {
	io.ReadCloser
	n atomic.Int64 // the transport may still read after the response has arrived
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// countingWriter counts the bytes written to a response's body.
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

// Unwrap supports http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
