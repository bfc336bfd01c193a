package images

import (
	"context"
	"fmt"
	"time"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// defaultJobs is the default of Options.Jobs.
const defaultJobs = 4

// Options of Copy. The zero value is ready for use.
type Options struct {
	// Jobs limits how many layers are copied concurrently; 0: 4.
	Jobs int
	// Platform selects one image of an index; nil: all of them, if the destination can hold
	// more than one.
	Platform *Platform
	// Referrers also copies referrers of the image: signatures, SBOMs. Only registries and
	// layouts can be the source.
	Referrers bool
	// Observer, if non-nil, observes the copy.
	Observer Observer
}

// Observer observes a copy. Its methods are called concurrently.
type Observer interface {
	// Begin is called at the beginning of a stage of size bytes; 0 if the size is unknown.
	// advance is called with the bytes, negative ones if an attempt failed; end is called last.
	Begin(stage Stage, what string, size int64) (advance func(delta int64), end func())
	// Done is called when a blob is at the destination.
	Done(l Layer)
	// Note is called with information for the user.
	Note(text string)
}

// Stage is a step in the copy of a layer.
type Stage string

// The stages of a layer. Most layers have one.
const (
	Compressing Stage = "compressing"
	Fetching    Stage = "fetching" // into a file, before it is sent
	Sending     Stage = "sending"
)

// Source is an image to copy.
type Source interface {
	// send hands over every blob and every manifest of the image, children before parents,
	// and returns the root manifest.
	send(ctx context.Context, t *transfer) (client.Manifest, error)
	// Close releases files and connections.
	Close() error
}

// Destination receives an image. It is not visible before finish.
type Destination interface {
	// limits returns which parts of an image the destination accepts. It is called once, first.
	limits(ctx context.Context) (limits, error)
	// hasImage reports whether the destination has an image manifest. Its blobs are then
	// assumed to be there.
	hasImage(ctx context.Context, d oci.Descriptor) (bool, error)
	// putBlob is called concurrently, once per digest.
	putBlob(ctx context.Context, b Blob, progress func(delta int64)) (client.PushResult, error)
	// putManifest is called after everything that the manifest names was put.
	putManifest(ctx context.Context, m client.Manifest) error
	// putTag adds a tag to a manifest that was put.
	putTag(ctx context.Context, tag string, m client.Manifest) error
	// finish names the image and returns its name. Like putManifest it may be called again
	// after MANIFEST_BLOB_UNKNOWN.
	finish(ctx context.Context, root client.Manifest) (named, error)
	// Close drops everything that was not finished.
	Close() error
}

// limits are the parts of an image that a destination accepts. The zero value is all of it.
type limits struct {
	// platform is the only one that Docker accepts, which stores no referrers either; nil:
	// all images of an index.
	platform *Platform
	// sparse is set if the index of that image is kept too, without its other images.
	sparse bool
}

// named is the name of an image at a destination.
type named struct {
	name string
	// imageID is set if the destination keeps no manifests, and so no digests.
	imageID oci.Digest
}

// Result is the result of Copy.
type Result struct {
	Name      string     `json:"name"` // of the image at the destination, without its digest
	Digest    oci.Digest `json:"digest"`
	MediaType string     `json:"mediaType"`
	// ImageID is set if the destination is Docker's classic store, which keeps no
	// manifest: Digest is then that of the source only.
	ImageID oci.Digest `json:"imageId,omitempty"`
	Size    int64      `json:"size"` // of all blobs, in bytes
	Sent    int64      `json:"sent"` // in bytes, including failed attempts
	Seconds float64    `json:"seconds"`
	Layers  []Layer    `json:"layers"` // and configs, in the order of completion
}

// Layer is the result for one blob.
type Layer struct {
	Digest    oci.Digest        `json:"digest"`
	MediaType string            `json:"mediaType"`
	Size      int64             `json:"size"` // in bytes
	Method    client.PushMethod `json:"how"`
	Sent      int64             `json:"sent"` // bytes
	Seconds   float64           `json:"seconds"`
}

// Copy copies an image: layers concurrently and only those that the destination lacks, each
// manifest after everything that it names, the name last. The first failure of a layer ends
// the copy; its error names the layer. The image is then not visible at the destination, and
// repeating the copy continues it.
func Copy(ctx context.Context, from Source, to Destination, opts Options) (Result, error) {
	started := time.Now()
	takes, err := to.limits(ctx)
	if err != nil {
		return Result{}, err
	}
	t := newTransfer(ctx, to, takes, opts)
	defer t.stop()
	root, err := from.send(t.ctx, t)
	// A failing source cancels the layer transfers; a failing transfer cancels the source.
	// Report whichever came first.
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
