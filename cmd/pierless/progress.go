package main

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress is a bar of steps, shown where it is written to a terminal.
type progress struct {
	bars         *mpb.Progress
	bar          *mpb.Bar // nil until the first step
	steps, fault string   // what is counted
	faults       atomic.Int64
}

func newProgress(w io.Writer, steps, fault string) *progress {
	return &progress{bars: mpb.New(mpb.WithOutput(w)), steps: steps, fault: fault}
}

// step counts one step of total; one call at a time.
func (p *progress) step(total int, fault bool) {
	if p.bar == nil {
		counted := decor.Any(func(s decor.Statistics) string { return fmt.Sprintf("%d/%d %s ", s.Current, s.Total, p.steps) })
		faults := decor.Any(func(decor.Statistics) string { return fmt.Sprintf(" %d %s", p.faults.Load(), p.fault) })
		p.bar = p.bars.AddBar(int64(total), mpb.PrependDecorators(counted), mpb.AppendDecorators(faults), mpb.BarRemoveOnComplete())
	}
	if fault {
		p.faults.Add(1)
	}
	p.bar.Increment()
}

// end takes the bar away; err is why not all steps were taken.
func (p *progress) end(err error) {
	if p.bar != nil && err != nil {
		p.bar.Abort(true)
	}
	p.bars.Wait()
}

// counter is a number that grows, without an end that is known; shown where it is
// written to a terminal.
type counter struct {
	bars *mpb.Progress
	bar  *mpb.Bar
}

func newCounter(w io.Writer, what string) *counter {
	bars := mpb.New(mpb.WithOutput(w))
	counted := decor.Any(func(s decor.Statistics) string { return fmt.Sprintf(" %d %s", s.Current, what) })
	return &counter{bars, bars.AddSpinner(0, mpb.AppendDecorators(counted), mpb.BarRemoveOnComplete())}
}

func (c *counter) set(n int) { c.bar.SetCurrent(int64(n)) }

// end takes the counter away.
func (c *counter) end() {
	c.bar.Abort(true)
	c.bars.Wait()
}
