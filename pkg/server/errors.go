package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pierless/pierless/internal/idle"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/oci/upload"
	"github.com/pierless/pierless/pkg/registry"
)

// writeError turns an error into the answer; nothing else does. The cause of a fault stays
// in the log.
func writeError(w *recorder, r *http.Request, req route.Request, err error) {
	if w.status != 0 {
		return // the answer has begun: it can only be cut off
	}
	stalled := idle.Stalled(r)
	if stalled != nil {
		err = stalled
	}
	errs := clientErrors(r.Context(), err)
	var offset *upload.OffsetError
	if errors.As(err, &offset) {
		setUpload(w, req.Name, registry.Upload{ID: req.Upload, Offset: offset.Offset}) // clients resume from there
	}
	status := errs.Status()
	switch {
	case stalled != nil: // net/http cancels the context, but the client may still read
	case errors.Is(r.Context().Err(), context.Canceled): // at a deadline the client still listens
		status = idle.StatusClientGone
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	}
	if r.Body != nil && r.Context().Err() == nil && r.Header.Get("Expect") == "" {
		drain := w.drain.of(errs)
		idle.Drain(r, drain.bytes, drain.within)
	}
	writeJSON(w, status, errs)
}

// clientErrors returns the errors to send for err. Faults become a code without a cause.
func clientErrors(ctx context.Context, err error) oci.Errors {
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
		return oci.Errors{oci.NewError(oci.Unavailable, "the registry's disk is full: ask its operator for space, then push again").
			WithStatus(http.StatusInsufficientStorage)}
	case errors.Is(err, registry.ErrUnavailable):
		return oci.Errors{oci.NewError(oci.Unavailable, "the storage behind the registry does not respond: try again")}
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
	_, _ = w.Write(content) // a failed write means that the client has left
}

// writeEmpty answers without a body.
func writeEmpty(w http.ResponseWriter, status int) error {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
	return nil
}

// drainLimit bounds how much of the body of a refused request is read. Some clients send
// all of it before they read an answer, and wait for ever if the server does not read. If
// more is left, net/http closes the connection after the answer, which ends their wait.
type drainLimit struct {
	bytes  int64
	within time.Duration
}

// drainKnown is for callers that may push: at 2 MiB/s it suffices for all of it.
func drainKnown() drainLimit { return drainLimit{256 << 20, 2 * time.Minute} }

// drainStranger is for callers without valid credentials. Clients that send a body before
// they log in send a small one.
func drainStranger() drainLimit { return drainLimit{1 << 20, 5 * time.Second} }

// of returns the limit for a refusal. The path of an unknown upload needs no credentials.
func (d drainLimit) of(refusal oci.Errors) drainLimit {
	if refusal.Is(&oci.Error{Code: oci.BlobUploadUnknown}) {
		return drainStranger()
	}
	return d
}
