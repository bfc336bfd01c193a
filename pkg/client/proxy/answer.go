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
)

// maxDrain is how much of a body that is not wanted is read, in bytes: on this machine
// that takes some seconds. A client is still listening then when the answer comes; some
// hang for ever otherwise.
const maxDrain = 64 << 30

// statusClientGone is what the log shows for a client that did not wait.
const statusClientGone = 499

// drain reads what is left of a body.
func drain(body io.Reader) {
	if body != nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(body, maxDrain)) // a client that stops sending gets no answer anyway
	}
}

// fail is the one place where an error becomes an answer, after the body was read.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Header.Get("Expect") == "" { // who asked whether to send gets the answer first
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
		status = statusClientGone
	}
	p.logFailure(r, status, err)
	writeErrors(w, status, errs)
}

// logFailure names the route, never the path: an upload's path is the right to write.
func (p *Proxy) logFailure(r *http.Request, status int, err error) {
	req, _ := route.ParseEscaped(r.URL.EscapedPath())
	level := slog.LevelWarn
	if status == statusClientGone {
		level = slog.LevelInfo
	}
	p.log.LogAttrs(r.Context(), level, "refused", slog.String("method", r.Method), slog.String("route", string(req.Kind)),
		slog.String("name", req.Name), slog.Int("status", status), slog.String("error", err.Error()))
}

// errorsOf is what the client is told of an error. What the registry said it says too;
// causes stay in the log.
func errorsOf(err error) oci.Errors {
	var one *oci.Error
	var answer *client.Error
	var refused *client.TargetError
	switch {
	case errors.Is(err, errSpoolFull):
		full := oci.NewError(oci.Unavailable, "pierless proxy has no room for this upload: its spool is full (see --spool and --spool-max); "+
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
		return oci.Errors{errTakenOver()}
	}
	return oci.Errors{oci.NewError(oci.Unavailable, "the registry, or its store, did not take the upload: try again; the log of pierless proxy says why")}
}

// answerOf repeats the registry's own error with its status.
func answerOf(answer *client.Error) oci.Errors {
	if answer.Status >= 500 && answer.Status != http.StatusInsufficientStorage || answer.Status < 400 {
		return oci.Errors{oci.NewError(oci.Unavailable, "the registry answered %d again and again: try later", answer.Status)}
	}
	if len(answer.Errors) == 0 {
		plain := &oci.Error{Code: oci.Unknown, Message: fmt.Sprintf("the registry answered %d", answer.Status), Status: answer.Status}
		return oci.Errors{plain}
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
	_, _ = w.Write(content) // a client that left is no fault of ours
}
