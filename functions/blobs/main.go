// Command blobs is the Lambda function that serves blobs.
package main

import (
	"os"

	"github.com/pierless/pierless/functions/internal/start"
	"github.com/pierless/pierless/pkg/server"
)

func main() { start.Function(os.Getenv, server.Blobs) }
