package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/client/images"
)

const pushHelp = `Push sends an image to a registry, of any size: to Pierless the bytes go straight to
its store, to other registries as they want them.

IMAGE is a name in the Docker daemon (DOCKER_HOST, or docker's context), as docker push
takes it, or a place ('pierless copy' is for other registries):

` + placesHelp + `
DESTINATION is HOST/NAME[:TAG]; without it, IMAGE itself says where. Nothing shows in
the registry before all of the image is there. What is there already is not sent; the
same command again goes on where the last one was stopped.
` + credentialsHelp + `
Layers that Docker keeps uncompressed are compressed into a file in TMPDIR, and from
there sent: it needs room for --jobs of them.

The last line on standard output is NAME:TAG@DIGEST. ` + copyExitHelp

const pushExample = `  pierless push registry.example.com/team/app:1
  pierless push app:1 registry.example.com/team/app:1
  docker save app:1 | pierless push docker-archive:- registry.example.com/team/app:1
  pierless push --platform linux/arm64 oci:./layout registry.example.com/team/app:1
  pierless push self: registry.example.com/pierless:1
  echo "$TOKEN" | pierless push --username admin --password-stdin --json registry.example.com/team/app:1`

func newPush(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "push [flags] IMAGE [DESTINATION]", Short: "Push an image of any size to a registry",
		Long: pushHelp, Example: pushExample,
	}
	return copying(cmd, getenv, 1, pushPlaces)
}

// pushPlaces reads the arguments of push.
func pushPlaces(args []string) (from, to images.Reference, err error) {
	if from, err = images.ParseReference(args[0], images.DockerDaemon); err != nil {
		return from, to, err
	}
	if len(args) == 2 {
		to, err = images.ParseReference(args[1], images.InRegistry)
		return from, to, err
	}
	if from.Name == (images.Name{}) {
		return from, to, errors.New("say where to push it: pierless push " + args[0] + " HOST/NAME:TAG")
	}
	to = images.Reference{Transport: images.InRegistry, Name: from.Name}
	if !from.Name.HasHost {
		err = fmt.Errorf("%s names no registry: pierless push %s HOST/%s", from.Name, args[0], from.Name)
	}
	return from, to, err
}
