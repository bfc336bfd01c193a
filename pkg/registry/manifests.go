package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/upload"
)

// Manifest is a manifest as it was pushed.
type Manifest struct {
	Digest    oci.Digest
	MediaType string
	Content   []byte
}

// FindManifest reads a manifest by tag or digest. The error is MANIFEST_UNKNOWN.
func (r *Registry) FindManifest(ctx context.Context, repo string, ref oci.Reference) (Manifest, error) {
	if ref.Tag == "" {
		return r.findByDigest(ctx, repo, ref)
	}
	seen := ""
	for range maxContended {
		rows, err := r.get(ctx, tagKey(repo, ref.Tag))
		if err != nil {
			return Manifest{}, fmt.Errorf("read tag: %w", err)
		}
		row := rows[0].Attrs
		if row == nil || row.text(attrWrite) == seen {
			return Manifest{}, errManifestUnknown(repo, ref)
		}
		m := Manifest{Digest: row.digest(attrDigest), MediaType: row.text(attrMediaType)}
		// The tag proves that the manifest is visible, the digest that the bytes are right.
		if content, found := r.manifests.Get(m.Digest); found {
			m.Content = content
			return m, nil
		}
		found, err := r.findByDigest(ctx, repo, oci.Reference{Digest: m.Digest})
		if err == nil {
			m.Content = found.Content
			return m, nil
		}
		if !errors.Is(err, oci.NewError(oci.ManifestUnknown, "")) {
			return Manifest{}, err
		}
		seen = row.text(attrWrite) // deleted since the tag was read; the tag may point elsewhere by now
	}
	return Manifest{}, fmt.Errorf("read manifest by tag: %w", ErrContended)
}

func (r *Registry) findByDigest(ctx context.Context, repo string, ref oci.Reference) (Manifest, error) {
	rows, err := r.get(ctx, contentKey(repo, ref.Digest))
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	row := rows[0].Attrs
	if row == nil {
		return Manifest{}, errManifestUnknown(repo, ref)
	}
	content, err := r.manifestBytes(ctx, ref.Digest, row)
	if errors.Is(err, ErrNoContent) {
		return Manifest{}, errManifestUnknown(repo, ref) // deleted since the row was read
	}
	if err != nil {
		return Manifest{}, err
	}
	return Manifest{Digest: ref.Digest, MediaType: row.text(attrMediaType), Content: content}, nil
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
	refs     []byte // packed
}

// references packs the different digests that the sweep must keep for a manifest: they must fit into its row, and into
// the review that its delete leaves.
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
		return nil, oci.NewError(oci.ManifestInvalid, "the manifest refers to %d digests, the limit is %d", len(refs), MaxReferences)
	}
	packed := packDigests(refs)
	if len(packed) > maxPackedRefs {
		return nil, oci.NewError(oci.ManifestInvalid, "the manifest refers to %d digests of %d bytes, the limit is %d bytes "+
			"(a sha512 takes 65, a sha256 33): refer to content by sha256", len(refs), len(packed), maxPackedRefs)
	}
	return packed, nil
}

// pushManifest makes one attempt; not done means that another request changed
// the manifest meanwhile, and that the next attempt starts from what it left.
func (r *Registry) pushManifest(ctx context.Context, p manifestPush) (done bool, err error) {
	row, err := r.announce(ctx, p)
	if err != nil {
		return false, err
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
	attrs := Attrs{attrState: statePending, attrRefs: p.refs, attrTouched: r.now()}
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
	if row.text(attrState) == stateLive {
		if writes, key, err = r.renewManifest(ctx, p, row); err != nil {
			return nil, "", err
		}
	} else if writes, key, err = r.newManifest(ctx, p, row.text(attrWrite)); err != nil {
		return nil, "", err
	}
	for _, tag := range p.Tags {
		writes = append(writes,
			Write{Key: tagKey(p.repo, tag), Op: Put, Attrs: Attrs{
				attrDigest: string(p.digest), attrMediaType: p.manifest.MediaType, attrSize: int64(len(p.Content)),
			}},
			Write{Key: edgeKey(p.repo, p.digest, tag), Op: Put, Attrs: Attrs{}})
	}
	return writes, key, nil
}

// renewManifest pushes a live manifest again, and stores its bytes again if their object is lost. The generation changes
// in any case, so that a delete that has not seen the new tags fails. Bytes without a mediaType have the type of their
// last push. Whatever else the rows hold is the same for every type that oci.ParseManifest accepts for these bytes.
func (r *Registry) renewManifest(ctx context.Context, p manifestPush, row Attrs) (writes []Write, key string, err error) {
	key, writes, err = r.healManifest(ctx, p, row.text(attrKey))
	if err != nil {
		return nil, "", err
	}
	mediaType := p.manifest.MediaType
	thin := Write{Key: manifestKey(p.repo, p.digest), Op: Set, Attrs: Attrs{attrTouched: r.now()}}
	if key == "" && row.text(attrMediaType) == mediaType {
		thin.If = Equal(attrMediaType, mediaType) // only a live row has one
		return []Write{thin}, "", nil
	}
	thin.If, thin.Attrs[attrMediaType] = Equal(attrWrite, row.text(attrWrite)), mediaType
	current := row.text(attrKey)
	if key != "" {
		current, thin.Attrs[attrKey] = key, key
	}
	writes = append(writes, thin, contentWrite(p, current))
	if p.manifest.Subject != "" {
		writes = append(writes, referrerWrite(p))
	}
	return writes, key, nil
}

// healManifest stores the bytes of a live manifest again if the object under old is lost. It returns the new key, and
// the writes of the rows of both keys; none if old is empty or sound.
func (r *Registry) healManifest(ctx context.Context, p manifestPush, old string) (key string, writes []Write, err error) {
	if old == "" {
		return "", nil, nil
	}
	if sound, err := r.sound(ctx, old, p.digest, int64(len(p.Content))); sound || err != nil {
		return "", nil, err
	}
	key, live, err := r.storeManifest(ctx, p)
	return key, append(r.abandon(old), live), err
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
		attrState: stateLive, attrRefs: p.refs, attrTouched: r.now(),
		attrMediaType: p.manifest.MediaType, attrSize: int64(len(p.Content)),
	}
	if len(p.Content) > inlineManifest {
		var live Write
		if key, live, err = r.storeManifest(ctx, p); err != nil {
			return nil, "", err
		}
		thin[attrKey] = key
		writes = append(writes, live)
	}
	writes = append(writes, contentWrite(p, key))
	if subject := p.manifest.Subject; subject != "" {
		referrer := referrerWrite(p)
		thin[attrSubject], thin[attrReferrer] = string(subject), referrer.Key.SK
		writes = append(writes, referrer)
	}
	pending := All(Equal(attrState, statePending), Equal(attrWrite, generation))
	return append(writes, Write{Key: manifestKey(p.repo, p.digest), Op: Put, If: pending, Attrs: thin}), key, nil
}

// contentWrite stores the bytes of a manifest, or, unless it is empty, the content key that has them.
func contentWrite(p manifestPush, key string) Write {
	attrs := Attrs{attrMediaType: p.manifest.MediaType, attrSize: int64(len(p.Content))}
	if key == "" {
		attrs[attrBytes] = p.Content
	} else {
		attrs[attrKey] = key
	}
	return Write{Key: contentKey(p.repo, p.digest), Op: Put, Attrs: attrs}
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
