// Command access is the Lambda function that serves logins and the management of tokens. No
// other function may write tokens, or sends requests to issuers of identities.
package main

import (
	"os"

	"github.com/pierless/pierless/functions/internal/start"
	"github.com/pierless/pierless/pkg/access/proof"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/server"
)

func main() {
	start.Function(os.Getenv, func(reg *registry.Registry, opts server.Options) *server.Server {
		opts.Prove = proof.New(proof.Options{Settings: opts.Directory.Settings}).Prove
		return server.Access(reg, opts)
	})
}
