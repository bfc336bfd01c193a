// Package setup turns the configuration into the logger and the server options that the
// functions and 'pierless serve' share.
//
// It must not know which storage is behind the registry, nor how requests arrive.
package setup

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

// Log returns a logger to w. format is json, or else text.
func Log(w io.Writer, format string) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// Options returns the options of a server over the rows of meta. Without an administrator's
// token Authorize is nil, and the registry is open. The error names the variable that is
// wrong.
func Options(c env.Config, log *slog.Logger, meta registry.Metadata) (server.Options, error) {
	opts := server.Options{Log: log, ServeBlobs: c.ServeBlobs, RedirectHead: c.RedirectHead}
	if c.PublicHost != "" {
		opts.Host = func(*http.Request) string { return c.PublicHost }
	}
	if c.AdminTokenSHA256 == "" {
		return opts, nil
	}
	opts.Directory = access.NewDirectory(meta, access.Options{AnonymousPull: c.AnonymousPull, Log: log})
	guard, err := auth.New(c.AdminTokenSHA256, opts.Directory)
	if err != nil {
		return opts, fmt.Errorf("PIERLESS_ADMIN_TOKEN_SHA256: %w", err)
	}
	opts.Authorize = guard.Authorize
	return opts, nil
}
