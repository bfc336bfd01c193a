package start

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/sweep"
)

// Sweep sweeps each time that it is invoked, whatever the event says, until Lambda ends
// the process.
func Sweep(getenv func(string) string) {
	c, meta, blobs, err := open(getenv)
	if err != nil {
		fail(err)
	}
	log := newLog(c.Log)
	lambda.Start(sweeper{registry.New(meta, blobs, registry.Options{AllowSparse: c.AllowSparse, Log: log}), log})
}

// sweeper is the function as Lambda calls it.
type sweeper struct {
	reg sweep.Registry
	log *slog.Logger
}

// Invoke implements lambda.Handler. An error makes the invocation fail, which the
// alarms see; Lambda tries again, and so does the next hour.
func (s sweeper) Invoke(ctx context.Context, _ []byte) ([]byte, error) {
	start := time.Now()
	r, err := sweep.Run(ctx, s.reg, nil)
	sweep.Log(ctx, s.log, r, time.Since(start), err)
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}
