package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/sweep"
)

const sweepHelp = `Sweep drops what nobody needs any more: uploads that were begun and not completed
within 24 hours, with the bytes that they had stored. What is in use is never
touched, and any number of sweeps may run beside pushes and each other.

A deployed registry sweeps by itself every hour, and so does 'pierless serve'. This
command does it at once, and says how much there was. It stops at Ctrl-C; the next
one goes on.

Give it the bucket and the table of the registry, or the folder of one that does not
run (--data-dir).

The exit status is 0 when there is nothing left to drop, and 1 otherwise.`

const sweepExample = `  pierless sweep --bucket my-registry --table my-registry
  pierless sweep --data-dir /srv/registry --json`

func newSweep(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "sweep", Short: "Drop uploads that nobody completed", Long: sweepHelp, Example: sweepExample}
	c, err := env.Load(getenv)
	asJSON := cmd.Flags().Bool("json", false, "write the report as JSON")
	cmd.Flags().StringVar(&c.Data, "data-dir", c.Data, "folder of the embedded store (PIERLESS_DATA_DIR)")
	return configured(cmd, &c, err, func(cmd *cobra.Command, c env.Config) error { return runSweep(cmd, c, *asJSON) })
}

func runSweep(cmd *cobra.Command, c env.Config, asJSON bool) (err error) {
	if err := hasStore(c); err != nil {
		return err
	}
	s, err := openStore(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	reg := registry.New(s.meta, s.blobs, registry.Options{Log: newLog(cmd.ErrOrStderr(), c.Log)})
	shown := newCounter(cmd.ErrOrStderr(), "uploads looked at")
	report, err := sweep.Run(cmd.Context(), reg, func(r sweep.Report) {
		shown.set(r.Uploads.Ended + r.Uploads.Kept + r.Uploads.Done)
	})
	shown.end()
	if writeErr := writeSweep(cmd.OutOrStdout(), report, asJSON); err == nil {
		err = writeErr
	}
	return err
}

// hasStore keeps a mistyped folder from becoming an empty store.
func hasStore(c env.Config) error {
	if c.OnAWS() {
		return nil
	}
	_, err := os.Stat(filepath.Join(c.Data, "names.db"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no store in %s: name its folder with --data-dir, or a bucket and a table", c.Data)
	}
	return err
}

func writeSweep(w io.Writer, r sweep.Report, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	rest := ""
	if !r.Complete {
		rest = "; there is more to do"
	}
	_, err := fmt.Fprintf(w, "%d uploads ended, %d go on, %d had ended before%s\n", r.Uploads.Ended, r.Uploads.Kept, r.Uploads.Done, rest)
	return err
}
