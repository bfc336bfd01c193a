// Command sweep is the Lambda function that a schedule calls to drop what nobody needs
// any more. It serves no requests.
package main

import (
	"os"

	"github.com/pierless/pierless/functions/internal/start"
)

func main() { start.Sweep(os.Getenv) }
