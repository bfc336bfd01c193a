// Command versitygw is the S3 server of the tests, which unlike LocalStack checks every
// signature: versitygw's gateway over its POSIX backend, with the flags that the tests use.
// versitygw's own command also has backends and services of other vendors, which take most
// of the time that it takes to build.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "versitygw:", err)
		os.Exit(1)
	}
}

func run() error {
	cfg := embedgw.Config{
		Region: "us-east-1", HealthPath: "/health", Quiet: true, KeepAlive: true,
		MaxConnections: 10_000, MaxRequests: 10_000, MultipartMaxParts: 10_000,
	}
	listen := flag.String("listen", "127.0.0.1:7071", "`address` to listen on")
	sidecar := flag.String("sidecar", "", "`directory` of the objects' metadata")
	flag.StringVar(&cfg.RootUserAccess, "access", "", "access key `ID`")
	flag.StringVar(&cfg.RootUserSecret, "secret", "", "secret access `key`")
	flag.Parse()
	if flag.NArg() != 1 || *sidecar == "" {
		return fmt.Errorf("usage: versitygw --access ID --secret KEY [--listen ADDRESS] --sidecar DIR DIR")
	}
	cfg.Ports = []string{*listen}
	// The metadata is in files: not every file system has extended attributes.
	store, err := meta.NewSideCar(*sidecar)
	if err != nil {
		return err
	}
	backend, err := posix.New(flag.Arg(0), store, posix.PosixOpts{SideCarDir: *sidecar})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return embedgw.RunVersityGW(ctx, backend, &cfg)
}
