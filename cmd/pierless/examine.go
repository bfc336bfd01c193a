package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/verify"
)

// stopped returns the error of a run, and says what the run left in the registry. report is nil if
// it did not begin.
func stopped(cmd *cobra.Command, report *verify.Report, err error) error {
	if report != nil {
		err = errors.Join(err, report.CleanUp.WriteText(cmd.ErrOrStderr()))
	}
	return status2{err}
}

// examination holds the flags that verify and doctor share.
type examination struct {
	credentials
	list, json bool
}

// examines adds these flags, and the argument of a command that runs cases or checks. list
// writes their list, run gets the address of the registry.
func (e *examination) examines(
	cmd *cobra.Command, getenv func(string) string, things string, list func(io.Writer) error, run func(url string) error,
) *cobra.Command {
	e.addFlags(cmd, getenv)
	cmd.Flags().BoolVar(&e.list, "list", false, "list the "+things+" instead of running them")
	cmd.Flags().BoolVar(&e.json, "json", false, "write the report as JSON")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return status2{err} })
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if !e.list && len(args) != 1 {
			return status2{errors.New("give the address of one registry, for example https://registry.example.com")}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if e.list {
			return list(cmd.OutOrStdout())
		}
		if err := e.read(cmd.InOrStdin()); err != nil {
			return status2{err}
		}
		return run(args[0])
	}
	return cmd
}
