// Command uploads is the Lambda function that serves blob uploads.
package main

import (
	"os"

	"github.com/pierless/pierless/functions/internal/start"
	"github.com/pierless/pierless/pkg/server"
)

func main() { start.Function(os.Getenv, server.Uploads) }
