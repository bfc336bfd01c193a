package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci"
)

// assumption is a blob that the destination should have, because it has a manifest that names it.
type assumption struct {
	Blob
	checked bool // it was looked up or sent since
}

// repairing sends a manifest by calling put. If the registry refuses it because it lost
// blobs that were assumed to be there, it sends these blobs and calls put once more.
func (t *transfer) repairing(ctx context.Context, m client.Manifest, put func() error) error {
	err := put()
	// Some registries send BLOB_UNKNOWN, against the spec.
	if !errors.Is(err, &oci.Error{Code: oci.ManifestBlobUnknown}) && !errors.Is(err, &oci.Error{Code: oci.BlobUnknown}) {
		return err
	}
	parsed, parseErr := oci.ParseManifest(m.MediaType, m.Content)
	if parseErr != nil {
		return err
	}
	suspects := parsed.Blobs
	if named := missing(err); slices.ContainsFunc(suspects, func(d oci.Descriptor) bool { return named[d.Digest] }) {
		suspects = slices.DeleteFunc(suspects, func(d oci.Descriptor) bool { return !named[d.Digest] })
	}
	if !slices.ContainsFunc(suspects, t.isAssumed) {
		return err
	}
	if repairErr := t.repair(ctx, m, suspects); repairErr != nil {
		return repairErr
	}
	return put()
}

// isAssumed reports whether a blob was assumed to be there, also if it was sent since for another
// manifest: a second PUT then succeeds.
func (t *transfer) isAssumed(d oci.Descriptor) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.assumed[d.Digest] != nil
}

// unchecked returns an assumed blob that was not checked yet, and marks it as checked.
func (t *transfer) unchecked(d oci.Digest) (b Blob, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.assumed[d]
	if a == nil || a.checked {
		return Blob{}, false
	}
	a.checked = true
	return a.Blob, true
}

// repair sends the assumed blobs of a manifest, except those that the destination does have.
func (t *transfer) repair(ctx context.Context, m client.Manifest, blobs []oci.Descriptor) error {
	t.repairs.Lock() // manifests share blobs: the second repair waits until they are sent
	defer t.repairs.Unlock()
	t.opts.Observer.Note(fmt.Sprintf("the destination has the manifest %s but not all of its blobs: "+
		"sending what is missing", m.Digest))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(t.opts.Jobs)
	for _, d := range blobs {
		if b, ok := t.unchecked(d.Digest); ok {
			group.Go(func() error { return t.put(ctx, b) })
		}
	}
	return group.Wait()
}

// missing returns the digests in the details of a registry's answer: objects with a digest, or
// strings (distribution).
func missing(err error) map[oci.Digest]bool {
	named := map[oci.Digest]bool{}
	answer, _ := errors.AsType[oci.Errors](err)
	for _, one := range answer {
		text, ok := one.Detail.(string)
		if !ok {
			var detail struct{ Digest string }
			if content, err := json.Marshal(one.Detail); err == nil && json.Unmarshal(content, &detail) == nil {
				text = detail.Digest
			}
		}
		if d, err := oci.ParseDigest(strings.TrimSpace(text)); err == nil {
			named[d] = true
		}
	}
	return named
}
