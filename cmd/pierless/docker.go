package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pierless/pierless/pkg/client/images"
	"github.com/pierless/pierless/pkg/oci"
)

// daemon is the Docker daemon that the docker command would use.
type daemon struct{ api *client.Client }

func newDaemon(getenv func(string) string) (*daemon, error) {
	opts := []client.Opt{client.FromEnv}
	if getenv(client.EnvOverrideHost) == "" {
		current, err := currentContext(getenv)
		if err != nil {
			return nil, err
		}
		opts = append(opts, current...)
	}
	api, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("reach the Docker daemon: %w", err)
	}
	return &daemon{api}, nil
}

// Save returns the archive of an image, for one platform if p is not nil and the daemon can
// select it.
func (d *daemon) Save(ctx context.Context, name string, p *images.Platform) (io.ReadCloser, error) {
	// Some daemons answer with an empty archive if there is no such image.
	if _, err := d.api.ImageInspect(ctx, name); err != nil {
		if errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("the Docker daemon has no image %s: 'docker image ls' lists its images", name)
		}
		return nil, err
	}
	var opts []client.ImageSaveOption
	if p != nil && versions.GreaterThanOrEqualTo(d.api.ClientVersion(), "1.48") {
		opts = append(opts, client.ImageSaveWithPlatforms(ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}))
	}
	archive, err := d.api.ImageSave(ctx, []string{name}, opts...)
	if err != nil {
		return nil, fmt.Errorf("save %s from the Docker daemon: %w", name, err)
	}
	return archive, nil
}

// Load sends an archive to the daemon.
func (d *daemon) Load(ctx context.Context, archive io.Reader) error {
	answer, err := d.api.ImageLoad(ctx, archive)
	if err != nil {
		return fmt.Errorf("load the image into the Docker daemon: %w", err)
	}
	defer answer.Close()
	return loadError(answer)
}

// loadError returns the error among the messages of a load: its status is always 200.
func loadError(messages io.Reader) error {
	for d := json.NewDecoder(messages); ; {
		var m struct {
			Error       string `json:"error"`
			ErrorDetail struct {
				Message string `json:"message"`
			} `json:"errorDetail"`
		}
		err := d.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the Docker daemon's answer: %w", err)
		case m.Error != "":
			return fmt.Errorf("the Docker daemon rejects the image: %s", m.Error)
		case m.ErrorDetail.Message != "":
			return fmt.Errorf("the Docker daemon rejects the image: %s", m.ErrorDetail.Message)
		}
	}
}

// containerdStore is the driver type of the image store that keeps manifests.
const containerdStore = "io.containerd.snapshotter.v1"

// Info returns the daemon's platform and the abilities of its image store.
func (d *daemon) Info(ctx context.Context) (images.DaemonInfo, error) {
	v, err := d.api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return images.DaemonInfo{}, err
	}
	i, err := d.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return images.DaemonInfo{}, fmt.Errorf("read the image store of the Docker daemon: %w", err)
	}
	return images.DaemonInfo{
		Platform:       images.Platform{OS: v.Os, Architecture: v.Arch},
		KeepsManifests: slices.Contains(i.Info.DriverStatus, [2]string{"driver-type", containerdStore}),
		SparseIndexes:  versions.GreaterThanOrEqualTo(v.APIVersion, "1.44"), // Docker 25
	}, nil
}

// ImageID returns the ID of an image.
func (d *daemon) ImageID(ctx context.Context, name string) (oci.Digest, error) {
	image, err := d.api.ImageInspect(ctx, name)
	if err != nil {
		return "", fmt.Errorf("read the loaded image from the Docker daemon: %w", err)
	}
	return oci.ParseDigest(image.ID)
}
