package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/pierless/pierless/internal/idle"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// maxDrain limits how much of an unneeded body is read before the answer, in bytes. Some
// clients read no answer before they have sent all, and hang otherwise. From this machine it
// takes some seconds.
const maxDrain = 64 << 30

// drain reads the rest of a body.
func drain(body io.Reader) {
	if body != nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(body, maxDrain)) // after an error the client reads no answer anyway
	}
}

// fail turns an error into the answer, after it has read the body.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Header.Get("Expect") == "" { // a client that asked whether to send gets the answer first
		drain(r.Body)
	}
	stalled := idle.Stalled(r)
	if stalled != nil && errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w (cause: %w)", stalled, err)
	}
	errs := errorsOf(err)
	status := errs.Status()
	var answer *client.Error
	if errors.As(err, &answer) && answer.Challenge != "" && status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", localRealm(p.upstream, answer.Challenge, r.Host))
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	if stalled == nil && r.Context().Err() != nil {
		status = idle.StatusClientGone
	}
	p.logFailure(r, status, err)
	writeErrors(w, status, errs)
}

// logFailure logs the route, never the path: the path of an upload is the permission to write.
func (p *Proxy) logFailure(r *http.Request, status int, err error) {
	req, _ := route.ParseEscaped(r.URL.EscapedPath())
	level := slog.LevelWarn
	if status == idle.StatusClientGone {
		level = slog.LevelInfo
	}
	p.log.LogAttrs(r.Context(), level, "refused", slog.String("method", r.Method), slog.String("route", string(req.Kind)),
		slog.String("name", req.Name), slog.Int("status", status), slog.String("error", err.Error()))
}

// errorsOf returns the errors for the client. An error of the registry is repeated; causes
// are for the log.
func errorsOf(err error) oci.Errors {
	var one *oci.Error
	var answer *client.Error
	var refused *client.TargetError
	switch {
	case errors.Is(err, errSpoolFull):
		full := oci.NewError(oci.Unavailable, "the spool of pierless proxy is full (see --spool and --spool-limit): "+
			"try again when other uploads have ended")
		full.Status = http.StatusInsufficientStorage
		return oci.Errors{full}
	case errors.As(err, &refused):
		advice := ""
		if refused.Internal {
			advice = ": start pierless proxy with --internal-host " + refused.Hostname() + " if that is its store"
		}
		return oci.Errors{oci.NewError(oci.Denied, "%v%s", refused, advice)}
	case errors.As(err, &one):
		return oci.Errors{one}
	case errors.As(err, &answer):
		return answerOf(answer)
	case errors.Is(err, context.Canceled):
		return oci.Errors{upload.ErrTakenOver()}
	}
	return oci.Errors{oci.NewError(oci.Unavailable,
		"the registry or its store did not accept the upload: try again; the log of pierless proxy has the cause")}
}

// answerOf repeats the registry's own error with its status.
func answerOf(answer *client.Error) oci.Errors {
	if answer.Status >= 500 && answer.Status != http.StatusInsufficientStorage || answer.Status < 400 {
		return oci.Errors{oci.NewError(oci.Unavailable, "the registry keeps answering %d: try again later", answer.Status)}
	}
	errs := make(oci.Errors, len(answer.Errors))
	for i, e := range answer.Errors {
		same := *e
		same.Status = answer.Status
		errs[i] = &same
	}
	return errs
}

func writeErrors(w http.ResponseWriter, status int, errs oci.Errors) {
	content, err := json.Marshal(errs)
	if err != nil {
		content = []byte(`{"errors":[{"code":"UNKNOWN"}]}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	w.WriteHeader(status)
	_, _ = w.Write(content) // fails only if the client has left
}
