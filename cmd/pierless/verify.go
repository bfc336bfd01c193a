package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/verify"
)

const verifyHelp = `Verify tests a registry, Pierless or any other, against the OCI distribution spec and
the behaviour that real clients rely on. It pushes, pulls, lists and deletes in new
repositories with random names, and deletes them at the end, also after Ctrl-C: whole
repositories in Pierless, manifests, tags, blobs and uploads in other registries. The
report says what was removed, and what the registry refused to delete.

A requirement is a MUST, a SHOULD or a MAY. For each one that is not met, the report
has the request, the response, the expectation and the section of the spec. Features
that the spec lets a registry omit are listed as not offered.

Groups: pull, push, discovery, management, clients (requirements of docker, podman,
containerd and others beyond the spec), hostile (invalid and malicious input),
concurrency.

The exit status is 0 if every MUST is met, 1 if not, and 2 if the registry could not be
tested: no response, wrong credentials, wrong flags.`

const verifyExample = `  pierless verify http://127.0.0.1:5000
  pierless verify --group pull,push --all https://registry.example.com
  pierless verify --only 'blob-*' --json 127.0.0.1:5000
  echo "$TOKEN" | pierless verify --username me --password-stdin https://registry.example.com
  pierless verify --list`

// verifyFlags are the flags of verify.
type verifyFlags struct {
	verify.Options
	examination
	groups []string
	all    bool
	junit  string
}

func newVerify(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify [flags] URL", Short: "Test a registry against the OCI spec and real client behaviour",
		Long: verifyHelp, Example: verifyExample,
	}
	var f verifyFlags
	flags := cmd.Flags()
	flags.StringSliceVar(&f.groups, "group", nil, "run these groups only")
	flags.StringSliceVar(&f.Only, "only", nil, "run these cases only: an ID, or a pattern such as 'blob-*'")
	flags.BoolVar(&f.all, "all", false, "show every case in the report, also those that passed")
	flags.StringVar(&f.junit, "junit", "", "also write the report to this file as JUnit XML")
	flags.IntVar(&f.Parallel, "parallel", 4, "number of cases to run at once")
	flags.Int64Var(&f.MaxBody, "max-body", 0, "the registry's limit for request bodies, in bytes: cases that need more expect 413; 0: no limit")
	flags.StringVar(&f.Repositories, "repositories", "", "path below which each run creates its repositories (default pierless-verify)")
	flags.BoolVar(&f.Keep, "keep", false, "do not delete the content of the cases, to examine it")
	return f.examines(cmd, getenv, "cases", listCases, func(url string) error {
		f.URL, f.Username, f.Password = url, f.user, f.password
		return runVerify(cmd, f)
	})
}

var errNotVerified = errors.New("a MUST is not met")

func listCases(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range verify.Cases() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.Group, c.Level, c.ID, c.Requirement)
	}
	return t.Flush()
}

func runVerify(cmd *cobra.Command, f verifyFlags) error {
	for _, g := range f.groups {
		if !slices.Contains(verify.Groups(), verify.Group(g)) {
			return status2{fmt.Errorf("there is no group %q: use %v", g, verify.Groups())}
		}
		f.Groups = append(f.Groups, verify.Group(g))
	}
	shown := newProgress(cmd.ErrOrStderr(), "cases", "failed")
	f.Progress = shown.step
	f.CleaningUp = func(done, total int) {
		if done == 1 { // all cases have ended
			shown.end(nil)
			shown = newProgress(cmd.ErrOrStderr(), "repositories cleaned up", "")
		}
		shown.advance(total)
	}
	report, err := verify.Run(cmd.Context(), f.Options)
	shown.end(err)
	if err != nil {
		return stopped(cmd, report, err)
	}
	if err := f.write(report, cmd.OutOrStdout()); err != nil {
		return status2{fmt.Errorf("write the report: %w", err)}
	}
	if !report.OK() {
		return errNotVerified
	}
	return nil
}

// write writes the report in the formats that the flags select.
func (f verifyFlags) write(report *verify.Report, w io.Writer) error {
	if f.junit != "" {
		file, err := os.Create(f.junit)
		if err != nil {
			return err
		}
		err = report.WriteJUnit(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	if f.json {
		return report.WriteJSON(w)
	}
	return report.WriteText(w, f.all)
}
