package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pierless/pierless/pkg/oci"
)

const (
	// hashers is the number of objects that are read concurrently: most are small.
	hashers = 8
	// hashBatch is the number of objects between two values of Scrubbed.After.
	hashBatch = 4 * hashers
	// hashBuffer is the size of one read, in bytes.
	hashBuffer = 256 << 10
)

// listObjects fills the index, finds orphans, and reads the objects if it is asked to.
func (s *scrubber) listObjects(ctx context.Context) error {
	after := ""
	for page := (ObjectPage{More: true}); page.More; {
		err := s.retry(ctx, func() (err error) {
			page, err = s.objects.ListObjects(ctx, after, MaxPage)
			return err
		})
		if err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		if len(page.Objects) == 0 {
			break
		}
		after = page.Objects[len(page.Objects)-1].Key
		if err := s.checkObjects(ctx, page.Objects); err != nil {
			return err
		}
		s.progress()
	}
	s.scrubbed.After = "" // all have been read
	return nil
}

// checkObjects compares listed objects with their rows. An upload has a row before it has an object,
// so a row that is missing now was missing when the object was stored, or was removed since: either
// way nothing will refer to the object.
func (s *scrubber) checkObjects(ctx context.Context, objects []Object) error {
	keys := make([]Key, len(objects))
	for i, o := range objects {
		s.index.add(o)
		s.scrubbed.Objects++
		s.scrubbed.Bytes += o.Size
		keys[i] = objectKey(o.Key)
	}
	rows, err := s.meta.Get(ctx, keys...)
	if err != nil {
		return fmt.Errorf("read rows of objects: %w", err)
	}
	var live []Row
	for i, row := range rows {
		switch {
		case s.unowned(row):
			if err := s.addOrphan(ctx, objects[i], row); err != nil {
				return err
			}
		case s.options.Hash && objects[i].Key > s.options.After && decode[objectRow](row.Attrs).State == objectLive:
			live = append(live, row)
		}
	}
	for some := range slices.Chunk(live, hashBatch) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.hashAll(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// unowned reports whether an object with this row, which may not exist, belongs to nothing. The
// sweep deletes the object of a dead row within days; one that it has not deleted then came later.
func (s *scrubber) unowned(row Row) bool {
	object := decode[objectRow](row.Attrs)
	died := time.Unix(object.TTL, 0).Add(-deadLife).UnixMilli()
	return row.Attrs == nil || object.State == objectDead && object.TTL > 0 && died < s.now()-orphanAge.Milliseconds()
}

// addOrphan adds a finding, unless the object was deleted since it was listed.
func (s *scrubber) addOrphan(ctx context.Context, o Object, row Row) error {
	if _, _, err := s.stat(ctx, o.Key, checkSize); errors.Is(err, ErrNoContent) {
		return nil
	} else if err != nil && !errors.Is(err, ErrEncoded) {
		return fmt.Errorf("look at object %s: %w", o.Key, err)
	}
	found := Finding{Problem: Orphan, Key: o.Key, Size: o.Size, Modified: o.Modified.UTC(), row: row}
	if s.options.Hash && o.Key > s.options.After {
		head := prefix{limit: MaxManifest}
		d, err := s.hashObject(ctx, o.Key, oci.SHA256, &head)
		if err != nil && !errors.Is(err, ErrNoContent) {
			return err
		}
		found.Digest = d
		if o.Size <= MaxManifest {
			found.Contains, found.Created = identify(head.Bytes())
		}
	}
	s.add(found)
	return nil
}

// prefix keeps the first bytes that are written to it.
type prefix struct {
	bytes.Buffer
	limit int
}

// Write implements io.Writer.
func (p *prefix) Write(b []byte) (int, error) {
	_, err := p.Buffer.Write(b[:min(len(b), p.limit-p.Len())])
	return len(b), err
}

// mediaTypeConfig is the media type of an image's config.
const mediaTypeConfig = "application/vnd.oci.image.config.v1+json"

// identify returns the media type of content that is a manifest or the config of an image, and the
// creation time in a config. Which repository and tag it was pushed to is in the lost rows only.
func identify(content []byte) (mediaType, created string) {
	if m, err := oci.ParseManifest("", content); err == nil {
		return m.MediaType, ""
	}
	var config struct {
		Created string          `json:"created"`
		RootFS  json.RawMessage `json:"rootfs"`
	}
	if json.Unmarshal(content, &config) != nil || config.RootFS == nil {
		return "", ""
	}
	return mediaTypeConfig, strings.ToValidUTF8(config.Created[:min(len(config.Created), 64)], "")
}

// hashAll reads live objects and compares their digests.
func (s *scrubber) hashAll(ctx context.Context, rows []Row) error {
	found := make([]*Finding, len(rows))
	var read, hashed atomic.Int64
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(hashers)
	for i, row := range rows {
		group.Go(func() (err error) {
			found[i], err = s.hashLive(groupCtx, row)
			read.Add(decode[objectRow](row.Attrs).Size)
			hashed.Add(1)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, f := range found {
		if f != nil {
			s.add(*f)
		}
	}
	s.scrubbed.Hashed += int(hashed.Load())
	s.scrubbed.Read += read.Load()
	s.scrubbed.After = rows[len(rows)-1].Key.PK[len("K#"):]
	s.progress()
	return nil
}

// hashLive reads the object of a live row and returns a finding if its bytes are wrong. scanRows
// finds objects that are lost or have another size.
func (s *scrubber) hashLive(ctx context.Context, row Row) (*Finding, error) {
	object, key := decode[objectRow](row.Attrs), row.Key.PK[len("K#"):]
	found := &Finding{Problem: Damaged, Key: key, Digest: object.Digest, Repository: object.Repo, Size: object.Size, Expected: object.Size}
	size, _, err := s.stat(ctx, key, checkSize)
	switch {
	case errors.Is(err, ErrNoContent):
		return nil, nil //nolint:nilnil // no finding
	case err != nil && !errors.Is(err, ErrEncoded):
		return nil, fmt.Errorf("look at object %s: %w", key, err)
	case err == nil && size != object.Size:
		return nil, nil //nolint:nilnil // no finding
	case err == nil:
		// Read again before it counts as damaged: the fault may be on the way.
		for range 2 {
			d, err := s.hashObject(ctx, key, object.Digest.Algorithm(), &prefix{})
			if d == object.Digest || errors.Is(err, ErrNoContent) {
				return nil, nil //nolint:nilnil // no finding
			}
			if err != nil {
				return nil, err
			}
		}
	}
	if found.row, err = s.getOne(ctx, row.Key); err != nil || found.row.version() != row.version() {
		return nil, err // the object was deleted since
	}
	return found, nil
}

// hashObject reads an object at the pace, and returns its digest. It keeps the first bytes in head.
func (s *scrubber) hashObject(ctx context.Context, key string, a oci.Algorithm, head *prefix) (d oci.Digest, err error) {
	err = s.retry(ctx, func() error {
		head.Reset()
		content, err := s.blobs.Open(ctx, key, 0, -1)
		if err != nil {
			return fmt.Errorf("read object %s: %w", key, err)
		}
		defer content.Close()
		h := a.New()
		body := pacedReader{ctx: ctx, from: content, pace: &s.pace}
		if _, err := io.CopyBuffer(io.MultiWriter(h, head), struct{ io.Reader }{body}, make([]byte, hashBuffer)); err != nil {
			return fmt.Errorf("read object %s: %w", key, err)
		}
		d = a.Digest(h)
		return nil
	})
	return d, err
}
