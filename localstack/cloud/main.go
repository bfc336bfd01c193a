// Command cloud runs the resources of template.yaml on one machine: the bootstrap
// binaries of the functions behind Lambda's runtime API, an HTTP API in front of them,
// and a proxy that checks each call to LocalStack's S3 and DynamoDB against the policy
// of the function. See docs/local-cloud.md.
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
