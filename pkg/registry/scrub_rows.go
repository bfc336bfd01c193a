package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/oci"
)

const (
	// scrubKeys is the number of rows that one step reads to check others.
	scrubKeys = 2000
	// relinkPause is ample time for a push that heals a blob to relink its other repositories.
	relinkPause = 5 * time.Second
)

// scanRows checks all rows that refer to others or to an object.
func (s *scrubber) scanRows(ctx context.Context) error {
	after := Key{}
	for page := (Page{More: true}); page.More; {
		err := s.retry(ctx, func() (err error) {
			page, err = s.rows.ScanRows(ctx, after, MaxPage)
			return err
		})
		if err != nil {
			return fmt.Errorf("scan rows: %w", err)
		}
		var step []Row
		var keys []Key
		for i, row := range page.Rows {
			after = row.Key
			if related := s.related(row); len(related) > 0 {
				step, keys = append(step, row), append(keys, related...)
			}
			if len(keys) < scrubKeys && i < len(page.Rows)-1 {
				continue
			}
			if err := s.checkRows(ctx, step, keys); err != nil {
				return err
			}
			step, keys = nil, nil
		}
		s.scrubbed.Rows += len(page.Rows)
		s.progress()
	}
	s.dropNamed()
	return nil
}

// dropNamed removes the orphans that a blob or a manifest has: their DeadKey says more, and a repair
// must not delete them.
func (s *scrubber) dropNamed() {
	named := map[string]bool{}
	for _, f := range s.scrubbed.Findings {
		if f.Problem == DeadKey {
			named[f.Key] = true
		}
	}
	s.scrubbed.Findings = slices.DeleteFunc(s.scrubbed.Findings, func(f Finding) bool { return f.Problem == Orphan && named[f.Key] })
}

// related returns the keys of the rows that must fit a row; none if it refers to nothing.
func (s *scrubber) related(row Row) []Key {
	kind, rest, _ := strings.Cut(row.Key.PK, "#")
	repo, digest, _ := strings.Cut(rest, "#")
	switch kind {
	case "K":
		if object := decode[objectRow](row.Attrs); object.State == objectLive {
			return []Key{blobKey(object.Digest), manifestKey(object.Repo, object.Digest)}
		}
	case "B":
		if row.Key.SK == blobSortKey {
			return []Key{objectKey(decode[blobRow](row.Attrs).Key)}
		}
		return []Key{{row.Key.PK, blobSortKey}}
	case "M":
		return relatedToManifest(repo, oci.Digest(row.Key.SK), decode[manifestRow](row.Attrs))
	case "C":
		return []Key{manifestKey(repo, oci.Digest(digest))}
	case "T":
		return []Key{manifestKey(repo, decode[tagRow](row.Attrs).Digest)}
	}
	return nil
}

func relatedToManifest(repo string, d oci.Digest, manifest manifestRow) []Key {
	if manifest.State != manifestLive {
		return nil
	}
	keys := []Key{contentKey(repo, d)}
	if manifest.Key != "" {
		keys = append(keys, objectKey(manifest.Key))
	}
	if manifest.MediaType == oci.MediaTypeImageIndex || manifest.MediaType == oci.MediaTypeDockerList {
		return keys // it refers to manifests, which may be missing: see Options.AllowSparse
	}
	refs, _ := unpackDigests(manifest.Refs) // written by packDigests
	for _, d := range refs {
		keys = append(keys, linkKey(repo, d))
	}
	return keys
}

// checkRows looks for suspects among rows, and adds a finding for each that is confirmed.
func (s *scrubber) checkRows(ctx context.Context, rows []Row, keys []Key) error {
	have, err := s.getAll(ctx, keys)
	if err != nil {
		return err
	}
	listed := func(key string, size int64) Problem {
		if s.index.has(key, size) {
			return ""
		}
		return Lost
	}
	for _, row := range rows {
		if len(judge(row, have, listed)) == 0 {
			continue
		}
		found, err := s.confirm(ctx, row.Key)
		if len(found) > 0 && found[0].Problem == WrongLink && err == nil {
			if err = s.sleep(ctx, relinkPause); err == nil {
				found, err = s.confirm(ctx, row.Key)
			}
		}
		if err != nil {
			return err
		}
		s.add(found...)
	}
	return nil
}

// judge returns what is wrong with a row, by the rows that are related to it. object returns what is
// wrong with the object of a key, or "".
func judge(row Row, have map[Key]Row, object func(key string, size int64) Problem) []Finding {
	repo, digest, _ := strings.Cut(row.Key.PK[2:], "#")
	found := Finding{row: row}
	switch {
	case row.Key.PK[0] == 'K':
		live := decode[objectRow](row.Attrs)
		found.Key, found.Digest, found.Repository, found.Expected = repo, live.Digest, live.Repo, live.Size
		blob, manifest := have[blobKey(live.Digest)], have[manifestKey(live.Repo, live.Digest)]
		if blob.Attrs.text(attrKey) != found.Key && manifest.Attrs.text(attrKey) != found.Key {
			found.Problem = Unnamed
		} else {
			found.Problem = object(found.Key, live.Size)
		}
	case row.Key.SK == blobSortKey:
		blob := decode[blobRow](row.Attrs)
		found.Digest, found.Key, found.Expected = oci.Digest(repo), blob.Key, blob.Size
		if have[objectKey(blob.Key)].Attrs.text(attrState) != string(objectLive) {
			found.Problem = DeadKey
		}
	case row.Key.PK[0] == 'B':
		link := decode[linkRow](row.Attrs)
		found.Digest, found.Key, found.Repository = oci.Digest(repo), link.Key, strings.TrimPrefix(row.Key.SK, linkPrefix)
		if have[Key{row.Key.PK, blobSortKey}].Attrs.text(attrKey) != link.Key {
			found.Problem = WrongLink
		}
	case row.Key.PK[0] == 'M':
		return judgeManifest(row, repo, have)
	case row.Key.PK[0] == 'C':
		found.Digest, found.Repository = oci.Digest(digest), repo
		if have[manifestKey(repo, found.Digest)].Attrs.text(attrState) != string(manifestLive) {
			found.Problem = NoContent
		}
	case row.Key.PK[0] == 'T':
		found.Digest, found.Repository, found.Tag = decode[tagRow](row.Attrs).Digest, repo, row.Key.SK
		if have[manifestKey(repo, found.Digest)].Attrs.text(attrState) != string(manifestLive) {
			found.Problem = NoTarget
		}
	}
	if found.Problem == "" {
		return nil
	}
	return []Finding{found}
}

func judgeManifest(row Row, repo string, have map[Key]Row) (found []Finding) {
	d, manifest := oci.Digest(row.Key.SK), decode[manifestRow](row.Attrs)
	for _, key := range relatedToManifest(repo, d, manifest) {
		attrs := have[key].Attrs
		f := Finding{Digest: d, Repository: repo, row: row}
		switch {
		case key.PK[0] == 'C' && attrs == nil:
			f.Problem = NoContent
		case key.PK[0] == 'K' && attrs.text(attrState) != string(objectLive):
			f.Problem, f.Key, f.Expected = DeadKey, manifest.Key, manifest.Size
		case key.PK[0] == 'B' && attrs == nil:
			f.Problem, f.Digest, f.Manifest = Missing, oci.Digest(key.PK[len("B#"):]), d
		default:
			continue
		}
		found = append(found, f)
	}
	return found
}

// confirm reads a row, the rows that are related to it, the object, and the row again. If the row
// is the same, then its faults existed at one time: content keys are never used twice.
func (s *scrubber) confirm(ctx context.Context, key Key) ([]Finding, error) {
	for range maxContended {
		row, err := s.getOne(ctx, key)
		if err != nil || row.Attrs == nil {
			return nil, err
		}
		have, err := s.getAll(ctx, s.related(row))
		if err != nil {
			return nil, err
		}
		var size int64
		found := judge(row, have, func(key string, expected int64) (p Problem) {
			p, size, err = s.lookAt(ctx, key, expected)
			return p
		})
		if err != nil || len(found) == 0 {
			return nil, err
		}
		if found[0].Problem != Lost {
			found[0].Size = size
		}
		again, err := s.getOne(ctx, key)
		if err != nil || again.Attrs == nil {
			return nil, err
		}
		if again.version() == row.version() {
			return s.distributable(ctx, found)
		}
	}
	return nil, nil // requests change it all the time, so they use it
}

// lookAt asks the store for an object and compares its size.
func (s *scrubber) lookAt(ctx context.Context, key string, expected int64) (Problem, int64, error) {
	size, _, err := s.stat(ctx, key, checkSize)
	switch {
	case errors.Is(err, ErrNoContent):
		return Lost, 0, nil
	case errors.Is(err, ErrEncoded):
		return Damaged, size, nil
	case err != nil:
		return "", 0, fmt.Errorf("look at object %s: %w", key, err)
	case size != expected:
		return WrongSize, size, nil
	}
	return "", size, nil
}

// distributable leaves out the missing blobs that a manifest may refer to without having them.
func (s *scrubber) distributable(ctx context.Context, found []Finding) ([]Finding, error) {
	var kept []Finding
	var must map[oci.Digest]bool
	for _, f := range found {
		if f.Problem == Missing && must == nil {
			var err error
			if must, err = s.mustHave(ctx, f.Repository, f.Manifest); err != nil {
				return nil, err
			}
		}
		if f.Problem != Missing || must[f.Digest] {
			kept = append(kept, f)
		}
	}
	return kept, nil
}

// mustHave returns the blobs that a repository must have for a manifest; none if its bytes cannot be
// read, which is another finding.
func (s *scrubber) mustHave(ctx context.Context, repo string, d oci.Digest) (map[oci.Digest]bool, error) {
	must := map[oci.Digest]bool{}
	content, err := s.FindManifest(ctx, repo, oci.Reference{Digest: d})
	if errors.Is(err, oci.NewError(oci.ManifestUnknown, "")) {
		return must, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := oci.ParseManifest(content.MediaType, content.Content)
	if err != nil {
		return must, nil //nolint:nilerr // damaged: --hash finds it
	}
	for _, blob := range m.Blobs {
		must[blob.Digest] = must[blob.Digest] || !blob.NonDistributable()
	}
	return must, nil
}
