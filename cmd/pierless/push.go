package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/client/images"
)

const pushHelp = `Push copies an image to a registry. The layers can have any size: they go
straight to the store of Pierless, and to other registries as these accept them.

IMAGE is a name in the Docker daemon (of DOCKER_HOST or docker's context), or a
source below; 'pierless copy' copies from registries.

` + transportsHelp + `
DESTINATION is HOST/NAME[:TAG]; the default is IMAGE. The registry shows the
image when it is complete. Layers that it has are not sent again, and repeating
an interrupted push continues it.
` + credentialsHelp + `
Layers that Docker stores uncompressed are compressed into files in TMPDIR
before they are sent, as many at a time as --jobs.

The last line on standard output is NAME:TAG@DIGEST.` + copyExitHelp

const pushExample = `  pierless push registry.example.com/team/app:1
  pierless push app:1 registry.example.com/team/app:1
  docker save app:1 | pierless push docker-archive:- registry.example.com/app:1
  pierless push --platform linux/arm64 oci:./layout registry.example.com/app:1
  pierless push self: registry.example.com/pierless:1
  echo "$TOKEN" |
    pierless push --username admin --password-stdin registry.example.com/app:1`

func newPush(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "push [flags] IMAGE [DESTINATION]", Short: "Push an image of any size to a registry",
		Long: pushHelp, Example: pushExample,
	}
	return copying(cmd, getenv, 1, pushPlaces)
}

// pushPlaces reads the arguments of push.
func pushPlaces(args []string) (from, to images.Place, err error) {
	if from, err = images.ParsePlace(args[0], images.DockerDaemon); err != nil {
		return from, to, err
	}
	if len(args) == 2 {
		to, err = images.ParsePlace(args[1], images.InRegistry)
		return from, to, err
	}
	if from.Name == (images.Name{}) {
		return from, to, errors.New("the destination is missing: pierless push " + args[0] + " HOST/NAME:TAG")
	}
	to = images.Place{Kind: images.InRegistry, Name: from.Name}
	if !from.Name.HasHost {
		err = fmt.Errorf("%s has no registry host: pierless push %s HOST/%s", from.Name, args[0], from.Name)
	}
	return from, to, err
}
