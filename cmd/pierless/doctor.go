package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/verify/doctor"
)

const doctorHelp = `Doctor examines a deployed registry from outside: what is in front of it (API
Gateway, perhaps CloudFront), the functions, and the store that pulls are sent to. For
each thing that differs between deployments and that clients depend on, it says what
it saw, who breaks, and what to set. 'pierless verify' tells whether a registry keeps
the spec; doctor tells why a deployment does not.

It needs the credentials that you push with. It pushes into a repository of its own,
pierless-doctor/<random>, sends some 33 MB to find the limit of request bodies, and
deletes what it pushed. Run it from where your clients are: doctor sees the store's
host as they do.

Behind a host name of your own, give --api-endpoint the address that API Gateway made:
it must be closed.

The exit status is 0 if everything is right, 1 if something is wrong, and 2 if
something could not be seen: no answer, wrong credentials, wrong flags.`

const doctorExample = `  echo "$TOKEN" | pierless doctor --username admin --password-stdin https://registry.example.com
  PIERLESS_PASSWORD=$TOKEN pierless doctor --api-endpoint https://a1b2c3.execute-api.eu-central-1.amazonaws.com https://registry.example.com
  pierless doctor --only 'challenge*,head-*' --json registry.example.com
  pierless doctor --list`

// doctorFlags are the flags of doctor.
type doctorFlags struct {
	doctor.Options
	credentials
	list, json bool
}

func newDoctor(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor [flags] URL", Short: "Tell what is wrong with a deployed registry, and what to set",
		Long: doctorHelp, Example: doctorExample,
	}
	var f doctorFlags
	flags := cmd.Flags()
	f.addFlags(cmd, getenv)
	flags.StringVar(&f.APIEndpoint, "api-endpoint", "", "address that API Gateway gave the registry: it must be closed behind a host name of your own")
	flags.StringSliceVar(&f.Only, "only", nil, "run these checks only: an ID, or a pattern such as 'head-*'")
	flags.DurationVar(&f.MaxExpiry, "max-expiry", 0, "longest that a presigned URL may be good for (default 20m)")
	flags.BoolVar(&f.list, "list", false, "list the checks instead of running them")
	flags.BoolVar(&f.json, "json", false, "write the report as JSON")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return unverified{err} })
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if !f.list && len(args) != 1 {
			return unverified{errors.New("give the address of one registry, for example https://registry.example.com")}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if f.list {
			return listChecks(cmd.OutOrStdout())
		}
		f.URL = args[0]
		return runDoctor(cmd, f)
	}
	return cmd
}

var errWrong = errors.New("something is wrong with this registry")

func listChecks(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range doctor.Checks() {
		fmt.Fprintf(t, "%s\t%s\n", c.ID, c.Asks)
	}
	return t.Flush()
}

func runDoctor(cmd *cobra.Command, f doctorFlags) error {
	if err := f.read(cmd.InOrStdin()); err != nil {
		return unverified{err}
	}
	f.Username, f.Password = f.user, f.password
	report, err := doctorWithProgress(cmd.Context(), f.Options, cmd.ErrOrStderr())
	if err != nil {
		return unverified{err}
	}
	write := report.WriteText
	if f.json {
		write = report.WriteJSON
	}
	if err := write(cmd.OutOrStdout()); err != nil {
		return unverified{fmt.Errorf("write the report: %w", err)}
	}
	switch {
	case report.Count(doctor.Wrong) > 0:
		return errWrong
	case report.Count(doctor.Unknown) > 0:
		return unverified{errors.New("something could not be seen")}
	}
	return nil
}

// doctorWithProgress shows a bar where w is a terminal.
func doctorWithProgress(ctx context.Context, opts doctor.Options, w io.Writer) (*doctor.Report, error) {
	p := newProgress(w, "checks", "wrong")
	opts.Progress = func(_, total int, found doctor.Finding) { p.step(total, found.Verdict == doctor.Wrong) }
	report, err := doctor.Run(ctx, opts)
	p.end(err)
	return report, err
}
