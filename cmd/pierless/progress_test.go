package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/client/images"
)

// TestLayerBarsEnd: unfinished bars are removed too, and lines are not torn.
func TestLayerBarsEnd(t *testing.T) {
	b := newLayerBars(&output{})
	for _, moved := range [][]int64{{}, {5}, {10}, {10, -10}, {10, -10, 10}, {20}} {
		advance, end := b.Begin(images.Sending, "sha256:0123456789abcdef", 10)
		for _, n := range moved {
			advance(n)
		}
		end()
	}
	b.Done(images.Layer{Digest: "sha256:1", Size: 10, Method: images.Written})
	b.end() // hangs if a bar is not removed

	var lines bytes.Buffer
	l := &layerLines{w: &lines}
	l.Done(images.Layer{Digest: "sha256:1", Size: 3 << 20, Method: images.Written, Sent: 3 << 20, Seconds: 1.5})
	l.Note("something")
	for _, want := range []string{"sha256:1", "3.0MiB", "written in 1.5 s\n", "note: something\n"} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("%q has no %q", lines.String(), want)
		}
	}
}
