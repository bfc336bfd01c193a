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

	"github.com/pierless/pierless/pkg/env"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

const serveHelp = `Serve runs the registry as one process until it is stopped with Ctrl-C or SIGTERM;
requests that are under way then get 30 seconds to end.

Without a bucket and a table it keeps everything in a folder (--data). With both it
works over S3 and DynamoDB, and pulls are redirected to presigned S3 URLs; AWS's
usual variables give region and credentials, AWS_ENDPOINT_URL_S3 and
AWS_ENDPOINT_URL_DYNAMODB an emulator. 'pierless init' creates both.

There is no access control yet: listen beyond loopback only behind something that
has it.`

const serveExample = `  pierless serve
  pierless serve --listen 127.0.0.1:5001 --data /srv/registry
  pierless serve --bucket my-registry --table my-registry --log json`

const (
	headerTimeout = 10 * time.Second // to send the request line and headers
	idleTimeout   = 2 * time.Minute  // between two requests of a connection
	stopTimeout   = 30 * time.Second // for requests under way at the end
)

func newServe(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "serve", Short: "Run the registry", Long: serveHelp, Example: serveExample}
	c, err := env.Load(getenv)
	f := cmd.Flags()
	f.StringVar(&c.Listen, "listen", c.Listen, "address to listen on (PIERLESS_LISTEN)")
	f.StringVar(&c.Data, "data", c.Data, "folder of the embedded store (PIERLESS_DATA)")
	f.BoolVar(&c.ServeBlobs, "serve-blobs", c.ServeBlobs, "send blob bytes through this process instead of redirecting to S3 (PIERLESS_SERVE_BLOBS)")
	f.BoolVar(&c.AllowSparse, "allow-sparse", c.AllowSparse, "accept indexes whose children are not all pushed (PIERLESS_ALLOW_SPARSE)")
	return configured(cmd, &c, err, serve)
}

func serve(cmd *cobra.Command, c env.Config) error {
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
	handler := withHealth(server.All(reg, server.Options{Log: log, ServeBlobs: c.ServeBlobs}))

	listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	store := c.Data
	if c.OnAWS() {
		store = "s3://" + c.Bucket + " and DynamoDB table " + c.Table
	}
	log.Info("ready", "listen", listener.Addr().String(), "store", store, "try", "docker push "+listener.Addr().String()+"/<name>:<tag>")
	if at, ok := listener.Addr().(*net.TCPAddr); ok && !at.IP.IsLoopback() {
		log.Warn("there is no access control yet: whoever reaches this address can push and delete", "listen", at.String())
	}
	return run(cmd.Context(), listener, handler, log)
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
