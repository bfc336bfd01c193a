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

// onTerminal reports whether w is a terminal.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && cwriter.IsTerminal(int(f.Fd()))
}

// copyObserver shows the progress of a copy and the lines of a log, until end is called.
type copyObserver interface {
	images.Observer
	io.Writer
	end()
}

// layerLines writes a line for each finished layer.
type layerLines struct {
	mu sync.Mutex
	w  io.Writer
}

// Begin shows nothing: Done writes the line.
func (l *layerLines) Begin(images.Stage, string, int64) (advance func(int64), end func()) {
	return func(int64) {}, func() {}
}

// Done writes the digest and the size of a layer, and how it was copied.
func (l *layerLines) Done(layer images.Layer) { l.line(layerLine(layer)) }

// Note writes the note.
func (l *layerLines) Note(text string) { l.line("note: " + text) }

func (l *layerLines) line(text string) { fmt.Fprintln(l, text) }

// Write implements io.Writer for whole lines.
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

// layerBars shows a bar for each layer in progress, below the lines of the finished ones.
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
	// A bar that is created with its total would complete when all bytes are sent, although a
	// try that then fails subtracts its bytes again.
	bar := b.bars.AddBar(
		0, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(string(stage)+" "+shortened(what)+" ", decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace), decor.AverageSpeed(decor.SizeB1024(0), " % .1f")),
	)
	bar.SetTotal(size, false)
	return func(delta int64) { bar.IncrInt64(delta) }, func() { bar.Abort(true) }
}

// shortened returns the beginning of a digest or name, so that a bar fits in one line.
func shortened(what string) string {
	const limit = 12
	if _, encoded, found := strings.Cut(what, ":"); found {
		what = encoded
	}
	what = strings.TrimPrefix(what, "blobs/sha256/")
	return what[:min(limit, len(what))]
}

func (b *layerBars) end() { b.bars.Wait() }
