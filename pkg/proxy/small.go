package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/pierless/pierless/pkg/client"
)

const (
	// smallTries is how often a small blob is sent.
	smallTries = 5
	// firstWait is how long to wait before the second try; then twice as long each time.
	firstWait = 500 * time.Millisecond
)

// sendSmall closes the registry's own upload with all that was spooled, in one request:
// the client's, with this body. The registry's answer is the client's.
func (p *Proxy) sendSmall(w http.ResponseWriter, r *http.Request, t *turn, repo *client.Repository, c closing, content io.Reader) error {
	body, err := io.ReadAll(content)
	if err != nil {
		return fmt.Errorf("read the spool: %w", err)
	}
	again := &patient{next: p.transport, body: body, sleep: p.sleep, log: p.log}
	p.passBy(again, w, closingRequest(t, r, c, body), func(resp *http.Response) error {
		switch {
		case resp.StatusCode == http.StatusCreated:
			t.close(c.digest)
		case resp.StatusCode == http.StatusNotFound && again.tries > 1:
			// The upload may have ended with an earlier try, whose answer was lost.
			if _, err := repo.BlobSize(t.ctx, c.digest); err == nil {
				t.close(c.digest)
				created(w, t.s.name, c.digest)
				return errAnswered
			}
		}
		return noRedirect(resp)
	})
	return nil
}

// closingRequest is the request of a client that closes an upload, with a body in one piece.
func closingRequest(t *turn, r *http.Request, c closing, body []byte) *http.Request {
	whole := r.Clone(t.ctx)
	whole.Method = http.MethodPut
	whole.Body, whole.ContentLength, whole.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	for _, name := range []string{"Content-Length", "Content-Range", "Expect"} {
		whole.Header.Del(name)
	}
	whole.Header.Set("Content-Type", "application/octet-stream")
	at := *t.s.at
	if at.RawQuery != "" {
		at.RawQuery += "&"
	}
	at.RawQuery += "digest=" + string(c.digest)
	whole.URL, whole.RequestURI = &at, at.RequestURI()
	return whole
}

// patient repeats a request while the registry is not there or busy. It is for one
// request, whose body it knows.
type patient struct {
	next  http.RoundTripper
	body  []byte
	sleep func(context.Context, time.Duration) error
	log   *slog.Logger
	tries int
}

// RoundTrip implements http.RoundTripper.
func (p *patient) RoundTrip(r *http.Request) (*http.Response, error) {
	for {
		p.tries++
		once := r.Clone(r.Context())
		once.Body = io.NopCloser(bytes.NewReader(p.body))
		resp, err := p.next.RoundTrip(once)
		if p.tries >= smallTries || r.Context().Err() != nil || err == nil && !client.TemporaryStatus(resp.StatusCode) {
			return resp, err
		}
		reason := err
		if err == nil {
			reason = errors.New(resp.Status)
			drain(resp.Body)
			resp.Body.Close()
		}
		p.log.LogAttrs(r.Context(), slog.LevelWarn, "request is repeated", slog.Int("attempt", p.tries), slog.String("error", reason.Error()))
		if err := p.sleep(r.Context(), firstWait<<(p.tries-1)); err != nil {
			return nil, errors.Join(err, reason)
		}
	}
}
