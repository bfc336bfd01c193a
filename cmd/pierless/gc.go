package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/setup"
	"github.com/pierless/pierless/pkg/registry"
	"github.com/pierless/pierless/pkg/registry/sweep"
)

// gcFlags are the flags of gc beside those of the store.
type gcFlags struct {
	json, dryRun bool
}

func newGC(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "gc", Short: "Delete content that no image needs, and abandoned uploads"}
	c, err := env.Load(getenv)
	var f gcFlags
	cmd.Flags().BoolVar(&f.json, "json", false, "write the report as JSON")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "report the content that would be deleted, and delete nothing")
	addGrace(cmd, &c)
	addDataDir(cmd, &c)
	return configured(cmd, &c, err, func(cmd *cobra.Command, c env.Config) error { return runGC(cmd, c, f) })
}

func runGC(cmd *cobra.Command, c env.Config, f gcFlags) (err error) {
	if err := hasStore(c); err != nil {
		return err
	}
	s, err := openStore(cmd.Context(), c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	reg := registry.New(s.meta, s.blobs, registry.Options{Grace: c.Grace, Log: setup.Log(cmd.ErrOrStderr(), c.Log)})
	if f.dryRun {
		plan, err := reg.PlanCollect(cmd.Context())
		if err != nil {
			return err
		}
		return writePlan(cmd.OutOrStdout(), plan, f.json)
	}
	show, end := newCounter(cmd.ErrOrStderr(), "entries checked")
	report, err := sweep.Run(cmd.Context(), reg, func(r sweep.Report) { show(r.Checked()) })
	end()
	if writeErr := writeGC(cmd.OutOrStdout(), report, f.json); err == nil {
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

func writePlan(w io.Writer, plan registry.Collected, asJSON bool) error {
	if asJSON {
		return writeJSON(w, plan)
	}
	_, err := fmt.Fprintf(w, "would free %d objects, %d bytes, and remove %d blobs from repositories\n", plan.Blobs, plan.Bytes, plan.Links)
	return err
}

func writeGC(w io.Writer, r sweep.Report, asJSON bool) error {
	if asJSON {
		return writeJSON(w, r)
	}
	rest := ""
	if !r.Complete {
		rest = "; there is more"
	}
	_, err := fmt.Fprintf(w, "freed %d objects, %d bytes (%d removed from repositories, %d in use, %d later); the oldest was due for %v\n"+
		"%d uploads removed, %d still active, %d ended before%s\n",
		r.Garbage.Blobs, r.Garbage.Bytes, r.Garbage.Links, r.Garbage.Kept, r.Garbage.Later, r.Age(time.Now()),
		r.Uploads.Ended, r.Uploads.Kept, r.Uploads.Done, rest)
	return err
}
