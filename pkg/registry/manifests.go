package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
)

// Manifest is a manifest as it was pushed.
type Manifest struct {
	Digest    oci.Digest
	MediaType string
	Content   []byte
}

// FindManifest reads a manifest by tag or digest. The error is MANIFEST_UNKNOWN.
func (r *Registry) FindManifest(ctx context.Context, repo string, ref oci.Reference) (Manifest, error) {
	d := ref.Digest
	if ref.Tag != "" {
		rows, err := r.get(ctx, tagKey(repo, ref.Tag))
		if err != nil {
			return Manifest{}, fmt.Errorf("read tag: %w", err)
		}
		d = rows[0].Attrs.digest(attrDigest)
		if d == "" {
			return Manifest{}, errManifestUnknown(repo, ref)
		}
		// The tag proves that the manifest lives, the digest that the bytes are right.
		if content, found := r.manifests.Get(d); found {
			return Manifest{Digest: d, MediaType: rows[0].Attrs.text(attrMediaType), Content: content}, nil
		}
	}
	rows, err := r.get(ctx, contentKey(repo, d))
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	row := rows[0].Attrs
	if row == nil {
		return Manifest{}, errManifestUnknown(repo, ref)
	}
	content, err := r.manifestBytes(ctx, d, row)
	if errors.Is(err, ErrNoContent) {
		return Manifest{}, errManifestUnknown(repo, ref) // deleted since the row was read
	}
	if err != nil {
		return Manifest{}, err
	}
	return Manifest{Digest: d, MediaType: row.text(attrMediaType), Content: content}, nil
}

func errManifestUnknown(repo string, ref oci.Reference) error {
	return oci.NewError(oci.ManifestUnknown, "repository %s has no manifest %s", repo, ref)
}

// manifestBytes returns what a content row holds or points at.
func (r *Registry) manifestBytes(ctx context.Context, d oci.Digest, row Attrs) ([]byte, error) {
	if content, found := r.manifests.Get(d); found {
		return content, nil
	}
	content, inline := row[attrBytes].([]byte)
	if !inline {
		body, err := r.blobs.Open(ctx, row.text(attrKey), 0, -1)
		if err != nil {
			return nil, fmt.Errorf("open manifest: %w", err)
		}
		defer body.Close()
		if content, err = io.ReadAll(io.LimitReader(body, MaxManifest+1)); err != nil {
			return nil, fmt.Errorf("read manifest: %w", err)
		}
	}
	r.remember(d, content)
	return content, nil
}

func (r *Registry) remember(d oci.Digest, content []byte) {
	if len(content) <= inlineManifest {
		r.manifests.Add(d, content)
	}
}

// ManifestPush is a manifest to be stored.
type ManifestPush struct {
	// Digest that the client asked for; empty when it pushes by tag only.
	Digest      oci.Digest
	Tags        []string // at most MaxTagsPerPush, all different
	ContentType string
	Content     []byte
}

// PushedManifest is what became of a ManifestPush.
type PushedManifest struct {
	Digest  oci.Digest
	Subject oci.Digest // empty when there is none
}

// PushManifest checks and stores a manifest, and points the tags at it, in three
// steps: a pending row, which protects from the sweep what the manifest refers
// to; a check of all that; one transaction that makes manifest, tags and
// referrer visible together. Errors: MANIFEST_INVALID, DIGEST_INVALID, and
// MANIFEST_BLOB_UNKNOWN and SIZE_INVALID, one for each fault.
func (r *Registry) PushManifest(ctx context.Context, repo string, p ManifestPush) (PushedManifest, error) {
	if len(p.Content) > MaxManifest {
		return PushedManifest{}, errManifestTooLarge()
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
		return PushedManifest{}, errDigest(d, p.Digest)
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

// errManifestTooLarge is SIZE_INVALID with status 413.
func errManifestTooLarge() error {
	err := oci.NewError(oci.SizeInvalid, "a manifest may have at most %d bytes", MaxManifest)
	err.Status = http.StatusRequestEntityTooLarge
	return err
}

// manifestPush is a checked ManifestPush.
type manifestPush struct {
	ManifestPush
	repo     string
	digest   oci.Digest
	manifest oci.Manifest
	refs     []oci.Digest
}

// references lists the different digests that the sweep must keep for a manifest.
func references(m oci.Manifest) ([]oci.Digest, error) {
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
		return nil, oci.NewError(oci.ManifestInvalid, "the manifest refers to %d digests, the limit is %d", len(refs), MaxReferences)
	}
	return refs, nil
}

// pushManifest makes one attempt; not done means that another request changed
// the manifest meanwhile, and that the next attempt starts from what it left.
func (r *Registry) pushManifest(ctx context.Context, p manifestPush) (done bool, err error) {
	row, err := r.announce(ctx, p)
	if err != nil {
		return false, err
	}
	if row.text(attrState) == stateDeleting {
		return false, r.finishDelete(ctx, p.repo, p.digest, row)
	}
	if err := r.checkReferences(ctx, p); err != nil {
		return false, err
	}
	writes, key, err := r.publication(ctx, p, row)
	if err != nil {
		return false, err
	}
	err = r.transact(ctx, writes...)
	var conflict *Conflict
	if errors.As(err, &conflict) {
		r.dropUnnamed(ctx, key)
		return false, nil
	}
	return err == nil, wrap("publish manifest", err)
}

// announce makes sure that there is a row that refers to all that the manifest
// needs, and returns it. A fresh pending row of another pusher serves us too: as
// long as it keeps its generation, it has been there since we looked.
func (r *Registry) announce(ctx context.Context, p manifestPush) (Attrs, error) {
	attrs := Attrs{attrState: statePending, attrRefs: packDigests(p.refs), attrTouched: r.now()}
	cond := Absent()
	for range maxContended {
		row, err := r.update(ctx, Write{Key: manifestKey(p.repo, p.digest), Op: Put, If: cond, Attrs: attrs})
		var conflict *Conflict
		if !errors.As(err, &conflict) {
			return row.Attrs, wrap("announce manifest", err)
		}
		old := conflict.old(0).Attrs
		switch {
		case old == nil:
			cond = Absent()
		case old.text(attrState) == statePending && r.old(old):
			cond = Equal(attrWrite, old.text(attrWrite))
		default:
			return old, nil
		}
	}
	return nil, fmt.Errorf("announce manifest: %w", ErrContended)
}

// publication builds the transaction that makes a manifest visible. key is the
// content key that it stored the bytes under, or empty.
func (r *Registry) publication(ctx context.Context, p manifestPush, row Attrs) (writes []Write, key string, err error) {
	mediaType := p.manifest.MediaType
	if row.text(attrState) == stateLive {
		// All is there but, perhaps, the tags. The generation changes all the same:
		// a delete that has not seen these tags must not go through.
		mediaType = row.text(attrMediaType)
		if writes, key, err = r.renewManifest(ctx, p, row); err != nil {
			return nil, "", err
		}
	} else if writes, key, err = r.newManifest(ctx, p, row.text(attrWrite)); err != nil {
		return nil, "", err
	}
	for _, tag := range p.Tags {
		writes = append(writes,
			Write{Key: tagKey(p.repo, tag), Op: Put, Attrs: Attrs{
				attrDigest: string(p.digest), attrMediaType: mediaType, attrSize: int64(len(p.Content)),
			}},
			Write{Key: edgeKey(p.repo, p.digest, tag), Op: Put, Attrs: Attrs{}})
	}
	return writes, key, nil
}

// renewManifest changes the generation of a live manifest, and stores its bytes again if
// their object is lost.
func (r *Registry) renewManifest(ctx context.Context, p manifestPush, row Attrs) (writes []Write, key string, err error) {
	thin := Write{
		Key: manifestKey(p.repo, p.digest), Op: Set, If: Equal(attrState, stateLive), Attrs: Attrs{attrTouched: r.now()},
	}
	old, size := row.text(attrKey), int64(len(p.Content))
	if old == "" {
		return []Write{thin}, "", nil
	}
	if sound, err := r.sound(ctx, old, p.digest, size); sound || err != nil {
		return []Write{thin}, "", err
	}
	key, live, err := r.storeManifest(ctx, p)
	if err != nil {
		return nil, "", err
	}
	thin.If, thin.Attrs[attrKey] = All(thin.If, Equal(attrKey, old)), key
	content := Write{Key: contentKey(p.repo, p.digest), Op: Set, Attrs: Attrs{attrKey: key}}
	return append(r.abandon(old), thin, content, live), key, nil
}

// storeManifest stores the bytes of a manifest under a key of their own, and returns the
// write of that key's row.
func (r *Registry) storeManifest(ctx context.Context, p manifestPush) (key string, live Write, err error) {
	_, key = r.newUpload()
	err = r.try(ctx, func() error { return r.putOnce(ctx, key, p.Content) })
	return key, Write{Key: objectKey(key), Op: Put, If: Absent(), Attrs: Attrs{
		attrState: stateLive, attrRepo: p.repo, attrDigest: string(p.digest), attrSize: int64(len(p.Content)),
	}}, wrap("store manifest", err)
}

// newManifest turns the pending row of a generation into a live one, and stores
// bytes and referrer. The live row has what a delete must undo.
func (r *Registry) newManifest(ctx context.Context, p manifestPush, generation string) (writes []Write, key string, err error) {
	thin := Attrs{
		attrState: stateLive, attrRefs: packDigests(p.refs), attrTouched: r.now(),
		attrMediaType: p.manifest.MediaType, attrSize: int64(len(p.Content)),
	}
	content := Attrs{attrMediaType: p.manifest.MediaType, attrSize: int64(len(p.Content))}
	if len(p.Content) <= inlineManifest {
		content[attrBytes] = p.Content
	} else {
		var live Write
		if key, live, err = r.storeManifest(ctx, p); err != nil {
			return nil, "", err
		}
		content[attrKey], thin[attrKey] = key, key
		writes = append(writes, live)
	}
	writes = append(writes, Write{Key: contentKey(p.repo, p.digest), Op: Put, Attrs: content})
	if subject := p.manifest.Subject; subject != "" {
		at := referrerKey(p.repo, subject, p.manifest.ArtifactType, p.digest)
		thin[attrSubject], thin[attrReferrer] = string(subject), at.SK
		writes = append(writes, Write{Key: at, Op: Put, Attrs: referrerAttrs(p)})
	}
	pending := All(Equal(attrState, statePending), Equal(attrWrite, generation))
	return append(writes, Write{Key: manifestKey(p.repo, p.digest), Op: Put, If: pending, Attrs: thin}), key, nil
}

// dropUnnamed deletes content whose transaction did not go through. Its row is
// made dead first, so that the transaction cannot go through later either.
func (r *Registry) dropUnnamed(ctx context.Context, key string) {
	if key == "" {
		return
	}
	_, err := r.update(ctx, Write{Key: objectKey(key), Op: Put, If: Absent(), Attrs: Attrs{attrState: stateDead}})
	if err == nil {
		err = r.blobs.Delete(ctx, key)
	}
	r.cleanUp("manifest bytes", key, err)
}
