package verify

import (
	"fmt"
	"net/http"
)

const ciPipelines = "CI pipelines that push at the same time"

func pushRaces() []Case {
	return []Case{
		{
			"race-one-tag", Concurrency, Must, "Pushing Manifests",
			"Of many manifests that are pushed to one tag at once each is stored, and the tag is exactly one of them.",
			ciPipelines + ": an image is gone, or latest is a mixture", raceOneTag,
		},
		{
			"race-many-tags", Concurrency, Must, "Pushing Manifests",
			"Tags that are pushed to one repository at once are all there afterwards, in the list and for pulls.",
			ciPipelines + ": a build was told 201 and its tag is lost", raceManyTags,
		},
		{
			"race-one-manifest-many-tags", Concurrency, Must, "Pushing Manifests",
			"One manifest that is pushed with many tags at once has all of them afterwards.",
			"releases that set 1, 1.2 and latest in parallel", raceOneManifestManyTags,
		},
		{
			"race-one-blob", Concurrency, Must, "Use Cases",
			"One blob that is uploaded many times at once is taken each time, and can be pulled from the first 201 on.",
			"parallel builds on the same base image: docker and podman give the push up", raceOneBlob,
		},
		{
			"race-one-blob-many-repositories", Concurrency, Must, "Use Cases",
			"One blob that is uploaded to many repositories at once is there in each of them.",
			"monorepos that push many images on one new base", raceOneBlobManyRepositories,
		},
		{
			"race-shared-base", Concurrency, Must, "Push",
			"Many clients that push images with a common layer to one new repository at once all succeed.",
			ciPipelines, raceSharedBase,
		},
		{
			"race-mounts", Concurrency, Must, "Mounting a blob from another repository",
			"A blob that is mounted into many repositories at once is in each that was told 201; the others get an upload.",
			"docker and buildkit mount base layers: the manifest is refused, or pulls break", raceMounts,
		},
		{
			"race-referrers", Concurrency, Must, "Enabling the Referrers API",
			"Manifests that are pushed at once with one subject are all in the list of its referrers afterwards.",
			"signatures, SBOMs and attestations that are attached in parallel: some are lost", raceReferrers,
		},
	}
}

func raceOneTag(p *probe) {
	versions := p.versions(p.repo, 12)
	p.each(len(versions), func(i int) {
		p.putManifest(p.repo, "latest", versions[i]).is(http.StatusCreated)
	})
	p.getManifest(p.repo, "latest").isOneOf(versions)
	for _, m := range versions {
		p.getManifest(p.repo, string(m.digest)).isWhole(m)
	}
}

func raceManyTags(p *probe) {
	versions := p.versions(p.repo, 30)
	tag := func(i int) string { return fmt.Sprintf("v%02d", i) }
	p.each(len(versions), func(i int) {
		p.putManifest(p.repo, tag(i), versions[i]).is(http.StatusCreated)
	})
	tags := p.listedTags(p.repo)
	for i, m := range versions {
		p.holds("the tag list", tags, tag(i))
		p.getManifest(p.repo, tag(i)).isWhole(m)
	}
}

func raceOneManifestManyTags(p *probe) {
	m := p.newImage(p.repo)
	tag := func(i int) string { return fmt.Sprintf("v%02d", i) }
	p.each(20, func(i int) {
		p.putManifest(p.repo, tag(i), m).is(http.StatusCreated)
	})
	tags := p.listedTags(p.repo)
	for i := range 20 {
		p.holds("the tag list", tags, tag(i))
		p.getManifest(p.repo, tag(i)).isWhole(m)
	}
	p.getManifest(p.repo, string(m.digest)).isWhole(m)
}

func raceOneBlob(p *probe) {
	b := p.newBlob(100_000)
	p.each(12, func(int) {
		p.upload(p.repo, b).is(http.StatusCreated)
		p.isPulled(p.repo, b)
	})
}

func raceOneBlobManyRepositories(p *probe) {
	b := p.newBlob(100_000)
	p.each(12, func(i int) {
		repo := p.numbered(i)
		p.upload(repo, b).is(http.StatusCreated)
		p.isPulled(repo, b)
	})
	for i := range 12 {
		p.isPulled(p.numbered(i), b)
	}
}

// numbered is one more repository of the case's own.
func (p *probe) numbered(i int) repository {
	return repository(fmt.Sprintf("%s-%02d", p.repo, i))
}

func raceSharedBase(p *probe) {
	base := p.newBlob(50_000)
	images := make([]manifest, 16)
	p.each(len(images), func(i int) {
		config := p.newBlob(200)
		if p.head(p.repo.blob(base.digest)).is(http.StatusOK, http.StatusNotFound).status == http.StatusNotFound {
			p.upload(p.repo, base).is(http.StatusCreated)
		}
		p.upload(p.repo, config).is(http.StatusCreated)
		images[i] = p.imageOf(config, base).encode()
		p.putManifest(p.repo, fmt.Sprintf("build-%02d", i), images[i]).is(http.StatusCreated)
	})
	for i, m := range images {
		p.getManifest(p.repo, fmt.Sprintf("build-%02d", i)).isWhole(m)
	}
	p.isPulled(p.repo, base)
}

func raceMounts(p *probe) {
	b := p.newBlob(5000)
	p.hasBlob(p.repo, b)
	if a := p.post(p.other.uploads(mountFrom(b.digest, p.repo))).is(http.StatusCreated, http.StatusAccepted); a.status == http.StatusAccepted {
		p.notOffered(a, "mounts open an upload instead")
	}
	p.each(20, func(i int) {
		a := p.post(p.numbered(i).uploads(mountFrom(b.digest, p.repo))).is(http.StatusCreated, http.StatusAccepted)
		if a.status == http.StatusCreated {
			p.isPulled(p.numbered(i), b)
			return
		}
		p.finish(a.location(), b.digest, b.content).is(http.StatusCreated)
	})
	for i := range 20 {
		p.isPulled(p.numbered(i), b)
	}
}

func raceReferrers(p *probe) {
	subject := p.hasImage(p.repo, "v1")
	p.needsReferrers(p.repo, subject.digest)
	attached := p.referrersTo(subject, 30)
	p.each(len(attached), func(i int) {
		p.putManifest(p.repo, string(attached[i].digest), attached[i]).is(http.StatusCreated)
	})
	listed := p.listedReferrers(p.repo, subject.digest)
	for _, m := range attached {
		p.holds("the list of referrers", listed, string(m.digest))
	}
}
