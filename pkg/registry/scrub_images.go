package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/pierless/pierless/pkg/oci"
)

// findImages adds the manifests that the findings break, before a repair changes the rows.
func (s *scrubber) findImages(ctx context.Context) error {
	lost := map[string]map[oci.Digest]bool{} // by repository
	for _, f := range s.scrubbed.Findings {
		repos, err := s.holders(ctx, f)
		if err != nil {
			return err
		}
		for _, repo := range repos {
			if lost[repo] == nil {
				lost[repo] = map[oci.Digest]bool{}
			}
			lost[repo][f.Digest] = true
		}
	}
	for _, repo := range slices.Sorted(maps.Keys(lost)) {
		if err := s.brokenImages(ctx, repo, lost[repo]); err != nil {
			return err
		}
		s.progress()
	}
	return nil
}

// holders returns the repositories in which a finding may break images.
func (s *scrubber) holders(ctx context.Context, f Finding) (repos []string, err error) {
	switch f.Problem {
	case WrongLink, Missing, NoContent:
		return []string{f.Repository}, nil
	case Lost, WrongSize, Damaged, DeadKey:
	case Orphan, Unnamed, NoTarget:
		return nil, nil
	}
	if f.Repository != "" {
		repos = append(repos, f.Repository) // of a manifest, or of the first push of a blob
	}
	for row, err := range s.queryAll(ctx, Query{PK: blobPartition(f.Digest), Prefix: linkPrefix, Limit: MaxPage}) {
		if err != nil {
			return nil, fmt.Errorf("read links: %w", err)
		}
		repos = append(repos, row.Key.SK[len(linkPrefix):])
	}
	return repos, nil
}

// brokenImages adds the manifests of a repository that lost content breaks: those that are lost
// themselves, those that refer to it, and the indexes of these. Each pass over the manifests finds
// those that refer to the ones of the pass before; indexes are seldom nested.
func (s *scrubber) brokenImages(ctx context.Context, repo string, lost map[oci.Digest]bool) error {
	causes := map[oci.Digest]map[oci.Digest]bool{} // by the manifest
	blame := func(d, cause oci.Digest) bool {
		if causes[d] == nil {
			causes[d] = map[oci.Digest]bool{}
		}
		known := causes[d][cause]
		causes[d][cause] = true
		return !known
	}
	for more := true; more; {
		more = false
		for row, err := range s.queryAll(ctx, Query{PK: manifestPartition(repo), Limit: MaxPage}) {
			if err != nil {
				return fmt.Errorf("read manifests: %w", err)
			}
			d, manifest := oci.Digest(row.Key.SK), decode[manifestRow](row.Attrs)
			if manifest.State != manifestLive {
				continue
			}
			if lost[d] {
				more = blame(d, d) || more
			}
			refs, _ := unpackDigests(manifest.Refs) // written by packDigests
			for _, ref := range refs {
				if lost[ref] {
					more = blame(d, ref) || more
				}
				for cause := range causes[ref] {
					more = blame(d, cause) || more
				}
			}
		}
	}
	for _, d := range slices.Sorted(maps.Keys(causes)) {
		tags, err := s.edges(ctx, repo, d)
		if err != nil {
			return err
		}
		if tags, err = s.pointing(ctx, repo, d, tags); err != nil {
			return err
		}
		image := Image{Repository: repo, Digest: d, Tags: append([]string{}, tags...), Broken: slices.Sorted(maps.Keys(causes[d]))}
		s.scrubbed.Images = append(s.scrubbed.Images, image)
	}
	return nil
}
