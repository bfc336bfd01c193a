package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/pierless/pierless/pkg/client/images"
)

// writeJSON writes an indented document.
func writeJSON(w io.Writer, document any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(document)
}

// report writes the result of the copy.
func (f copyFlags) report(w io.Writer, r images.Result) error {
	if f.json {
		return writeJSON(w, r)
	}
	known := r.Name + "@" + string(r.Digest)
	if r.ImageID != "" {
		known = r.Name // the daemon does not know the digest
	}
	_, err := fmt.Fprintln(w, known)
	return err
}

// observer returns the display of the progress.
func (f copyFlags) observer(w io.Writer) copyObserver {
	switch {
	case f.quiet:
		return &layerLines{w: io.Discard}
	case onTerminal(w):
		return newLayerBars(w)
	}
	return &layerLines{w: w}
}
