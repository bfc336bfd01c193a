package main

import (
	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/client/images"
)

const pullHelp = `Pull brings an image from a registry into the Docker daemon, or to PLACE:

` + placesHelp + `
Of an image for several platforms a daemon gets the one that it runs, an archive for
Docker the one of this machine, and a layout all; --platform chooses one.

Digests stay, except in Docker's classic image store, which keeps no manifests: 'docker
info' shows driver-type io.containerd.snapshotter.v1 for the store that keeps them, the
default of new installations of Docker 29.
` + credentialsHelp + `
The last line on standard output is NAME:TAG@DIGEST, or NAME:TAG if the daemon does not keep
the digest. ` + copyExitHelp

const pullExample = `  pierless pull registry.example.com/team/app:1
  pierless pull registry.example.com/team/app:1 oci:./layout
  pierless pull --platform linux/arm64 registry.example.com/team/app:1 docker-archive:app.tar`

func newPull(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "pull [flags] REFERENCE [PLACE]", Short: "Pull an image into the Docker daemon, a layout or an archive",
		Long: pullHelp, Example: pullExample,
	}
	return copying(cmd, getenv, 1, pullPlaces)
}

// pullPlaces reads the arguments of pull.
func pullPlaces(args []string) (from, to images.Reference, err error) {
	if from, err = images.ParseReference(args[0], images.InRegistry); err != nil {
		return from, to, err
	}
	to = images.Reference{Transport: images.DockerDaemon, Name: from.Name}
	if len(args) == 2 {
		to, err = images.ParseReference(args[1], images.DockerDaemon)
	}
	return from, named(to, from), err
}
