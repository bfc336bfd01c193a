package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server/auth"
)

type accessRules struct {
	admin *access.Admin
	host  func(*http.Request) string
	prove func(context.Context, string, access.Proof) (access.Identity, error)
}

// Access serves logins and the management of tokens and rules (docs/access.md). It is a
// separate family because only its function may write tokens. It answers 404 if the
// options have no Directory.
func Access(_ *registry.Registry, opts Options) *Server {
	s := accessRules{host: opts.Host, prove: opts.Prove}
	if s.host == nil {
		s.host = func(r *http.Request) string { return r.Host }
	}
	if opts.Directory != nil {
		s.admin = access.NewAdmin(opts.Directory)
	}
	return newServer(opts, handlers{
		route.Login:        {http.MethodPost: s.login},
		route.AccessTokens: {http.MethodGet: s.tokens, http.MethodPost: s.create, http.MethodDelete: s.revoke},
		route.AccessRotate: {http.MethodPost: s.rotate},
		route.AccessTest:   {http.MethodGet: s.test},
		route.AccessRules:  {http.MethodGet: s.rules, http.MethodPut: s.setRules},
		route.AccessLog:    {http.MethodGet: s.log},
	}.require(opts.Directory != nil, errOpen()))
}

func errOpen() error {
	return oci.NewError(oci.Unsupported, "this registry has no access control: start it with --admin-token-sha256").
		WithStatus(http.StatusNotFound)
}

// require refuses every request with err if the condition does not hold.
func (h handlers) require(condition bool, err error) handlers {
	for _, methods := range h {
		for name := range methods {
			if !condition {
				methods[name] = func(http.ResponseWriter, *http.Request, route.Request) error { return err }
			}
		}
	}
	return h
}

// login exchanges the proof of an identity for a token.
func (s accessRules) login(w http.ResponseWriter, r *http.Request, _ route.Request) error {
	var proof access.Proof
	if err := readAccess(r, &proof); err != nil {
		return err
	}
	if s.prove == nil {
		return oci.NewError(oci.Unsupported, "this registry takes no logins: start it with --public-host").WithStatus(http.StatusNotFound)
	}
	id, err := s.prove(r.Context(), strings.ToLower(s.host(r)), proof)
	if err != nil {
		return err
	}
	issued, err := s.admin.Login(r.Context(), id, clientIP(r))
	return writeAccess(w, http.StatusCreated, issued, err)
}

type tokensAnswer struct {
	Tokens []access.Token `json:"tokens"`
}

// tokens lists the tokens that the caller may manage.
func (s accessRules) tokens(w http.ResponseWriter, r *http.Request, _ route.Request) error {
	tokens, err := s.admin.Tokens(r.Context(), actor(r))
	return writeAccess(w, http.StatusOK, tokensAnswer{tokens}, err)
}

func (s accessRules) create(w http.ResponseWriter, r *http.Request, _ route.Request) error {
	var req access.NewTokenRequest
	if err := readAccess(r, &req); err != nil {
		return err
	}
	issued, err := s.admin.Create(r.Context(), actor(r), req)
	return writeAccess(w, http.StatusCreated, issued, err)
}

// revoke ends the tokens of a name, or the one with an id.
func (s accessRules) revoke(w http.ResponseWriter, r *http.Request, _ route.Request) error {
	tokens, err := s.admin.Revoke(r.Context(), actor(r), r.URL.Query().Get("name"))
	return writeAccess(w, http.StatusOK, tokensAnswer{tokens}, err)
}

func (s accessRules) rotate(w http.ResponseWriter, r *http.Request, _ route.Request) error {
	var req access.RotateRequest
	if err := readAccess(r, &req); err != nil {
		return err
	}
	issued, err := s.admin.Rotate(r.Context(), actor(r), req)
	return writeAccess(w, http.StatusCreated, issued, err)
}

// test explains whether a token allows an action.
func (s accessRules) test(w http.ResponseWriter, r *http.Request, _ route.Request) error {
	q := r.URL.Query()
	e, err := s.admin.Explain(r.Context(), actor(r), q.Get("name"), q.Get("repository"), route.Action(q.Get("action")))
	return writeAccess(w, http.StatusOK, e, err)
}

// rules answers with the settings. Their version is the ETag.
func (s accessRules) rules(w http.ResponseWriter, r *http.Request, _ route.Request) error {
	settings, err := s.admin.Settings(r.Context())
	w.Header().Set("ETag", strconv.Quote(settings.Version))
	return writeAccess(w, http.StatusOK, settings, err)
}

// setRules replaces the settings. If-Match has the version that the change is based on.
func (s accessRules) setRules(w http.ResponseWriter, r *http.Request, _ route.Request) error {
	var settings access.Settings
	if err := readAccess(r, &settings); err != nil {
		return err
	}
	version := strings.Trim(r.Header.Get("If-Match"), `"`)
	if err := s.admin.SetSettings(r.Context(), actor(r), settings, version); err != nil {
		return err
	}
	return s.rules(w, r, route.Request{})
}

// log lists the changes of access, the oldest first.
func (s accessRules) log(w http.ResponseWriter, r *http.Request, _ route.Request) error {
	q := r.URL.Query()
	since, err := time.Parse(time.RFC3339, q.Get("since"))
	if q.Has("since") && err != nil {
		return oci.NewError(oci.AccessInvalid, "since must be a time such as 2026-01-31T00:00:00Z")
	}
	page, err := s.admin.Log(r.Context(), since, q.Get("next"), registry.MaxPage)
	return writeAccess(w, http.StatusOK, page, err)
}

// actor returns the sender of a change.
func actor(r *http.Request) access.Actor {
	return access.Actor{Caller: auth.Caller(r.Context()), IP: clientIP(r)}
}

// clientIP returns the address of the connection: that of the client or of the proxy in front.
func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr // a function's event has no port
	}
	return host
}

// maxAccessBody is the size of the largest body of a request for access, in bytes: settings of
// 64 KiB with white space.
const maxAccessBody = 128 << 10

// readAccess decodes a body. It refuses unknown fields: a mistyped one would be a missing rule.
func readAccess(r *http.Request, into any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, maxAccessBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("more than one value")
	}
	return fmt.Errorf("%w (cause: %w)", oci.NewError(oci.AccessInvalid,
		"the body must be one JSON object of at most %d bytes with the fields in docs/access.md", maxAccessBody), err)
}

// writeAccess answers with a secret or with rules, which no cache may keep.
func writeAccess(w http.ResponseWriter, status int, body any, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, body)
	return nil
}
