package main

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/pierless/pierless/pkg/verify"
)

// progress is a bar of steps, shown only on a terminal.
type progress struct {
	bars         *mpb.Progress
	bar          *mpb.Bar // nil until the first step
	steps, fault string   // names of the two counters
	faults       atomic.Int64
}

func newProgress(w io.Writer, steps, fault string) *progress {
	return &progress{bars: mpb.New(mpb.WithOutput(w)), steps: steps, fault: fault}
}

// step counts a result as one step of total. It is not safe for concurrent use.
func (p *progress) step(_, total int, r verify.Result) {
	if r.Status == verify.Failed {
		p.faults.Add(1)
	}
	p.advance(total)
}

// advance counts one step of total. It is not safe for concurrent use.
func (p *progress) advance(total int) {
	if p.bar == nil {
		counted := decor.Any(func(s decor.Statistics) string { return fmt.Sprintf("%d/%d %s ", s.Current, s.Total, p.steps) })
		faults := decor.Any(func(decor.Statistics) string {
			if p.fault == "" {
				return ""
			}
			return fmt.Sprintf(" %d %s", p.faults.Load(), p.fault)
		})
		p.bar = p.bars.AddBar(int64(total), mpb.PrependDecorators(counted), mpb.AppendDecorators(faults), mpb.BarRemoveOnComplete())
	}
	p.bar.Increment()
}

// end removes the bar. err is not nil if steps are left.
func (p *progress) end(err error) {
	if p.bar != nil && err != nil {
		p.bar.Abort(true)
	}
	p.bars.Wait()
}

// newCounter shows a growing number without a known end, only on a terminal, until end is called.
func newCounter(w io.Writer, what string) (set func(n int), end func()) {
	bars := mpb.New(mpb.WithOutput(w))
	counted := decor.Any(func(s decor.Statistics) string { return fmt.Sprintf(" %d %s", s.Current, what) })
	bar := bars.AddSpinner(0, mpb.AppendDecorators(counted), mpb.BarRemoveOnComplete())
	return func(n int) { bar.SetCurrent(int64(n)) }, func() {
		bar.Abort(true)
		bars.Wait()
	}
}
