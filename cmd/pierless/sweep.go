package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/setup"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/sweep"
)

func newSweep(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "sweep", Short: "Remove expired uploads"}
	c, err := env.Load(getenv)
	asJSON := cmd.Flags().Bool("json", false, "write the report as JSON")
	addDataDir(cmd, &c)
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
	reg := registry.New(s.meta, s.blobs, registry.Options{Log: setup.Log(cmd.ErrOrStderr(), c.Log)})
	show, end := newCounter(cmd.ErrOrStderr(), "uploads checked")
	report, err := sweep.Run(cmd.Context(), reg, func(r sweep.Report) {
		show(r.Uploads.Ended + r.Uploads.Kept + r.Uploads.Done)
	})
	end()
	if writeErr := writeSweep(cmd.OutOrStdout(), report, asJSON); err == nil {
		err = writeErr
	}
	return err
}

// hasStore returns an error if the directory has no store: opening it would create one.
func hasStore(c env.Config) error {
	if c.OnAWS() {
		return nil
	}
	_, err := os.Stat(filepath.Join(c.Data, "names.db"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no store: set --data-dir, or --bucket and --table", c.Data)
	}
	return err
}

func writeSweep(w io.Writer, r sweep.Report, asJSON bool) error {
	if asJSON {
		return writeJSON(w, r)
	}
	rest := ""
	if !r.Complete {
		rest = "; there are more"
	}
	_, err := fmt.Fprintf(w, "%d uploads removed, %d still active, %d ended before%s\n", r.Uploads.Ended, r.Uploads.Kept, r.Uploads.Done, rest)
	return err
}
