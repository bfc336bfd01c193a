package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/verify"
	"github.com/pierless/pierless/pkg/verify/doctor"
)

const doctorHelp = `Doctor examines a deployed registry from the outside: API Gateway (and CloudFront, if
you use it), the functions, and the store that pulls are redirected to. It checks the
settings that differ between deployments and that clients depend on, and reports what
it observed, who is affected, and which setting to change. 'pierless verify' tests
whether a registry meets the spec; doctor explains why a deployment does not.

It needs credentials that can push. It pushes to a new repository,
pierless-doctor/<random>, sends about 34 MB to find the limit of request bodies, and
deletes the repository at the end, also after Ctrl-C. Run it on the network of your clients: doctor resolves
and reaches the store's host like they do.

If you use a custom domain, set --api-endpoint to the default endpoint of the API: doctor
checks that it is closed.

The exit status is 0 if all checks pass, 1 if one fails, and 2 if a check could not be
completed: no response, wrong credentials, wrong flags.`

const doctorExample = `  echo "$TOKEN" | pierless doctor --username admin --password-stdin https://registry.example.com
  PIERLESS_PASSWORD=$TOKEN pierless doctor --api-endpoint https://a1b2c3.execute-api.eu-central-1.amazonaws.com https://registry.example.com
  pierless doctor --only 'challenge*,head-*' --json registry.example.com
  pierless doctor --list`

// doctorFlags are the flags of doctor.
type doctorFlags struct {
	doctor.Options
	examination
}

func newDoctor(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor [flags] URL", Short: "Find wrong settings of a deployed registry",
		Long: doctorHelp, Example: doctorExample,
	}
	var f doctorFlags
	flags := cmd.Flags()
	flags.StringVar(&f.APIEndpoint, "api-endpoint", "", "default endpoint of the API, which must be closed if you use a custom domain")
	flags.StringSliceVar(&f.Only, "only", nil, "run these checks only: an ID, or a pattern such as 'head-*'")
	flags.BoolVar(&f.Keep, "keep", false, "do not delete the pushed content, to examine it")
	flags.DurationVar(&f.MaxExpiry, "max-expiry", 0, "longest allowed lifetime of presigned URLs (default 20m)")
	return f.examines(cmd, getenv, "checks", listChecks, func(url string) error {
		f.URL, f.Username, f.Password = url, f.user, f.password
		return runDoctor(cmd, f)
	})
}

var errWrong = errors.New("this deployment has faults")

func listChecks(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range doctor.Checks() {
		fmt.Fprintf(t, "%s\t%s\n", c.ID, c.Requirement)
	}
	return t.Flush()
}

func runDoctor(cmd *cobra.Command, f doctorFlags) error {
	shown := newProgress(cmd.ErrOrStderr(), "checks", "wrong")
	f.Progress = shown.step
	report, err := doctor.Run(cmd.Context(), f.Options)
	shown.end(err)
	if err != nil {
		return stopped(cmd, report, err)
	}
	write := doctor.WriteText
	if f.json {
		write = doctor.WriteJSON
	}
	if err := write(cmd.OutOrStdout(), report); err != nil {
		return status2{fmt.Errorf("write the report: %w", err)}
	}
	switch {
	case report.Count(verify.Failed) > 0:
		return errWrong
	case report.Count(verify.Skipped) > 0:
		return status2{errors.New("some checks could not be completed")}
	}
	return nil
}
