package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/client/images"
)

func newPush(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "push [flags] IMAGE [DESTINATION]", Short: "Push an image of any size to a registry"}
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
		return from, to, errors.New("the destination is missing: pierless push " + args[0] + " HOST/NAME:TAG")
	}
	to = images.Reference{Transport: images.InRegistry, Name: from.Name}
	if !from.Name.HasHost {
		err = fmt.Errorf("%s has no registry host: pierless push %s HOST/%s", from.Name, args[0], from.Name)
	}
	return from, to, err
}
