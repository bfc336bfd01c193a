// Command cloud is a cloud for one machine: it reads template.yaml and runs what a
// deploy would make of it. Real bootstrap binaries behind Lambda's runtime API, an HTTP
// API in front of them, and each function held to its own policy on the way to
// LocalStack's S3 and DynamoDB. See docs/local-cloud.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cloud:", err)
		os.Exit(1)
	}
}
