package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/internal/env"
	"github.com/pierless/pierless/internal/setup"
	"github.com/pierless/pierless/pkg/registry"
)

// scrubFlags are the flags of scrub beside those of the store.
type scrubFlags struct {
	json, hash, repair bool
	rate               int64
	after              string
}

func newScrub(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "scrub", Short: "Compare stored objects with the rows that refer to them"}
	c, err := env.Load(getenv)
	var f scrubFlags
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "write the report as JSON")
	flags.BoolVar(&f.hash, "hash", false, "read every object and compare its digest")
	flags.Int64Var(&f.rate, "rate", 50, "read at most this many `MB` per second with --hash; 0: no limit")
	flags.StringVar(&f.after, "after", "", "with --hash, continue after this content `key`, which an interrupted scrub has printed")
	flags.BoolVar(&f.repair, "repair", false, "mend the findings, so that the next push of an image sends what is lost")
	addDataDir(cmd, &c)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return status2{err} })
	return configured(cmd, &c, err, func(cmd *cobra.Command, c env.Config) error { return runScrub(cmd, c, f) })
}

var errScrub = errors.New("the registry has faults")

func (f scrubFlags) check() error {
	switch {
	case f.rate < 0:
		return errors.New("--rate must be 0 or more")
	case f.after != "" && !f.hash:
		return errors.New("--after continues --hash: set both")
	case f.after != "" && !registry.IsContentKey(f.after):
		return errors.New("--after must be a content key, as an interrupted scrub prints it: 64 lower case hexadecimal digits")
	}
	return nil
}

func runScrub(cmd *cobra.Command, c env.Config, f scrubFlags) (err error) {
	if err := errors.Join(f.check(), hasStore(c)); err != nil {
		return status2{err}
	}
	s, err := openStore(cmd.Context(), c)
	if err != nil {
		return status2{err}
	}
	defer func() { err = errors.Join(err, s.close()) }()
	log := setup.Log(cmd.ErrOrStderr(), c.Log)
	reg := registry.New(s.meta, s.blobs, registry.Options{Log: log})
	show, end := newCounter(cmd.ErrOrStderr(), "objects and rows checked")
	logged := time.Now()
	report, err := reg.Scrub(cmd.Context(), s.objects, s.rows, registry.ScrubOptions{
		Hash: f.hash, After: f.after, Rate: f.rate * 1_000_000, Repair: f.repair,
		Progress: func(r registry.Scrubbed) {
			show(r.Objects + r.Rows)
			if f.hash && r.After != "" && time.Since(logged) >= time.Minute { // for a process that is killed
				logged = time.Now()
				log.Info("scrub", "hashed", r.Hashed, "bytes", r.Read, "findings", len(r.Findings), "after", r.After)
			}
		},
	})
	end()
	if writeErr := writeScrub(cmd.OutOrStdout(), report, f); err == nil && writeErr != nil {
		err = fmt.Errorf("write the report: %w", writeErr)
	}
	switch {
	case err != nil && report.After != "":
		return status2{fmt.Errorf("%w; to continue, add --after %s", err, report.After)}
	case err != nil:
		return status2{err}
	case !report.Clean():
		return errScrub
	}
	return nil
}

func writeScrub(w io.Writer, r registry.Scrubbed, f scrubFlags) error {
	if f.json {
		return writeJSON(w, struct {
			OK bool `json:"ok"`
			registry.Scrubbed
		}{r.Clean(), r})
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, found := range r.Findings {
		fmt.Fprintf(t, "%s\t%s\t%s\n", found.Problem, describeFinding(found), describeRepair(found, f.repair))
	}
	for _, image := range r.Images {
		fmt.Fprintf(t, "broken\t%s@%s %s\tpush it again\n", image.Repository, image.Digest, tagList(image.Tags))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d objects (%d bytes) and %d rows checked, %d objects (%d bytes) read: %d findings, %d broken images\n",
		r.Objects, r.Bytes, r.Rows, r.Hashed, r.Read, len(r.Findings), len(r.Images))
	return err
}

func tagList(tags []string) string {
	if len(tags) == 0 {
		return "(no tag)"
	}
	return "(" + strings.Join(tags, ", ") + ")"
}

// describeFinding says what a finding is about.
func describeFinding(f registry.Finding) string {
	object := fmt.Sprintf("blobs/%s", f.Key)
	switch f.Problem {
	case registry.Orphan:
		text := fmt.Sprintf("%s: no row refers to it; %d bytes, stored %s", object, f.Size, f.Modified.Format(time.RFC3339))
		for _, more := range []string{string(f.Digest), f.Contains, f.Created} {
			if more != "" {
				text += ", " + more
			}
		}
		return text
	case registry.Lost:
		return fmt.Sprintf("%s: the object of %s does not exist", object, f.Digest)
	case registry.WrongSize:
		return fmt.Sprintf("%s: the object of %s has %d bytes instead of %d", object, f.Digest, f.Size, f.Expected)
	case registry.Damaged:
		return fmt.Sprintf("%s: the object of %s has other bytes, or a Content-Encoding", object, f.Digest)
	case registry.DeadKey:
		return fmt.Sprintf("%s: the content key of %s has no live row", object, f.Digest)
	case registry.Unnamed:
		return object + ": no blob or manifest has this live content key"
	case registry.WrongLink:
		return fmt.Sprintf("%s: the link to %s does not fit its blob", f.Repository, f.Digest)
	case registry.Missing:
		return fmt.Sprintf("%s: the manifest %s refers to %s, which the repository does not have", f.Repository, f.Manifest, f.Digest)
	case registry.NoContent:
		return fmt.Sprintf("%s: the manifest %s lacks a part of its rows", f.Repository, f.Digest)
	case registry.NoTarget:
		return fmt.Sprintf("%s:%s: the tag points at %s, which does not exist", f.Repository, f.Tag, f.Digest)
	}
	return ""
}

// describeRepair says what a repair has done, or would do.
func describeRepair(f registry.Finding, repaired bool) string {
	switch {
	case f.Repair == registry.RepairDone && (f.Problem == registry.Orphan || f.Problem == registry.Unnamed):
		return "the next sweep deletes it"
	case f.Repair == registry.RepairDone:
		return "repaired"
	case f.Repair == registry.RepairPush:
		return "removed: a push sends it again"
	case f.Problem == registry.Missing || f.Problem == registry.NoTarget:
		return "push it again"
	case f.Problem == registry.Orphan && repaired:
		return "kept: it is younger than 8 days"
	case repaired:
		return "not repaired: it has changed meanwhile"
	}
	return "--repair mends it"
}
