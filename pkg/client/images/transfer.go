package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// hows of places that are no registries, beside those of client.
const (
	// Written is a blob that was written into a layout or an archive.
	Written client.PushMethod = "written"
	// Skipped is a blob that may not be distributed: it stays where its URLs say.
	Skipped client.PushMethod = "skipped"
)

// transfer is one copy under way: sources hand it what they have.
type transfer struct {
	ctx   context.Context // of the layers: ended by the first that fails, and by stop
	stop  context.CancelFunc
	group *errgroup.Group
	to    Destination
	takes limits
	opts  Options

	mu        sync.Mutex
	seen      map[oci.Digest]bool // blobs and manifests
	assumed   map[oci.Digest]*assumption
	result    Result
	manifests []client.Manifest // children before parents
	tags      []taggedManifest
	held      int64 // bytes of manifests

	repairs sync.Mutex // one manifest at a time has its blobs sent again
}

// taggedManifest is a manifest that has a tag of its own beside the image's name.
type taggedManifest struct {
	tag string
	client.Manifest
}

func newTransfer(ctx context.Context, to Destination, takes limits, opts Options) *transfer {
	if opts.Jobs <= 0 {
		opts.Jobs = defaultJobs
	}
	if opts.Observer == nil {
		opts.Observer = nobody{}
	}
	if opts.Platform == nil {
		opts.Platform = takes.platform
	}
	if opts.Referrers && takes.platform != nil {
		opts.Referrers = false
		opts.Observer.Note("Docker keeps no referrers: signatures and SBOMs are not copied")
	}
	t := &transfer{to: to, takes: takes, opts: opts, seen: map[oci.Digest]bool{}, assumed: map[oci.Digest]*assumption{}}
	t.result.Layers = []Layer{} // in JSON a list, even an empty one
	ctx, t.stop = context.WithCancel(ctx)
	t.group, t.ctx = errgroup.WithContext(ctx)
	t.group.SetLimit(opts.Jobs)
	return t
}

// first reports whether the digest was not there before.
func (t *transfer) first(d oci.Digest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[d] {
		return false
	}
	t.seen[d] = true
	return true
}

// blob sends a blob, once, when there is room among the jobs: it waits for that, not for
// the end. The blob is released in any case.
func (t *transfer) blob(ctx context.Context, b Blob) error {
	if !t.first(b.Digest) {
		b.release()
		return nil
	}
	if b.NonDistributable() {
		b.release()
		t.opts.Observer.Note("layer " + string(b.Digest) + " may not be distributed: it stays where its URLs say")
		t.done(b.Descriptor, client.PushResult{Method: Skipped}, 0)
		return nil
	}
	t.group.Go(func() error {
		defer b.release()
		return t.put(ctx, b)
	})
	return ctx.Err()
}

func (t *transfer) put(ctx context.Context, b Blob) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	started := time.Now()
	advance, end := t.opts.Observer.Begin(Sending, string(b.Digest), b.Size)
	pushed, err := t.to.putBlob(ctx, b, advance)
	end()
	if err != nil {
		return &LayerError{b.Digest, err}
	}
	t.done(b.Descriptor, pushed, time.Since(started))
	return nil
}

// assume counts a blob as there because the destination has a manifest that names it.
// Whether that holds shows when the manifest is sent.
func (t *transfer) assume(b Blob) {
	if !t.first(b.Digest) {
		return
	}
	t.mu.Lock()
	t.assumed[b.Digest] = &assumption{Blob: b}
	t.mu.Unlock()
	t.done(b.Descriptor, client.PushResult{Method: client.Existed}, 0)
}

// done counts a blob that is at the destination; of one that was sent after all, the last
// word counts.
func (t *transfer) done(d oci.Descriptor, pushed client.PushResult, took time.Duration) {
	l := Layer{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, Method: pushed.Method, Sent: pushed.Sent, Seconds: took.Seconds()}
	t.mu.Lock()
	if i := slices.IndexFunc(t.result.Layers, func(old Layer) bool { return old.Digest == l.Digest }); i >= 0 {
		t.result.Layers[i] = l
	} else {
		t.result.Layers = append(t.result.Layers, l)
		t.result.Size += l.Size
	}
	t.result.Sent += l.Sent
	t.mu.Unlock()
	t.opts.Observer.Done(l)
}

// manifest takes a manifest, to be sent when all blobs are there.
func (t *transfer) manifest(m client.Manifest) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held += int64(len(m.Content)); t.held > maxManifests {
		return fmt.Errorf("the image has more than %d MiB of manifests", maxManifests>>20)
	}
	t.manifests = append(t.manifests, m)
	return nil
}

// tag takes another name of a manifest that was handed over.
func (t *transfer) tag(tag string, m client.Manifest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tags = append(t.tags, taggedManifest{tag, m})
}

// putManifests sends all manifests but the root: images at once, as they name blobs
// alone, then those that name manifests, then tags.
func (t *transfer) putManifests(ctx context.Context, root client.Manifest) error {
	leaves, leafCtx := errgroup.WithContext(ctx)
	leaves.SetLimit(t.opts.Jobs)
	var parents []client.Manifest
	for _, m := range t.manifests {
		switch {
		case m.Digest == root.Digest:
		case isIndex(m.MediaType):
			parents = append(parents, m)
		default:
			leaves.Go(func() error {
				return t.repairing(leafCtx, m, func() error { return t.to.putManifest(leafCtx, m) })
			})
		}
	}
	if err := leaves.Wait(); err != nil {
		return err
	}
	for _, m := range parents {
		if err := t.to.putManifest(ctx, m); err != nil {
			return err
		}
	}
	for _, m := range t.tags {
		if err := t.to.putTag(ctx, m.tag, m.Manifest); err != nil {
			return err
		}
	}
	return nil
}

// cause is why a copy failed: what ended its context, if that was from outside.
func (t *transfer) cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}

// nobody is the observer where there is none.
type nobody struct{}

func (nobody) Begin(Stage, string, int64) (advance func(int64), end func()) {
	return func(int64) {}, func() {}
}
func (nobody) Done(Layer)  {}
func (nobody) Note(string) {}
