package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/pierless/pierless/pkg/client/images"
)

// report writes what was done.
func (f copyFlags) report(w io.Writer, r images.Result) error {
	if f.json {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	known := r.Name + "@" + string(r.Digest)
	if r.ImageID != "" {
		known = r.Name // the daemon does not know the digest
	}
	_, err := fmt.Fprintln(w, known)
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
