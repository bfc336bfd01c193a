package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/verify"
)

const verifyHelp = `Verify tells whether a registry, this one or any other, keeps the OCI distribution
spec and the promises that real clients rely on. It pushes, pulls, lists and deletes
in repositories of its own, which it takes away at the end as far as the registry
lets it.

A rule is a MUST, a SHOULD or a MAY. For each one that is broken the report has the
request, the answer, what was expected and the section of the spec. What the spec
lets a registry leave out is listed as not offered.

Groups: pull, push, discovery, management, clients (what docker, podman, containerd
and others rely on beyond the spec), hostile (wrong and malicious input), concurrency.

The exit status is 0 if every MUST was seen to be kept, 1 if not, and 2 if nothing
could be verified: no answer, wrong credentials, wrong flags.`

const verifyExample = `  pierless verify http://127.0.0.1:5000
  pierless verify --group pull,push --all https://registry.example.com
  pierless verify --only 'blob-*' --json 127.0.0.1:5000
  echo "$TOKEN" | pierless verify --username me --password-stdin https://registry.example.com
  pierless verify --list`

// verifyFlags are the flags of verify.
type verifyFlags struct {
	verify.Options
	credentials
	groups    []string
	list, all bool
	json      bool
	junit     string
}

func newVerify(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify [flags] URL", Short: "Tell whether a registry keeps the OCI spec and its clients' promises",
		Long: verifyHelp, Example: verifyExample,
	}
	var f verifyFlags
	flags := cmd.Flags()
	f.addFlags(cmd, getenv)
	flags.StringSliceVar(&f.groups, "group", nil, "run these groups only")
	flags.StringSliceVar(&f.Only, "only", nil, "run these cases only: an ID, or a pattern such as 'blob-*'")
	flags.BoolVar(&f.list, "list", false, "list the cases instead of running them")
	flags.BoolVar(&f.all, "all", false, "show every case in the report, not only those that did not pass")
	flags.BoolVar(&f.json, "json", false, "write the report as JSON")
	flags.StringVar(&f.junit, "junit", "", "also write the report to this file as JUnit XML")
	flags.IntVar(&f.Parallel, "parallel", 4, "cases at once")
	flags.Int64Var(&f.MaxBody, "max-body", 0, "largest request body that the registry takes, in bytes: cases that need more expect 413; 0: no limit")
	flags.StringVar(&f.Repositories, "repositories", "", "put the cases' repositories under this name (default a new one for each run)")
	flags.BoolVar(&f.Keep, "keep", false, "leave in the registry what the cases put there")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return unverified{err} })
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if f.list {
			return nil
		}
		if err := cobra.ExactArgs(1)(cmd, args); err != nil {
			return unverified{errors.New("give the address of one registry, for example http://127.0.0.1:5000")}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.list {
			return listCases(cmd.OutOrStdout())
		}
		f.URL = args[0]
		return runVerify(cmd, f)
	}
	return cmd
}

// unverified is an error that keeps verify from saying anything about a registry.
type unverified struct{ error }

func (unverified) ExitCode() int   { return 2 }
func (e unverified) Unwrap() error { return e.error }

var errNotVerified = errors.New("a MUST is not kept")

func listCases(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range verify.Cases() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.Group, c.Level, c.ID, c.Rule)
	}
	return t.Flush()
}

func runVerify(cmd *cobra.Command, f verifyFlags) error {
	for _, g := range f.groups {
		if !slices.Contains(verify.Groups(), verify.Group(g)) {
			return unverified{fmt.Errorf("there is no group %q: use some of %v", g, verify.Groups())}
		}
		f.Groups = append(f.Groups, verify.Group(g))
	}
	if err := f.read(cmd.InOrStdin()); err != nil {
		return unverified{err}
	}
	f.Username, f.Password = f.user, f.password
	report, err := verifyWithProgress(cmd.Context(), f.Options, cmd.ErrOrStderr())
	if err != nil {
		return unverified{err}
	}
	if err := f.write(report, cmd.OutOrStdout()); err != nil {
		return unverified{fmt.Errorf("write the report: %w", err)}
	}
	if !report.OK() {
		return errNotVerified
	}
	return nil
}

// write writes the report in the forms that the flags ask for.
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

// verifyWithProgress shows a bar where w is a terminal.
func verifyWithProgress(ctx context.Context, opts verify.Options, w io.Writer) (*verify.Report, error) {
	p := newProgress(w, "cases", "failed")
	opts.Progress = func(_, total int, r verify.Result) { p.step(total, r.Status == verify.Failed) }
	report, err := verify.Run(ctx, opts)
	p.end(err)
	return report, err
}
