package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/client/images"
)

const (
	registryHelp = `  HOST/NAME[:TAG|@DIGEST]           a registry
`
	placesHelp = `  docker-daemon:NAME[:TAG]          the Docker daemon
  docker-archive:FILE[:NAME[:TAG]]  an archive of docker save; to read, also compressed,
                                    and - is standard input
  oci:DIR[:TAG|@DIGEST]             an OCI layout in a folder
  oci-archive:FILE[:TAG|@DIGEST]    an OCI layout in an archive
  self:[BINARY]                     to read: an image of pierless itself, which runs
                                    'pierless serve'; BINARY, else the one that runs,
                                    must be a static one for Linux
`
	credentialsHelp = `
Credentials are those of docker login, helpers included, or of podman login; a user
name given here, or in PIERLESS_USERNAME, goes before them. Registries on loopback
addresses are spoken to without TLS.
`
	copyExitHelp = `The exit status is 0 if
all of it is there, 1 if not, and 2 if the command makes no sense.`

	copyHelp = `Copy copies an image from one place to another:

` + registryHelp + placesHelp + `
Manifests and layers stay as they are, and so do digests, except in Docker's classic image
store: it keeps no manifests, and its uncompressed layers are compressed when they are
copied from there. An image for several platforms is copied whole, unless --platform
chooses one or the destination is Docker's. Inside one registry nothing is sent: layers
are mounted.

--referrers also copies signatures, SBOMs and all else that refers to the image, and what
cosign keeps under tags (.sig, .att, .sbom). In a registry without the referrers API they
are listed under the referrers tag, as the OCI spec asks of clients.
` + credentialsHelp + `
The last line on standard output is NAME:TAG@DIGEST, or NAME:TAG if the destination is
Docker's classic image store. ` + copyExitHelp

	copyExample = `  pierless copy docker.io/library/alpine:3 registry.example.com/alpine:3
  pierless copy --referrers old.example.com/app:1 registry.example.com/app:1
  pierless copy oci:./layout:1 docker-daemon:app:1
  pierless copy self:./bin/pierless oci:./gateway`
)

func newCopy(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "copy [flags] SOURCE DESTINATION", Short: "Copy an image between registries, layouts, archives and the daemon",
		Long: copyHelp, Example: copyExample,
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
	credentials
	platform             string
	jobs                 int
	referrers, plainHTTP bool
	parts                bool
	internalHosts        []string
	json, quiet          bool
}

// misuse is an error of the command line.
type misuse struct{ error }

func (misuse) ExitCode() int   { return 2 }
func (e misuse) Unwrap() error { return e.error }

// copying makes cmd one that copies between the places which its arguments, least of
// them or one more, are read as.
func copying(cmd *cobra.Command, getenv func(string) string, least int, places func(args []string) (from, to images.Reference, err error)) *cobra.Command {
	var f copyFlags
	flags := cmd.Flags()
	f.addFlags(cmd, getenv)
	flags.StringVar(&f.platform, "platform", "", "take the image for this os/architecture[/variant] only")
	flags.IntVarP(&f.jobs, "jobs", "j", 4, "layers at once")
	flags.BoolVar(&f.referrers, "referrers", false,
		"also copy signatures, SBOMs and all else that refers to the image, and cosign's tags (from registries and layouts, not to Docker)")
	flags.BoolVar(&f.parts, "parts", false, "send layers above 4 MiB to the store of Pierless in parts, so that a push that was killed goes on where it was; layers above 5 GiB come so anyway")
	addInternalHosts(cmd, &f.internalHosts)
	flags.BoolVar(&f.plainHTTP, "plain-http", false, "speak to registries without TLS")
	flags.BoolVar(&f.json, "json", false, "write one JSON document about what was done")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "say nothing on the way")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misuse{err} })
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > 2 {
			return misuse{fmt.Errorf("%d arguments make no sense here: %s", len(args), cmd.UseLine())}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, to, err := places(args)
		if err == nil {
			err = f.check(from, to)
		}
		var opts images.Options
		if err == nil {
			opts, err = f.options()
		}
		if err != nil {
			return misuse{err}
		}
		if err := f.read(cmd.InOrStdin()); err != nil {
			return misuse{err}
		}
		return f.run(cmd, getenv, from, to, opts)
	}
	return cmd
}

// named gives a destination that has no name the one of the source.
func named(to, from images.Reference) images.Reference {
	switch {
	case (to.Transport == images.OCILayout || to.Transport == images.OCIArchive) && to.Selector.Tag == "" && to.Selector.Digest == "":
		to.Selector.Tag = from.Name.Tag + from.Selector.Tag // one of them is empty
	case to.Transport == images.DockerArchive && to.Name == (images.Name{}):
		to.Name = from.Name
	}
	return to
}

// check refuses what makes no sense.
func (f copyFlags) check(from, to images.Reference) error {
	switch {
	case f.jobs < 1:
		return errors.New("--jobs must be at least 1")
	case to.Transport == images.SelfImage:
		return errors.New("self: is a source, no destination")
	case to.Path == "-":
		return errors.New("standard output is no destination: name a file")
	case to.Transport == images.InRegistry && !to.Name.HasHost:
		return fmt.Errorf("%s names no registry: say HOST/%s, and docker.io/NAME for Docker Hub", to.Name, to.Name)
	case to.Selector.Digest != "":
		return errors.New("the destination cannot be a digest: give a tag, or nothing")
	case f.user == "" && (f.password != "" || f.fromStdin):
		return errors.New("a password needs --username: any will do for a token of Pierless")
	case f.user != "" && f.password == "" && !f.fromStdin:
		return errors.New("--username needs a password: --password-stdin, or PIERLESS_PASSWORD")
	case from.Path == "-" && f.fromStdin:
		return errors.New("standard input cannot be both the image and the password: set PIERLESS_PASSWORD")
	}
	return nil
}

// options are what the flags say of the copy itself.
func (f copyFlags) options() (images.Options, error) {
	opts := images.Options{Jobs: f.jobs, Referrers: f.referrers}
	if f.platform == "" {
		return opts, nil
	}
	p, err := images.ParsePlatform(f.platform)
	opts.Platform = &p
	return opts, err
}

// run copies, and says what was done.
func (f copyFlags) run(cmd *cobra.Command, getenv func(string) string, from, to images.Reference, opts images.Options) (err error) {
	shown := f.observer(cmd.ErrOrStderr())
	ends, err := f.open(cmd, getenv, shown, from, to)
	if err != nil {
		shown.end()
		return advised(err)
	}
	defer func() { err = errors.Join(err, ends.Close()) }()
	opts.Observer = shown
	result, err := images.Copy(cmd.Context(), ends.from, ends.to, opts)
	shown.end()
	if err != nil {
		return interrupted(cmd.Context(), advised(err))
	}
	return f.report(cmd.OutOrStdout(), result)
}

// interrupted says what to do after Ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: the image does not show at the destination, and the same command again does what is left", err)
}
