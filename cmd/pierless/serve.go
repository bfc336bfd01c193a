package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/guard"
	"github.com/pierless/pierless/internal/idle"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/sweep"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/server/auth"
)

const (
	headerTimeout = 10 * time.Second // to send the request line and headers
	idleTimeout   = 2 * time.Minute  // between two requests of a connection
	startTimeout  = 15 * time.Second // for the store to answer at the start
	stopTimeout   = 30 * time.Second // for requests in progress at the end
	sweepInterval = time.Hour        // in the background
)

func newServe(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "serve", Short: "Run the registry"}
	c, err := env.Load(getenv)
	f := cmd.Flags()
	f.StringVar(&c.Listen, "listen", c.Listen, "`address` to listen on (PIERLESS_LISTEN)")
	addDataDir(cmd, &c)
	f.BoolVar(&c.ServeBlobs, "no-redirect", c.ServeBlobs, "send blobs through this process instead of redirecting pulls to S3 (PIERLESS_NO_REDIRECT)")
	f.BoolVar(&c.RedirectHead, "redirect-head", c.RedirectHead, "also redirect HEAD of blobs to S3, behind a gateway that drops Content-Length (PIERLESS_REDIRECT_HEAD)")
	f.StringSliceVar(&c.AllowHosts, "allow-host", c.AllowHosts,
		"another `host` or host:port that clients use for an open registry (PIERLESS_ALLOW_HOST)")
	f.BoolVar(&c.RequestLog, "request-log", c.RequestLog,
		"log every request; false: only those that fail with a 5xx status (PIERLESS_REQUEST_LOG)")
	f.BoolVar(&c.AllowSparse, "allow-sparse-index", c.AllowSparse, "accept indexes of which some images are missing (PIERLESS_ALLOW_SPARSE_INDEX)")
	f.StringVar(&c.AdminTokenSHA256, "admin-token-sha256", c.AdminTokenSHA256, "`SHA-256` of the administrator's token (default: no access control) (PIERLESS_ADMIN_TOKEN_SHA256)")
	f.BoolVar(&c.AnonymousPull, "anonymous-pull", c.AnonymousPull, "allow pulls without the token (PIERLESS_ANONYMOUS_PULL)")
	return configured(cmd, &c, err, serve)
}

func serve(cmd *cobra.Command, c env.Config) error {
	// The embedded store has no URLs to redirect to.
	c.ServeBlobs = c.ServeBlobs || !c.OnAWS()

	log := newLog(cmd.ErrOrStderr(), c.Log)
	s, err := openStore(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer func() {
		if err := s.close(); err != nil {
			log.Error("close the store", "error", err)
		}
	}()
	if err := s.checkIn(cmd.Context(), startTimeout); err != nil {
		return err
	}
	reg := registry.New(s.meta, s.blobs, registry.Options{AllowSparse: c.AllowSparse, Log: log})
	listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	handler, err := newHandler(reg, c, listener.Addr(), log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	logReady(log, c, listener.Addr())
	defer sweepInBackground(cmd.Context(), reg, log)() // before the store is closed
	handler = withLimits(idle.Default(), withHealth(&health{check: s.checkIn, log: log}, handler))
	return run(cmd.Context(), listener, handler, log)
}

// newHandler puts in front of the registry what one process needs: from the outside, the
// guard against web pages, access control, and the limit of bodies at a time.
func newHandler(reg *registry.Registry, c env.Config, at net.Addr, log *slog.Logger) (http.Handler, error) {
	opts := server.Options{Log: log, ServeBlobs: c.ServeBlobs, RedirectHead: c.RedirectHead, ErrorsOnly: !c.RequestLog}
	refuse := server.Refuse(opts)
	handler, err := guarded(limitBodies(maxBodies, bodyWait, refuse, server.All(reg, opts)), c, opts)
	if err != nil {
		return nil, err
	}
	// Behind a token there is nothing for strangers; an address that only this machine
	// reaches is private although it asks for none.
	if c.AdminTokenSHA256 == "" || c.AnonymousPull && guard.Loopback(at.String()) {
		listen, err := withPort(c.Listen, at)
		if err != nil {
			return nil, err
		}
		handler = withoutPages(guard.New(listen, c.AllowHosts), refuse, handler)
	}
	return handler, nil
}

func logReady(log *slog.Logger, c env.Config, at net.Addr) {
	store := c.Data
	if c.OnAWS() {
		store = "s3://" + c.Bucket + " and DynamoDB table " + c.Table
	}
	log.Info("ready", "listen", at.String(), "store", store, "try", "docker push "+at.String()+"/<name>:<tag>")
	if c.AdminTokenSHA256 == "" && !guard.Loopback(at.String()) {
		log.Warn("there is no access control: every machine that reaches this address can push and delete; "+
			"'pierless token' creates a token", "listen", at.String())
	}
}

// sweepInBackground sweeps at once and every hour, until ctx ends or the returned function is
// called, which waits for the running sweep. A sweep reads the store in small steps, so that it
// does not slow down requests.
func sweepInBackground(ctx context.Context, reg *registry.Registry, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		sweep.Every(ctx, sweepInterval, reg, log)
	}()
	return func() {
		cancel()
		<-done
	}
}

// guarded puts access control in front of the registry where a token is set.
func guarded(next http.Handler, c env.Config, opts server.Options) (http.Handler, error) {
	if c.AdminTokenSHA256 == "" {
		return next, nil
	}
	handler, err := auth.New(auth.Options{
		TokenSHA256: c.AdminTokenSHA256, AnonymousPull: c.AnonymousPull, Refuse: server.Refuse(opts),
	}, next)
	if err != nil {
		return nil, fmt.Errorf("PIERLESS_ADMIN_TOKEN_SHA256: %w", err)
	}
	return handler, nil
}

// run serves until the context ends, then lets requests finish.
func run(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("stopping", "timeout", stopTimeout)
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := srv.Shutdown(stopCtx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

func newLog(w io.Writer, format string) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}
