// Package start is what the functions have in common: the environment, the AWS
// clients, the registry, access, and the loop over invocations. Which family of
// routes is served, it is handed, so that a function links no other; the sweep serves
// none.
//
// It must not know the families.
package start

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/pierless/pierless/internal/awsclient"
	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
	"github.com/pierless/pierless/pkg/server/lambdahttp"
)

// Family is a constructor of pkg/server.
type Family func(*registry.Registry, server.Options) http.Handler

// Function serves a family until Lambda ends the process. What is wrong with the
// configuration is said in one line on stderr, which is the function's log.
func Function(getenv func(string) string, family Family) {
	c, meta, blobs, err := open(getenv)
	if err != nil {
		fail(err)
	}
	handler, opts, err := Handler(c, newLog(c.Log), meta, blobs, family)
	if err != nil {
		fail(err)
	}
	lambdahttp.Start(handler, opts)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pierless: the function cannot start:", err)
	os.Exit(1)
}

// open reads the environment and makes the ports that it names.
func open(getenv func(string) string) (env.Config, registry.Metadata, registry.Blobs, error) {
	c, err := env.Load(getenv)
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return c, nil, nil, err
	}
	if !c.OnAWS() {
		return c, nil, nil, errors.New("PIERLESS_BUCKET and PIERLESS_TABLE must be set")
	}
	c.ServeBlobs = false // no answer of a function holds a blob
	clients, err := awsclient.ForLambda(getenv, awsclient.Settings{
		Bucket: c.Bucket, Table: c.Table, SSE: c.SSE, KMSKeyID: c.KMSKey, DualStack: c.DualStack,
	})
	if err != nil {
		return c, nil, nil, err
	}
	meta := ddbmeta.New(clients.Dynamo, c.Table)
	blobs := s3blobs.New(clients.S3, c.Bucket, s3blobs.Options{SSE: c.SSE, KMSKeyID: c.KMSKey})
	return c, meta, blobs, nil
}

// Handler is a family over a pair of ports, behind access control, with what the
// adapter to Lambda needs to know. It fails without a token: what is deployed is
// closed.
func Handler(c env.Config, log *slog.Logger, meta registry.Metadata, blobs registry.Blobs, family Family) (http.Handler, lambdahttp.Options, error) {
	opts := server.Options{Log: log, ServeBlobs: c.ServeBlobs, RedirectHead: c.RedirectHead}
	reg := registry.New(meta, blobs, registry.Options{AllowSparse: c.AllowSparse, Log: log})
	refuse := server.Refuse(opts)
	handler, err := auth.New(auth.Options{
		TokenSHA256: c.AdminTokenSHA256, AnonymousPull: c.AnonymousPull, Refuse: refuse,
	}, family(reg, opts))
	if err != nil {
		return nil, lambdahttp.Options{}, fmt.Errorf("PIERLESS_ADMIN_TOKEN_SHA256: %w", err)
	}
	return handler, lambdahttp.Options{Refuse: func(w http.ResponseWriter, r *http.Request, err error) {
		refuse(w, r, ociError(err))
	}}, nil
}

// ociError says in the spec's words what never reached a family.
func ociError(err error) error {
	told := oci.NewError(oci.Unknown, "the function failed")
	var fault *lambdahttp.Fault
	if errors.As(err, &fault) {
		told.Message, told.Status = fault.Message, fault.Status
		if fault.Status < http.StatusInternalServerError {
			told.Code = oci.Unsupported
		}
	}
	return fmt.Errorf("%w (cause: %w)", told, err)
}

func newLog(format string) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stdout, nil))
	}
	return slog.New(slog.NewTextHandler(os.Stdout, nil))
}
