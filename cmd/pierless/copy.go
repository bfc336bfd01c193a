package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/client/images"
)

func newCopy(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "copy [flags] SOURCE DESTINATION", Short: "Copy images between registries, layouts, archives, Docker",
	}
	return copying(cmd, getenv, 2, func(args []string) (from, to images.Reference, err error) {
		if from, err = images.ParseReference(args[0], images.InRegistry); err != nil {
			return from, to, err
		}
		to, err = images.ParseReference(args[1], images.InRegistry)
		return from, named(to, from), err
	})
}

// copyFlags are the flags of push, pull and copy.
type copyFlags struct {
	images.Options
	credentials
	plainHTTP, parts bool
	internalHosts    []string
	json, quiet      bool
}

// copying adds the flags and the code of push, pull and copy to cmd. The command takes from
// least to two arguments, which places parses.
func copying(cmd *cobra.Command, getenv func(string) string, least int, places func(args []string) (from, to images.Reference, err error)) *cobra.Command {
	var f copyFlags
	flags := cmd.Flags()
	f.addFlags(cmd, getenv)
	flags.Func("platform", "copy only the image for this `platform`: os/architecture[/variant]", f.setPlatform)
	flags.IntVarP(&f.Jobs, "jobs", "j", 4, "`number` of layers to copy at a time")
	flags.BoolVar(&f.Referrers, "referrers", false,
		"also copy signatures, SBOMs and other referrers, and cosign's tags (from registries and layouts, not to Docker)")
	flags.BoolVar(&f.parts, "parts", false,
		"send layers above 4 MiB in parts, so that an interrupted push resumes within them; layers above 5 GiB always are")
	addInternalHosts(cmd, &f.internalHosts)
	flags.BoolVar(&f.plainHTTP, "plain-http", false, "use http for registries")
	flags.BoolVar(&f.json, "json", false, "write the result as JSON")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return status2{err} })
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > 2 {
			return status2{fmt.Errorf("%d arguments are the wrong number: %s", len(args), cmd.UseLine())}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, to, err := places(args)
		if err == nil {
			err = f.check(from, to)
		}
		if err == nil {
			err = f.read(cmd.InOrStdin())
		}
		if err != nil {
			return status2{err}
		}
		return f.run(cmd, getenv, from, to)
	}
	return cmd
}

// named returns a destination without a name under the name of the source.
func named(to, from images.Reference) images.Reference {
	switch {
	case (to.Transport == images.OCILayout || to.Transport == images.OCIArchive) && to.Selector.Tag == "" && to.Selector.Digest == "":
		to.Selector.Tag = from.Name.Tag + from.Selector.Tag // one of them is empty
	case to.Transport == images.DockerArchive && to.Name == (images.Name{}):
		to.Name = from.Name
	}
	return to
}

// check returns the error for a combination that cannot work.
func (f copyFlags) check(from, to images.Reference) error {
	switch {
	case f.Jobs < 1:
		return errors.New("--jobs must be at least 1")
	case to.Transport == images.SelfImage:
		return errors.New("self: cannot be the destination")
	case to.Path == "-":
		return errors.New("standard output cannot be the destination: name a file")
	case to.Transport == images.InRegistry && !to.Name.HasHost:
		return fmt.Errorf("%s has no registry host: use HOST/%s, or docker.io/NAME for Docker Hub", to.Name, to.Name)
	case to.Selector.Digest != "":
		return errors.New("the destination cannot have a digest: use a tag or nothing")
	case from.Path == "-" && f.fromStdin:
		return errors.New("standard input cannot be both the image and the password: set PIERLESS_PASSWORD")
	}
	return f.credentials.check()
}

// setPlatform parses the flag for the platform; an empty one selects none.
func (f *copyFlags) setPlatform(s string) error {
	if s == "" {
		f.Platform = nil
		return nil
	}
	p, err := images.ParsePlatform(s)
	f.Platform = &p
	return err
}

// run copies the image and writes the result.
func (f copyFlags) run(cmd *cobra.Command, getenv func(string) string, from, to images.Reference) (err error) {
	shown := f.observer(cmd.ErrOrStderr())
	ends, err := f.open(cmd, getenv, shown, from, to)
	if err != nil {
		shown.end()
		return advised(err)
	}
	defer func() { err = errors.Join(err, ends.Close()) }()
	f.Observer = shown
	result, err := images.Copy(cmd.Context(), ends.from, ends.to, f.Options)
	shown.end()
	if err != nil {
		return interrupted(cmd.Context(), advised(err))
	}
	return f.report(cmd.OutOrStdout(), result)
}

// interrupted adds to an error how to continue after Ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: the destination does not show the image; repeat the command to continue", err)
}
