// Command tags is the Lambda function that serves the lists of tags.
package main

import (
	"os"

	"github.com/pierless/pierless/functions/internal/start"
	"github.com/pierless/pierless/pkg/server"
)

func main() { start.Function(os.Getenv, server.Tags) }
