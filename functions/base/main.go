// Command base is the Lambda function that serves /v2/ and the catalog.
package main

import (
	"os"

	"github.com/pierless/pierless/functions/internal/start"
	"github.com/pierless/pierless/pkg/server"
)

func main() { start.Function(os.Getenv, server.Base) }
