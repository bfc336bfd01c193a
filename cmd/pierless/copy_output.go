package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/pierless/pierless/pkg/images"
)

// report writes what was done.
func (f copyFlags) report(w io.Writer, r images.Result) error {
	if f.json {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := fmt.Fprintf(w, "%s@%s\n", r.Name, r.Digest)
	return err
}

// observer is who shows how the copy goes.
func (f copyFlags) observer(w io.Writer) copyObserver {
	switch {
	case f.quiet:
		return &layerLines{w: io.Discard}
	case onTerminal(w):
		return newLayerBars(w)
	}
	return &layerLines{w: w}
}
