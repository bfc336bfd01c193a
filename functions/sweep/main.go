// Command sweep is the Lambda function that a schedule invokes to delete expired uploads. It
// serves no requests.
package main

import (
	"os"

	"github.com/pierless/pierless/functions/internal/start"
)

func main() { start.Sweep(os.Getenv) }
