package start

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/pierless/pierless/internal/setup"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/sweep"
)

// Sweep runs a sweep at each invocation, whatever the event, until Lambda ends the process.
func Sweep(getenv func(string) string) {
	c, meta, blobs, err := open(getenv)
	if err != nil {
		fail(err)
	}
	log := setup.Log(os.Stdout, c.Log)
	lambda.Start(sweeper{registry.New(meta, blobs, registry.Options{AllowSparse: c.AllowSparse, Grace: c.Grace, Log: log}), log})
}

// sweeper is the function as Lambda calls it.
type sweeper struct {
	reg sweep.Registry
	log *slog.Logger
}

// Invoke implements lambda.Handler. An error fails the invocation, which raises the alarm;
// Lambda retries it, and the schedule runs the sweep again an hour later.
func (s sweeper) Invoke(ctx context.Context, _ []byte) ([]byte, error) {
	start := time.Now()
	r, err := sweep.Run(ctx, s.reg, nil)
	sweep.Log(ctx, s.log, r, time.Since(start), err)
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}
