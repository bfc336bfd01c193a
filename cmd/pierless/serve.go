package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/guard"
	"github.com/pierless/pierless/internal/idle"
	"github.com/pierless/pierless/internal/setup"
	"github.com/pierless/pierless/pkg/access/proof"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/sweep"
	"github.com/pierless/pierless/pkg/server"
)

const (
	headerTimeout = 10 * time.Second // to send the request line and headers
	idleTimeout   = 2 * time.Minute  // between two requests of a connection
	startTimeout  = 15 * time.Second // for the store to answer at the start
	stopTimeout   = 30 * time.Second // for requests in progress at the end

	connectionBuffer = 16 << 20 // bytes of request bodies that one HTTP/2 connection buffers
)

func newServe(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "serve", Short: "Run the registry"}
	c, err := env.Load(getenv)
	f := cmd.Flags()
	f.StringVar(&c.Listen, "listen", c.Listen, "`address` to listen on (PIERLESS_LISTEN)")
	f.StringVar(&c.TLSCert, "tls-cert", c.TLSCert, "PEM `file` with the certificate for HTTPS and its intermediates; read again when it changes (PIERLESS_TLS_CERT)")
	f.StringVar(&c.TLSKey, "tls-key", c.TLSKey, "PEM `file` with the key of the certificate (PIERLESS_TLS_KEY)")
	f.BoolVar(&c.BehindTLSProxy, "behind-tls-proxy", c.BehindTLSProxy,
		"a proxy in front terminates TLS, and only it can connect; the log has the client's address from its X-Forwarded-For (PIERLESS_BEHIND_TLS_PROXY)")
	f.BoolVar(&c.InsecureListen, "insecure-listen", c.InsecureListen,
		"allow a --listen address that other machines can reach without TLS or access control (PIERLESS_INSECURE_LISTEN)")
	addDataDir(cmd, &c)
	addGrace(cmd, &c)
	f.DurationVar(&c.SweepInterval, "sweep-interval", c.SweepInterval, "`time` between two sweeps (PIERLESS_SWEEP_INTERVAL)")
	f.BoolVar(&c.ServeBlobs, "no-redirect", c.ServeBlobs, "send blobs through this process instead of redirecting pulls to S3 (PIERLESS_NO_REDIRECT)")
	f.BoolVar(&c.RedirectHead, "redirect-head", c.RedirectHead, "also redirect HEAD of blobs to S3, behind a gateway that drops Content-Length (PIERLESS_REDIRECT_HEAD)")
	f.BoolVar(&c.DualStack, "dual-stack", c.DualStack, "use S3's IPv4 and IPv6 endpoint, also in presigned URLs (PIERLESS_DUAL_STACK)")
	f.StringSliceVar(&c.AllowHosts, "allow-host", c.AllowHosts,
		"another `host` or host:port that clients use for an open registry (PIERLESS_ALLOW_HOST)")
	f.StringVar(&c.PublicHost, "public-host", c.PublicHost,
		"`host` by which clients address the registry, with a port unless it is 443: logins prove an identity to it (PIERLESS_PUBLIC_HOST)")
	f.BoolVar(&c.RequestLog, "request-log", c.RequestLog,
		"log every request; false: only those that fail with a 5xx status (PIERLESS_REQUEST_LOG)")
	f.BoolVar(&c.AllowSparse, "allow-sparse-index", c.AllowSparse, "accept indexes of which some images are missing (PIERLESS_ALLOW_SPARSE_INDEX)")
	f.StringVar(&c.AdminTokenSHA256, "admin-token-sha256", c.AdminTokenSHA256, "`SHA-256` of the administrator's token (default: no access control) (PIERLESS_ADMIN_TOKEN_SHA256)")
	f.BoolVar(&c.AnonymousPull, "anonymous-pull", c.AnonymousPull, "allow pulls without a token (PIERLESS_ANONYMOUS_PULL)")
	return configured(cmd, &c, err, serve)
}

func serve(cmd *cobra.Command, c env.Config) error {
	// The embedded store has no URLs to redirect to.
	c.ServeBlobs = c.ServeBlobs || !c.OnAWS()

	if err := checkListen(c); err != nil {
		return err
	}
	log := setup.Log(cmd.ErrOrStderr(), c.Log)
	secure, err := newTLS(c, log)
	if err != nil {
		return err
	}
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
	if err := checkRules(cmd.Context(), c, s.meta); err != nil {
		return err
	}
	reg := registry.New(s.meta, s.blobs, registry.Options{AllowSparse: c.AllowSparse, Grace: c.Grace, Log: log})
	listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	handler, err := newHandler(reg, s.meta, c, listener.Addr(), log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if secure != nil {
		listener = tls.NewListener(listener, secure)
	}
	logReady(log, c, listener.Addr())
	defer sweepInBackground(cmd.Context(), c.SweepInterval, reg, log)() // before the store is closed
	handler = withLimits(idle.Default(), withHealth(&health{check: s.checkIn, log: log}, handler))
	return run(cmd.Context(), listener, handler, log)
}

// newHandler returns the server for one process: it checks access, refuses requests of web pages,
// then limits the number of request bodies.
func newHandler(reg *registry.Registry, meta registry.Metadata, c env.Config, at net.Addr, log *slog.Logger) (http.Handler, error) {
	opts, err := setup.Options(c, log, meta)
	if err != nil {
		return nil, err
	}
	opts.ErrorsOnly, opts.Admit = !c.RequestLog, limitBodies(maxBodies, bodyWait)
	// An address that only this machine reaches is private, even if the rules allow anonymous pulls.
	if c.AdminTokenSHA256 == "" || guard.Loopback(at.String()) {
		listen, err := withPort(c.Listen, at)
		if err != nil {
			return nil, err
		}
		opts.Authorize = withoutPages(guard.New(listen, append(c.AllowHosts, c.PublicHost)), opts.Authorize)
	}
	if opts.Directory != nil && c.PublicHost != "" {
		opts.Prove = proof.New(proof.Options{Settings: opts.Directory.Settings, PrivateIssuers: c.PrivateIssuers}).Prove
	}
	if c.BehindTLSProxy {
		return behindProxy(server.All(reg, opts)), nil
	}
	return server.All(reg, opts), nil
}

func logReady(log *slog.Logger, c env.Config, at net.Addr) {
	store := c.Data
	if c.OnAWS() {
		store = "s3://" + c.Bucket + " and DynamoDB table " + c.Table
	}
	scheme := "http://"
	if c.TLSCert != "" {
		scheme = "https://"
	}
	log.Info("ready", "listen", at.String(), "url", scheme+at.String(), "store", store, "try", "docker push "+at.String()+"/<name>:<tag>")
	switch {
	case guard.Loopback(at.String()):
	case c.AdminTokenSHA256 == "":
		log.Warn("there is no access control: every machine that reaches this address can push and delete; "+
			"'pierless token' creates a token", "listen", at.String())
	case !encrypted(c):
		log.Warn("there is no TLS: the network can read passwords and images", "listen", at.String())
	}
}

// sweepInBackground sweeps at once and after every interval, until ctx ends or the returned function
// is called, which waits for the running sweep. A sweep reads the store in small steps, so that it
// does not slow down requests.
func sweepInBackground(ctx context.Context, interval time.Duration, reg *registry.Registry, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { sweep.Every(ctx, interval, reg, log) })
	return func() {
		cancel()
		running.Wait()
	}
}

// run serves until the context ends, then lets requests finish.
func run(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true, // OPTIONS * needs access as every path does
		// An upload that waits for memory fills its window: the others of its connection go on.
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerConnection: connectionBuffer},
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
