package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/cwriter"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/pierless/pierless/pkg/client/images"
)

// onTerminal reports whether a person reads w.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && cwriter.IsTerminal(int(f.Fd()))
}

// copyObserver shows how a copy goes, until its end, and lines of a log.
type copyObserver interface {
	images.Observer
	io.Writer
	end()
}

// layerLines writes a line for each layer that is done.
type layerLines struct {
	mu sync.Mutex
	w  io.Writer
}

// Begin shows nothing: a line says what was done.
func (l *layerLines) Begin(images.Stage, string, int64) (advance func(int64), end func()) {
	return func(int64) {}, func() {}
}

// Done writes digest, size, and how the layer got there.
func (l *layerLines) Done(layer images.Layer) { l.line(layerLine(layer)) }

// Note writes the note.
func (l *layerLines) Note(text string) { l.line("note: " + text) }

func (l *layerLines) line(text string) { fmt.Fprintln(l, text) }

// Write writes whole lines.
func (l *layerLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (l *layerLines) end() {}

func layerLine(l images.Layer) string {
	line := fmt.Sprintf("%s  %10.1f  %s", l.Digest, decor.SizeB1024(l.Size), l.Method)
	if l.Sent > 0 {
		line += fmt.Sprintf(" in %.1f s", l.Seconds)
	}
	return line
}

// layerBars shows a bar for each layer under way, and above them the lines of those done.
type layerBars struct {
	bars *mpb.Progress
	layerLines
}

func newLayerBars(w io.Writer) *layerBars {
	b := &layerBars{bars: mpb.New(mpb.WithOutput(w), mpb.WithWidth(64), mpb.WithRefreshRate(150*time.Millisecond))}
	b.w = b.bars // lines go above the bars
	return b
}

// Begin shows a bar until end is called.
func (b *layerBars) Begin(stage images.Stage, what string, size int64) (advance func(int64), end func()) {
	// With its total from the start, a bar would end before a try that failed in the end
	// takes its bytes back.
	bar := b.bars.AddBar(
		0, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(string(stage)+" "+shortened(what)+" ", decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace), decor.AverageSpeed(decor.SizeB1024(0), " % .1f")),
	)
	bar.SetTotal(size, false)
	return func(delta int64) { bar.IncrInt64(delta) }, func() { bar.Abort(true) }
}

// shortened keeps a bar in one line.
func shortened(what string) string {
	const limit = 12
	if _, encoded, found := strings.Cut(what, ":"); found {
		what = encoded
	}
	what = strings.TrimPrefix(what, "blobs/sha256/")
	return what[:min(limit, len(what))]
}

func (b *layerBars) end() { b.bars.Wait() }
