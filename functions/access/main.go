// Command access is the Lambda function that serves logins and the management of tokens. No
// other function may write tokens.
package main

import (
	"os"

	"github.com/pierless/pierless/functions/internal/start"
	"github.com/pierless/pierless/pkg/server"
)

func main() { start.Function(os.Getenv, server.Access) }
