package images

import (
	"context"
	"fmt"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// defaultJobs is how many layers are under way at once.
const defaultJobs = 4

// Options of Copy. The zero value is ready for use.
type Options struct {
	// Jobs is how many layers are sent at once; 0: 4.
	Jobs int
	// Platform picks one image of an index; nil: all of them, where the destination
	// holds more than one.
	Platform *Platform
	// Referrers copies what refers to the image as well: signatures, SBOMs. Sources
	// are registries and layouts.
	Referrers bool
	// Observer is told how it goes; nil: nobody.
	Observer Observer
}

// Observer is told how a copy goes. Its methods are called concurrently.
type Observer interface {
	// Begin tells that a stage of size bytes begins; of 0, if the size is not known
	// yet. advance is told the bytes, negative ones when a try is thrown away; end
	// comes last.
	Begin(stage Stage, what string, size int64) (advance func(delta int64), end func())
	// Done tells that a blob is at the destination.
	Done(l Layer)
	// Note tells what the user should know.
	Note(text string)
}

// Stage is what is being done to a layer.
type Stage string

// The stages of a layer. Most have one.
const (
	Compressing Stage = "compressing"
	Fetching    Stage = "fetching" // into a file, to send it from there
	Sending     Stage = "sending"
)

// Source is a place to read an image from.
type Source interface {
	// send hands over every blob and every manifest of the image, children before
	// parents, and returns the one that names all.
	send(ctx context.Context, t *transfer) (client.Manifest, error)
	// Close lets go of files and connections.
	Close() error
}

// Destination is a place to write an image to. Nothing of it shows before finish.
type Destination interface {
	// limits is what the place takes of an image. It is called once, before all others.
	limits(ctx context.Context) (limits, error)
	// hasImage reports whether an image manifest is there. Its blobs are not asked for then.
	hasImage(ctx context.Context, d oci.Descriptor) (bool, error)
	// putBlob is called concurrently, once per digest.
	putBlob(ctx context.Context, b Blob, progress func(delta int64)) (client.PushResult, error)
	// putManifest is called when everything that the manifest names is there.
	putManifest(ctx context.Context, m client.Manifest) error
	// putTag gives a tag to a manifest that putManifest has put.
	putTag(ctx context.Context, tag string, m client.Manifest) error
	// finish gives the image its name, and returns it. Like putManifest it may be called
	// again after MANIFEST_BLOB_UNKNOWN.
	finish(ctx context.Context, root client.Manifest) (named, error)
	// Close drops what was not finished.
	Close() error
}

// limits is what a destination takes of an image. The zero value is all of it.
type limits struct {
	// platform is the one that Docker's places take, which keep no referrers either;
	// nil: all of an index.
	platform *Platform
	// sparse is whether the index of that image is kept too, without its other images.
	sparse bool
}

// named is how an image is known at a destination.
type named struct {
	name string
	// imageID is set if the destination keeps no manifests, and so no digests.
	imageID oci.Digest
}

// Result is what Copy has done.
type Result struct {
	Name      string     `json:"name"` // of the image at the destination, without its digest
	Digest    oci.Digest `json:"digest"`
	MediaType string     `json:"mediaType"`
	// ImageID is set if the destination is Docker's classic store, which keeps no
	// manifest: Digest is then that of the source alone.
	ImageID oci.Digest `json:"imageId,omitempty"`
	Size    int64      `json:"size"` // of all blobs, in bytes
	Sent    int64      `json:"sent"` // bytes, tries that failed included
	Seconds float64    `json:"seconds"`
	Layers  []Layer    `json:"layers"` // and configs, in the order they were done
}

// Layer is what became of a blob.
type Layer struct {
	Digest    oci.Digest        `json:"digest"`
	MediaType string            `json:"mediaType"`
	Size      int64             `json:"size"` // in bytes
	Method    client.PushMethod `json:"how"`
	Sent      int64             `json:"sent"` // bytes
	Seconds   float64           `json:"seconds"`
}

// LayerError is the failure of one blob; nothing of the image shows at the destination.
type LayerError struct {
	Digest oci.Digest
	Err    error
}

// Error names the blob.
func (e *LayerError) Error() string { return fmt.Sprintf("layer %s: %v", e.Digest, e.Err) }

// Unwrap returns the cause.
func (e *LayerError) Unwrap() error { return e.Err }

// Copy copies an image: layers in parallel, what the destination has not at all,
// manifests when all that they name is there, the name last. A layer that fails ends
// the copy, with a *LayerError. The same copy again does what is left.
func Copy(ctx context.Context, from Source, to Destination, opts Options) (Result, error) {
	started := time.Now()
	takes, err := to.limits(ctx)
	if err != nil {
		return Result{}, err
	}
	t := newTransfer(ctx, to, takes, opts)
	defer t.stop()
	root, err := from.send(t.ctx, t)
	// The first failure is the cause of those after it: a source that failed by itself
	// ends the layers, and else one of them has ended the source.
	sourceFailed := err != nil && t.ctx.Err() == nil
	if sourceFailed {
		t.stop()
	}
	if failed := t.group.Wait(); failed != nil && !sourceFailed {
		err = failed
	}
	if err != nil {
		return Result{}, t.cause(ctx, err)
	}
	if err := t.putManifests(ctx, root); err != nil {
		return Result{}, t.cause(ctx, err)
	}
	var known named
	err = t.repairing(ctx, root, func() (err error) {
		known, err = to.finish(ctx, root)
		return err
	})
	if err != nil {
		return Result{}, t.cause(ctx, err)
	}
	if known.imageID != "" {
		t.opts.Observer.Note(fmt.Sprintf("the Docker daemon did not keep the manifest, whose digest at the source is %s: "+
			"the image's ID in the daemon is %s", root.Digest, known.imageID))
	}
	r := t.result
	r.Name, r.ImageID, r.Digest, r.MediaType = known.name, known.imageID, root.Digest, root.MediaType
	r.Seconds = time.Since(started).Seconds()
	return r, nil
}
