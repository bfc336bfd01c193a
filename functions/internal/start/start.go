// Package start holds the code that the functions share: the environment, the AWS clients,
// the registry, access control, and the loop over invocations. A function passes its
// family of endpoints, so that it links no other; the sweep serves none.
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
	"github.com/pierless/pierless/internal/setup"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/ddbmeta"
	"github.com/pierless/pierless/pkg/registry/s3blobs"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/lambdahttp"
)

// Family is a constructor of pkg/server.
type Family func(*registry.Registry, server.Options) *server.Server

// Function serves a family until Lambda ends the process. It reports a wrong configuration
// in one line on stderr, which is the function's log.
func Function(getenv func(string) string, family Family) {
	c, meta, blobs, err := open(getenv)
	if err != nil {
		fail(err)
	}
	f, err := New(c, setup.Log(os.Stdout, c.Log), meta, blobs, family)
	if err != nil {
		fail(err)
	}
	f.Start()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pierless: the function cannot start:", err)
	os.Exit(1)
}

// open reads the environment and opens the storage that it names.
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
	c.ServeBlobs = false // an answer of a function is too small for a blob
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

// New returns the function of a family over a pair of ports. It fails without a token: a
// deployed registry is never open.
func New(c env.Config, log *slog.Logger, meta registry.Metadata, blobs registry.Blobs, family Family) (*lambdahttp.Function, error) {
	opts, err := setup.Options(c, log, meta)
	if err == nil && opts.Authorize == nil {
		err = errors.New("PIERLESS_ADMIN_TOKEN_SHA256 must be set: 'pierless token' makes it")
	}
	if err != nil {
		return nil, err
	}
	if opts.Host == nil {
		opts.Host = lambdahttp.Host
	}
	s := family(registry.New(meta, blobs, registry.Options{AllowSparse: c.AllowSparse, Grace: c.Grace, Log: log}), opts)
	return lambdahttp.New(s, func(w http.ResponseWriter, r *http.Request, err error) { s.WriteError(w, r, ociError(err)) }), nil
}

// ociError returns the error for clients of an invocation that did not reach the server.
func ociError(err error) error {
	shown := oci.NewError(oci.Unknown, "the function failed")
	var fault *lambdahttp.Fault
	if errors.As(err, &fault) {
		shown.Message, shown.Status = fault.Message, fault.Status
		if fault.Status < http.StatusInternalServerError {
			shown.Code = oci.Unsupported
		}
	}
	return fmt.Errorf("%w (cause: %w)", shown, err)
}
