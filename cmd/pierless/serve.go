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

	"github.com/pierless/pierless/pkg/auth"
	"github.com/pierless/pierless/pkg/env"
	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
	"github.com/pierless/pierless/pkg/sweep"
)

const serveHelp = `Serve runs the registry as one process until it is stopped with Ctrl-C or SIGTERM;
requests that are under way then get 30 seconds to end.

Without a bucket and a table it keeps everything in a folder (--data). With both it
works over S3 and DynamoDB, and pulls are redirected to presigned S3 URLs; AWS's
usual variables give region and credentials, AWS_ENDPOINT_URL_S3 and
AWS_ENDPOINT_URL_DYNAMODB an emulator. 'pierless init' creates both.

Every hour, and at the start, it drops uploads that nobody completed, as 'pierless
sweep' does.

Without an administrator's token the registry is open: listen beyond loopback only
behind something that is not. 'pierless token' makes one.`

const serveExample = `  pierless serve
  pierless serve --listen 127.0.0.1:5001 --data /srv/registry
  pierless serve --bucket my-registry --table my-registry --log json`

const (
	headerTimeout = 10 * time.Second // to send the request line and headers
	idleTimeout   = 2 * time.Minute  // between two requests of a connection
	stopTimeout   = 30 * time.Second // for requests under way at the end
	sweepInterval = time.Hour        // in the background
)

func newServe(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "serve", Short: "Run the registry", Long: serveHelp, Example: serveExample}
	c, err := env.Load(getenv)
	f := cmd.Flags()
	f.StringVar(&c.Listen, "listen", c.Listen, "address to listen on (PIERLESS_LISTEN)")
	f.StringVar(&c.Data, "data", c.Data, "folder of the embedded store (PIERLESS_DATA)")
	f.BoolVar(&c.ServeBlobs, "serve-blobs", c.ServeBlobs, "send blob bytes through this process instead of redirecting to S3 (PIERLESS_SERVE_BLOBS)")
	f.BoolVar(&c.RedirectHead, "redirect-head", c.RedirectHead, "redirect HEAD of blobs to S3 too, for a gateway that loses Content-Length (PIERLESS_REDIRECT_HEAD)")
	f.BoolVar(&c.AllowSparse, "allow-sparse", c.AllowSparse, "accept indexes whose children are not all pushed (PIERLESS_ALLOW_SPARSE)")
	f.StringVar(&c.AdminTokenSHA256, "admin-token-sha256", c.AdminTokenSHA256, "SHA-256 of the token that opens the registry, see 'pierless token'; empty: open to all (PIERLESS_ADMIN_TOKEN_SHA256)")
	f.BoolVar(&c.AnonymousPull, "anonymous-pull", c.AnonymousPull, "let everybody pull; pushes still need the token (PIERLESS_ANONYMOUS_PULL)")
	return configured(cmd, &c, err, serve)
}

func serve(cmd *cobra.Command, c env.Config) error {
	// The embedded store has no place that clients could be sent to.
	c.ServeBlobs = c.ServeBlobs || !c.OnAWS()

	log := newLog(cmd.ErrOrStderr(), c.Log)
	names, blobs, closeStore, err := openStore(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer func() {
		if err := closeStore(); err != nil {
			log.Error("close the store", "error", err)
		}
	}()
	reg := registry.New(names, blobs, registry.Options{AllowSparse: c.AllowSparse, Log: log})
	opts := server.Options{Log: log, ServeBlobs: c.ServeBlobs, RedirectHead: c.RedirectHead}
	handler, err := guarded(server.All(reg, opts), c, opts)
	if err != nil {
		return err
	}

	listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	store := c.Data
	if c.OnAWS() {
		store = "s3://" + c.Bucket + " and DynamoDB table " + c.Table
	}
	log.Info("ready", "listen", listener.Addr().String(), "store", store, "try", "docker push "+listener.Addr().String()+"/<name>:<tag>")
	if at, ok := listener.Addr().(*net.TCPAddr); ok && !at.IP.IsLoopback() && c.AdminTokenSHA256 == "" {
		log.Warn("there is no access control: whoever reaches this address can push and delete; 'pierless token' makes a token", "listen", at.String())
	}
	defer sweepInBackground(cmd.Context(), reg, log)() // before the store is closed
	return run(cmd.Context(), listener, withHealth(handler), log)
}

// sweepInBackground sweeps until ctx ends, or until what it returns is called, which
// waits for it. It shares nothing with requests but the store, which it asks for little
// at a time.
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

// withHealth answers /healthz beside the registry.
func withHealth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			oci.SetSecurityHeaders(w.Header())
			_, _ = io.WriteString(w, "ok\n") // a prober that left needs no answer
			return
		}
		next.ServeHTTP(w, r)
	})
}

func newLog(w io.Writer, format string) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}
