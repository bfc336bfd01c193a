package registry

import (
	"context"
	"fmt"
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// ManifestPush is a manifest to be stored.
type ManifestPush struct {
	// Digest is the digest in the request; empty if the client pushes by tag only.
	Digest      oci.Digest
	Tags        []string // at most MaxTagsPerPush, distinct
	ContentType string
	Content     []byte
}

// PushedManifest is the result of a ManifestPush.
type PushedManifest struct {
	Digest  oci.Digest
	Subject oci.Digest // empty if the manifest has no subject
}

// PushManifest checks and stores a manifest and points the tags at it. It does so in three
// steps: it writes a pending row, which protects the manifest's references from garbage
// collection; it checks that the references exist; and one transaction makes the manifest, the
// tags and the referrer visible together. Errors: MANIFEST_INVALID, DIGEST_INVALID,
// SIZE_INVALID if the manifest exceeds MaxManifest, and one MANIFEST_BLOB_UNKNOWN or
// SIZE_INVALID for each missing or wrong reference.
func (r *Registry) PushManifest(ctx context.Context, repo string, p ManifestPush) (PushedManifest, error) {
	if len(p.Content) > MaxManifest {
		return PushedManifest{}, oci.NewError(oci.SizeInvalid, "a manifest may have at most %d bytes", MaxManifest).
			WithStatus(http.StatusRequestEntityTooLarge)
	}
	m, err := oci.ParseManifest(p.ContentType, p.Content)
	if err != nil {
		return PushedManifest{}, err
	}
	algorithm := oci.SHA256
	if p.Digest != "" {
		algorithm = p.Digest.Algorithm()
	}
	d := algorithm.FromBytes(p.Content)
	if p.Digest != "" && d != p.Digest {
		return PushedManifest{}, upload.CheckDigest(d, p.Digest)
	}
	push := manifestPush{ManifestPush: p, repo: repo, digest: d, manifest: m}
	if push.refs, err = references(m); err != nil {
		return PushedManifest{}, err
	}
	for range maxContended {
		done, err := r.pushManifest(ctx, push)
		if err != nil {
			return PushedManifest{}, err
		}
		if done {
			r.remember(d, p.Content)
			return PushedManifest{Digest: d, Subject: m.Subject}, nil
		}
		if err := r.pause(ctx, 2); err != nil {
			return PushedManifest{}, err
		}
	}
	return PushedManifest{}, fmt.Errorf("push manifest: %w", ErrContended)
}

// manifestPush is a checked ManifestPush.
type manifestPush struct {
	ManifestPush
	repo     string
	digest   oci.Digest
	manifest oci.Manifest
	refs     []byte // see packDigests
}

// references packs the distinct digests that garbage collection must keep for a manifest. They
// must fit into the manifest's row, and into the review that its delete queues.
func references(m oci.Manifest) ([]byte, error) {
	seen := map[oci.Digest]bool{}
	var refs []oci.Digest
	for _, ds := range [][]oci.Descriptor{m.Blobs, m.Manifests} {
		for _, d := range ds {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				refs = append(refs, d.Digest)
			}
		}
	}
	if len(refs) > MaxReferences {
		return nil, oci.NewError(oci.ManifestInvalid, "the manifest refers to %d digests, but the limit is %d", len(refs), MaxReferences)
	}
	packed := packDigests(refs)
	if len(packed) > maxPackedRefs {
		return nil, oci.NewError(oci.ManifestInvalid, "the digests of the manifest's %d references take %d bytes, but the limit is %d bytes "+
			"(a sha512 takes 65, a sha256 33): refer to content by sha256", len(refs), len(packed), maxPackedRefs)
	}
	return packed, nil
}

// pushManifest makes one attempt to push. done is false if another request changed the
// manifest's row during the attempt; the next attempt starts from the new row.
func (r *Registry) pushManifest(ctx context.Context, p manifestPush) (done bool, err error) {
	row, err := r.putPending(ctx, p)
	if err != nil {
		return false, err
	}
	if err := r.checkReferences(ctx, p); err != nil {
		return false, err
	}
	writes, key, err := r.publishWrites(ctx, p, row)
	if err != nil {
		return false, err
	}
	err = r.meta.Transact(ctx, "", writes...)
	if asConflict(err) != nil {
		r.dropUnnamed(ctx, key)
		return false, nil
	}
	return err == nil, wrap("publish manifest", err)
}

// putPending returns a manifest row that protects all references of the manifest: a new pending
// row, the live row, or the fresh pending row of another push. The latter protects them as
// well, because publishWrites requires its version: if the row still has it, the row has
// existed since before this push checked the references.
func (r *Registry) putPending(ctx context.Context, p manifestPush) (manifestRow, error) {
	attrs := encode(manifestRow{State: manifestPending, Refs: p.refs, Renewed: r.now()})
	cond := Absent()
	for range maxContended {
		row, err := r.meta.Update(ctx, Write{Key: manifestKey(p.repo, p.digest), Op: Put, If: cond, Attrs: attrs})
		conflict := asConflict(err)
		if conflict == nil {
			return decode[manifestRow](row.Attrs), wrap("put pending manifest", err)
		}
		found := decode[manifestRow](conflict.found(0).Attrs)
		switch {
		case conflict.found(0).Attrs == nil:
			cond = Absent()
		case found.State == manifestPending && r.leaseExpired(found.Renewed):
			cond = unchanged(found.Version)
		default:
			return found, nil
		}
	}
	return manifestRow{}, fmt.Errorf("put pending manifest: %w", ErrContended)
}

// publishWrites returns the writes of the transaction that makes a manifest visible. It stores
// the bytes of a large manifest first; key is their new content key, or empty.
func (r *Registry) publishWrites(ctx context.Context, p manifestPush, row manifestRow) (writes []Write, key string, err error) {
	if row.State == manifestLive {
		writes, key, err = r.repushWrites(ctx, p, row)
	} else {
		writes, key, err = r.firstPushWrites(ctx, p, row)
	}
	if err != nil {
		return nil, "", err
	}
	tagged := encode(tagRow{Digest: p.digest, MediaType: p.manifest.MediaType, Size: int64(len(p.Content))})
	for _, tag := range p.Tags {
		writes = append(writes,
			Write{Key: tagKey(p.repo, tag), Op: Put, Attrs: tagged},
			Write{Key: edgeKey(p.repo, p.digest, tag), Op: Put})
	}
	return writes, key, nil
}

// repushWrites returns the writes that push a live manifest again. It stores the bytes again if
// their object is lost. The writes always change the row's version, so that a concurrent
// delete that has not seen the new tags fails. If the bytes have no mediaType field, the last
// push sets the media type. The other attributes of the rows are the same for every media
// type that oci.ParseManifest accepts for these bytes.
func (r *Registry) repushWrites(ctx context.Context, p manifestPush, row manifestRow) (writes []Write, key string, err error) {
	key, writes, err = r.healManifest(ctx, p, row.Key)
	if err != nil {
		return nil, "", err
	}
	update := Write{Key: manifestKey(p.repo, p.digest), Op: Set}
	if key == "" && row.MediaType == p.manifest.MediaType {
		update.If = Equal(attrMediaType, row.MediaType) // only a live row has one
		update.Attrs = encode(manifestRow{Renewed: r.now()})
		return []Write{update}, "", nil
	}
	current := row.Key
	if key != "" {
		current = key
	}
	update.If = unchanged(row.Version)
	update.Attrs = encode(manifestRow{Renewed: r.now(), MediaType: p.manifest.MediaType, Key: current})
	writes = append(writes, update, contentWrite(p, current))
	if p.manifest.Subject != "" {
		writes = append(writes, referrerWrite(p))
	}
	return writes, key, nil
}

// healManifest stores the bytes of a live manifest again if the object under current is lost.
// It returns the new key and the writes of the rows of both keys. If current is empty or its
// object is intact, it returns no key and no writes.
func (r *Registry) healManifest(ctx context.Context, p manifestPush, current string) (key string, writes []Write, err error) {
	if current == "" {
		return "", nil, nil
	}
	if intact, err := r.intact(ctx, current, p.digest, int64(len(p.Content)), checkSum); intact || err != nil {
		return "", nil, err
	}
	key, live, err := r.storeManifest(ctx, p)
	return key, append(r.abandon(current), live), err
}

// storeManifest stores the bytes of a manifest under a new content key, and returns the write
// of that key's object row. It opens a session first: if the push ends early, ExpireUploads
// deletes the bytes.
func (r *Registry) storeManifest(ctx context.Context, p manifestPush) (key string, live Write, err error) {
	_, key = r.newUpload()
	row, nonce := r.openRow(p.repo), r.nonce()
	if err = r.meta.Transact(ctx, nonce, r.openWrites(key, encode(row), row.Expires)...); err != nil {
		return "", Write{}, fmt.Errorf("open session of manifest: %w", err)
	}
	err = r.retry(ctx, func() error { return r.putOnce(ctx, key, p.Content) })
	return key, Write{
		Key: objectKey(key), Op: Put, If: unchanged(nonce),
		Attrs: encode(objectRow{State: objectLive, Repo: p.repo, Digest: p.digest, Size: int64(len(p.Content))}),
	}, wrap("store manifest", err)
}

// firstPushWrites returns the writes that replace the pending row by a live one, which names
// every row that a delete must remove, and that store the bytes and the referrer.
func (r *Registry) firstPushWrites(ctx context.Context, p manifestPush, pending manifestRow) (writes []Write, key string, err error) {
	live := manifestRow{
		State: manifestLive, Refs: p.refs, Renewed: r.now(), MediaType: p.manifest.MediaType, Size: int64(len(p.Content)),
	}
	if len(p.Content) > inlineManifest {
		var object Write
		if key, object, err = r.storeManifest(ctx, p); err != nil {
			return nil, "", err
		}
		live.Key = key
		writes = append(writes, object)
	}
	writes = append(writes, contentWrite(p, key))
	if p.manifest.Subject != "" {
		referrer := referrerWrite(p)
		live.Subject, live.Referrer = p.manifest.Subject, referrer.Key.SK
		writes = append(writes, referrer)
	}
	return append(writes, Write{
		Key: manifestKey(p.repo, p.digest), Op: Put, Attrs: encode(live),
		If: All(inState(manifestPending), unchanged(pending.Version)),
	}), key, nil
}

// contentWrite returns the write of the content row: it holds key if that is not empty,
// otherwise the bytes of the manifest.
func contentWrite(p manifestPush, key string) Write {
	row := contentRow{MediaType: p.manifest.MediaType, Size: int64(len(p.Content)), Key: key}
	if key == "" {
		row.Bytes = p.Content
	}
	return Write{Key: contentKey(p.repo, p.digest), Op: Put, Attrs: encode(row)}
}

// dropUnnamed deletes the stored bytes of a manifest after the transaction that would refer to
// them failed. It first makes the session dead: the transaction requires the session, so it
// cannot be applied later.
func (r *Registry) dropUnnamed(ctx context.Context, key string) {
	if key == "" {
		return
	}
	_, err := r.meta.Update(ctx, Write{
		Key: objectKey(key), Op: Put, If: inState(objectOpen), Attrs: encode(r.deadRow(objectRow{})),
	})
	if conflict := asConflict(err); conflict != nil && decode[objectRow](conflict.found(0).Attrs).State == objectDead {
		err = nil // the session has expired
	}
	if err == nil {
		err = r.blobs.Delete(ctx, key)
	}
	r.cleanUp("manifest bytes", key, err)
}
