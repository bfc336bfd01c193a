package verify

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Runner runs cases and reports their results.
type Runner struct {
	// Parallel is the number of cases that run at once.
	Parallel int
	// Run runs one case. The runner sets the case, the link and the duration of the result.
	Run func(context.Context, Case) Result
	// Progress, if set, is called with each result; calls do not overlap.
	Progress func(done, total int, r Result)
}

// Report runs the cases and reports on the registry at the address. If ctx is done, it
// returns ctx's error, after Run was called for every case.
func (r Runner) Report(ctx context.Context, address string, cases []Case) (*Report, error) {
	begin := time.Now()
	report := &Report{URL: address, Started: begin.UTC().Truncate(time.Second), Results: make([]Result, len(cases))}
	var (
		g    errgroup.Group
		mu   sync.Mutex
		done int
	)
	g.SetLimit(r.Parallel)
	for i, c := range cases {
		g.Go(func() error {
			start := time.Now()
			result := r.Run(ctx, c)
			result.Case, result.SpecURL, result.Seconds = c, c.SpecURL(), time.Since(start).Seconds()
			mu.Lock()
			defer mu.Unlock()
			done++
			report.Results[i] = result
			if r.Progress != nil {
				r.Progress(done, len(cases), result)
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return no error
	report.Seconds = time.Since(begin).Seconds()
	return report, ctx.Err()
}
