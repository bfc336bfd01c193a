package main

import (
	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/client/images"
)

func newPull(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "pull [flags] IMAGE [DESTINATION]", Short: "Pull an image into Docker, a layout or an archive",
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
