package images

import (
	"cmp"
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

// Methods of other destinations than registries.
const (
	// Written is a blob that was written into a layout or an archive.
	Written client.PushMethod = "written"
	// Skipped is a non-distributable blob: clients download it from its URLs.
	Skipped client.PushMethod = "skipped"
)

// transfer is a running copy. Sources hand it blobs and manifests.
type transfer struct {
	ctx   context.Context // of the layers: cancelled by the first failure and by stop
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

	repairs sync.Mutex // blobs are sent again for one manifest at a time
}

// taggedManifest is a manifest with another tag than the image's name.
type taggedManifest struct {
	tag string
	client.Manifest
}

func newTransfer(ctx context.Context, to Destination, takes limits, opts Options) *transfer {
	opts.Jobs = cmp.Or(opts.Jobs, defaultJobs)
	if opts.Observer == nil {
		opts.Observer = noObserver{}
	}
	if opts.Platform == nil {
		opts.Platform = takes.platform
	}
	if opts.Referrers && takes.platform != nil {
		opts.Referrers = false
		opts.Observer.Note("Docker keeps no referrers: signatures and SBOMs are not copied")
	}
	t := &transfer{to: to, takes: takes, opts: opts, seen: map[oci.Digest]bool{}, assumed: map[oci.Digest]*assumption{}}
	t.result.Layers = []Layer{} // encoded as a list
	ctx, t.stop = context.WithCancel(ctx)
	t.group, t.ctx = errgroup.WithContext(ctx)
	t.group.SetLimit(opts.Jobs)
	return t
}

// first reports whether the digest is new.
func (t *transfer) first(d oci.Digest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[d] {
		return false
	}
	t.seen[d] = true
	return true
}

// blob starts to send a blob, unless it was sent before. It waits for a free job, not for the
// end. The blob is released in any case.
func (t *transfer) blob(ctx context.Context, b Blob) error {
	if !t.first(b.Digest) {
		b.release()
		return nil
	}
	if b.NonDistributable() {
		b.release()
		t.opts.Observer.Note("layer " + string(b.Digest) + " is not distributable: clients download it from its URLs")
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
		return fmt.Errorf("layer %s: %w", b.Digest, err)
	}
	t.done(b.Descriptor, pushed, time.Since(started))
	return nil
}

// assume counts a blob as present because the destination has a manifest that names it. The PUT
// of that manifest shows whether this is true.
func (t *transfer) assume(b Blob) {
	if !t.first(b.Digest) {
		return
	}
	t.mu.Lock()
	t.assumed[b.Digest] = &assumption{Blob: b}
	t.mu.Unlock()
	t.done(b.Descriptor, client.PushResult{Method: client.Existed}, 0)
}

// done records a blob that is at the destination. It replaces the record of a blob that was sent
// after it had been assumed.
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

// manifest accepts a manifest, to be sent after all blobs.
func (t *transfer) manifest(m client.Manifest) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held += int64(len(m.Content)); t.held > maxManifests {
		return fmt.Errorf("the image has more than %d MiB of manifests", maxManifests>>20)
	}
	t.manifests = append(t.manifests, m)
	return nil
}

// tag accepts another tag of a manifest.
func (t *transfer) tag(tag string, m client.Manifest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tags = append(t.tags, taggedManifest{tag, m})
}

// putManifests sends all manifests except the root: images concurrently, as they name only blobs,
// then indexes, then tags.
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

// cause returns why a copy failed: the cause of its context if the caller cancelled it.
func (t *transfer) cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}

// noObserver ignores everything.
type noObserver struct{}

func (noObserver) Begin(Stage, string, int64) (advance func(int64), end func()) {
	return func(int64) {}, func() {}
}
func (noObserver) Done(Layer)  {}
func (noObserver) Note(string) {}
