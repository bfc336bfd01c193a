package images

import (
	"context"
	"io"
)

// Daemon is a Docker daemon, as a command reaches it.
type Daemon interface {
	// Save returns the archive of docker save of one image; p is nil, or the platform
	// that is wanted of an image for several.
	Save(ctx context.Context, name string, p *Platform) (io.ReadCloser, error)
	// Load reads an archive to its end, as docker load, and reports what went wrong.
	Load(ctx context.Context, archive io.Reader) error
	// Platform is what the daemon runs.
	Platform(ctx context.Context) (Platform, error)
}
