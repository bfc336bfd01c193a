package main

import (
	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/client/images"
)

const pullHelp = `Pull copies an image from a registry to the Docker daemon, or to DESTINATION:

` + transportsHelp + `
Of an image for several platforms, the daemon gets the one it runs on, a Docker
archive that of this machine, and a layout all; --platform selects one.

Digests stay the same, except in Docker's classic image store, which has no
manifests. 'docker info' shows driver-type io.containerd.snapshotter.v1 for the
store that keeps them, the default of new installations of Docker 29.
` + credentialsHelp + `
The last line on standard output is NAME:TAG@DIGEST, or NAME:TAG if the daemon
does not keep the digest.` + copyExitHelp

const pullExample = `  pierless pull registry.example.com/team/app:1
  pierless pull registry.example.com/team/app:1 oci:./layout
  pierless pull --platform linux/arm64 registry.example.com/app:1 oci:./arm64`

func newPull(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "pull [flags] IMAGE [DESTINATION]", Short: "Pull an image into the Docker daemon, a layout or an archive",
		Long: pullHelp, Example: pullExample,
	}
	return copying(cmd, getenv, 1, pullPlaces)
}

// pullPlaces reads the arguments of pull.
func pullPlaces(args []string) (from, to images.Place, err error) {
	if from, err = images.ParsePlace(args[0], images.InRegistry); err != nil {
		return from, to, err
	}
	to = images.Place{Kind: images.DockerDaemon, Name: from.Name}
	if len(args) == 2 {
		to, err = images.ParsePlace(args[1], images.DockerDaemon)
	}
	return from, named(to, from), err
}
