//go:build mutants

package registry

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutants are rules of the pushing side and of garbage collection, each without one of its
// conditions. TestSimulation and the tests of single rules must fail for every one of them.
//
// Two conditions are not here because others cover them: they spare calls. reviewBlob may delete a
// young blob without links, whose next push sends it again; and it may drop the review of a blob
// that was linked meanwhile, because the new link has a review. In the last transaction of dropBlob,
// the conditions on the blob and on its key cover each other: every push that heals changes both. Scrub
// reads a row again before it reports it: a wrong report would change nothing, as repairs have conditions
// of their own.
var mutants = []struct{ name, file, old, mutated string }{
	{
		"a young link is condemned", "collect_links.go",
		"if until := r.youngUntil(decode[linkRow](row.Attrs).Renewed); until > 0 {", "if until := int64(0); until > 0 {",
	},
	{"a young link drops its review", "collect_links.go", "later[unneeded[i]] = until\n", "_, _ = until, unneeded[i]\n"},
	{"a pending manifest drops the review", "collect_links.go", "\t\t\tlater[d] = of.until\n", ""},
	{"a pending manifest does not count", "collect_links.go", "needs[d] = need{have.live || of.live, max(have.until, of.until)}", "needs[d] = need{have.live || of.live, 0}"},
	{
		"a stale pending manifest counts for ever", "collect_links.go",
		"if until := r.youngUntil(manifest.Renewed); until > 0 || stale == leavePending {\n\t\treturn until, nil\n\t}", "return r.now() + 1, nil",
	},
	{
		"a stale pending manifest is ignored and stays", "collect_links.go",
		"_, err := r.meta.Update(ctx, Write{Key: row.Key, Op: Delete, If: unchanged(manifest.Version)})", "var err error",
	},
	{"a stale pending manifest is deleted in any version", "collect_links.go", "Write{Key: row.Key, Op: Delete, If: unchanged(manifest.Version)}", "Write{Key: row.Key, Op: Delete}"},
	{"no second look at manifests", "collect_links.go", "needs, err := r.look(ctx, repo, digests, dropPending)\n\tif err != nil {\n\t\treturn 0, err\n\t}\n\tfor _, link", "needs, err := map[oci.Digest]need{}, error(nil)\n\tif err != nil {\n\t\treturn 0, err\n\t}\n\tfor _, link"},
	{"a link is deleted in any version", "collect_links.go", "{Key: linkKey(repo, link.digest), Op: Delete, If: unchanged(link.version)}", "{Key: linkKey(repo, link.digest), Op: Delete}"},
	{
		"the delete of a link queues no review of its blob", "collect_links.go",
		"\t\t\tr.reviewAt(string(link.digest), reviewRow{Kind: reviewBlob, Digest: link.digest}, r.now()),\n", "",
	},
	{"a renewed link drops its review", "collect_links.go", "default: // a request has renewed the lease\n\t\t\tlater[link.digest] = r.now() + r.opts.Grace.Milliseconds()", "default:"},
	{"a link that was changed before it was condemned drops its review", "collect_links.go", "later[d] = r.now() + r.opts.Grace.Milliseconds()\n", ""},
	{"a restored link is not reviewed again", "collect_links.go", "\t\t\t\tlater[link.digest] = of.until\n", "\t\t\t\t_ = of.until\n"},
	{"reviews go before the work is queued", "collect_links.go", "\tfor _, row := range reviews {\n\t\twrites = append(writes,", "\twrites = nil\n\tfor _, row := range reviews {\n\t\twrites = append(writes,"},
	{"a blob with links is deleted", "collect.go", "if len(page.Rows) != 1 || page.Rows[0].Key != blobKey(d) {", "if len(page.Rows) == 0 || page.Rows[0].Key != blobKey(d) {"},
	{"a blob is deleted in any version", "collect.go", "Write{Key: blobKey(d), Op: Delete, If: unchanged(version)}", "Write{Key: blobKey(d), Op: Delete}"},
	{"the object of a blob is not queued", "collect.go", "\t\tr.expiryWrite(row.Key, r.now()),\n", ""},
	{"the key of a blob stays live", "collect.go", "\t\tWrite{Key: objectKey(row.Key), Op: Put, Attrs: encode(r.deadRow(objectRow{}))},\n", ""},
	{"a new link has no review", "commit.go", "r.review(b.repo, reviewRow{Kind: reviewLink, Repo: b.repo, Digest: b.digest}),", "r.review(b.repo, reviewRow{Kind: reviewBlob, Repo: b.repo, Digest: b.digest}),"},
	{"a deleted manifest has no review", "delete.go", "r.review(repo, reviewRow{Kind: reviewManifest, Repo: repo, Digest: d, Refs: row.Refs})", "r.review(repo, reviewRow{Kind: reviewManifest, Repo: repo, Digest: d})"},
	{"the bytes of a deleted manifest are not queued", "delete.go", ", r.expiryWrite(row.Key, r.now()))", ")"},
	{"a large manifest opens no session", "pushmanifest.go", "r.openWrites(key, encode(row), row.Expires)...", "r.openWrites(key, encode(row), row.Expires)[:1]..."},
	{"an expired upload is looked at once", "expire.go", "if count == &e.Ended {", "if false {"},
	{"a push renews no lease", "lease.go", "if !ref.blob || !r.mustRenew(decode[linkRow](rows[i].Attrs)) {", "if true {"},
	{"a lease that has nearly ended is not renewed", "lease.go", "return renewed < r.now()-r.opts.Grace.Milliseconds()/2", "return renewed < r.now()-2*r.opts.Grace.Milliseconds()"},
	{"a condemned link need not be renewed", "lease.go", "return link.State != blobLive || r.leaseExpired(link.Renewed)", "return r.leaseExpired(link.Renewed)"},
	{"tags are read before the version that their delete requires", "delete.go", "\t\tif err == nil && try > 0 {\n\t\t\t// A tag", "\t\tif err == nil && try > 0 {\n\t\t\trow, err = r.liveManifest(ctx, repo, d)\n\t\t}\n\t\tif err == nil && try > 0 {\n\t\t\t// A tag"},
	{"the delete of a repository does not mark it", "delete_repository.go", "return d.did, r.unlist(ctx, repo)", "return d.did, nil"},
	{"an idle repository is not marked again", "delete_repository.go", "return d.did, r.unlist(ctx, repo)", "if !listed {\n\t\treturn d.did, nil\n\t}\n\treturn d.did, r.unlist(ctx, repo)"},
	{"a deleted repository has no review", "delete_repository.go", "r.idleWrite(repo, Cond{}), r.review(repo, reviewRow{Kind: reviewRepo, Repo: repo})", "r.idleWrite(repo, Cond{})"},
	{"a repository is marked before its manifests are deleted", "delete_repository.go", "\terr = d.deleteManifests(ctx)\n", "\tif err := r.unlist(ctx, repo); err != nil {\n\t\treturn d.did, err\n\t}\n\terr = d.deleteManifests(ctx)\n\tif !d.did.More {\n\t\treturn d.did, err\n\t}\n"},
	{"the delete of a repository takes pending manifests", "delete_repository.go", "if manifest.State != manifestLive {\n\t\t\tcontinue", "if false {\n\t\t\tcontinue"},
	{"a call without time deletes nothing", "delete_repository.go", "step > 0 && !d.opts", "!d.opts"},
	{"a dangling tag is deleted though its manifest is live", "delete_repository.go", "if manifest.State == manifestLive {\n\t\treturn false, nil\n\t}\n", ""},
	{"a dangling tag is deleted though its manifest was published meanwhile", "delete_repository.go", "\tdeleted, err = d.transactUnlessConflict(ctx, []Write{\n\t\t{Key: manifestKey(d.repo, of), Op: Check, If: same},\n", "\t_ = same\n\tdeleted, err = d.transactUnlessConflict(ctx, []Write{\n"},
	{"an unknown repository can be deleted", "delete_repository.go", "if !listed && d.did == (oci.DeletedRepository{}) {", "if !listed && listed {"},
	{"the lists have idle repositories", "lists.go", "case decode[repositoryRow](row.Attrs).State != repositoryIdle:", "case true:"},
	{"the lists have no idle repository", "lists.go", "\t\t\t\tif found {", "\t\t\t\tif found && false {"},
	{"a pending manifest lists a repository", "lists.go", "if decode[manifestRow](row.Attrs).State == manifestLive {", "if row.Key.SK != \"\" {"},
	{"a page ends at the first idle repository", "lists.go", "for page.More && len(names) < enough {", "for once := true; once && page.More && len(names) < enough; once = false {"},
	{"the last page of a caller tells of others", "lists.go", "limit, enough = MaxPage, n+1", "limit = MaxPage"},
	{"a review restores a repository in any version", "collect_repositories.go", "Key: repositoryKey(repo), Op: Set, If: unchanged(row.Version), Attrs: encode(repositoryRow{State: repositoryLive}),", "Key: repositoryKey(repo), Op: Set, Attrs: encode(repositoryRow{State: repositoryLive}),"},
	{"a review deletes a repository in any version", "collect_repositories.go", "Write{Key: repositoryKey(repo), Op: Delete, If: unchanged(row.Version)}", "Write{Key: repositoryKey(repo), Op: Delete}"},
	{"a repository is deleted at its first review", "collect_repositories.go", "case row.State == repositoryIdle && until > 0:", "case row.State == repositoryIdle && false:"},
	{"a push leaves an idle repository", "references.go", "if decode[repositoryRow](row.Attrs).State != repositoryLive {", "if row.Attrs == nil {"},
	{"a suspect is reported without a second look", "scrub_rows.go", "found, err := s.confirm(ctx, row.Key)\n\t\tif len(found)", "found, err := judge(row, have, listed), error(nil)\n\t\tif len(found)"},
	{"a link that is about to be relinked is reported", "scrub_rows.go", "if err = s.sleep(ctx, relinkPause); err == nil {", "if false {"},
	{"an object whose key has just died is an orphan", "scrub_objects.go", "died < s.now()-orphanAge.Milliseconds()", "died < s.now()"},
	{"a foreign layer is missing", "scrub_rows.go", "if f.Problem != Missing || must[f.Digest] {", "if true {"},
	{"a named object is an orphan", "scrub_rows.go", "f.Problem == Orphan && named[f.Key]", "false"},
	{"a young orphan is deleted", "scrub_repair.go", "if f.Modified.UnixMilli() > s.now()-orphanAge.Milliseconds() {", "if false {"},
	{"the object of a dead key is not queued", "scrub_repair.go", "\t\ts.expiryWrite(key, s.now()),\n", ""},
	{"links are deleted whatever happens to their blob", "scrub_repair.go", "writes := []Write{{Key: blob.Key, Op: Check, If: unchanged(blob.version())}}", "writes := []Write{{Key: blob.Key, Op: Check}}"},
	{"a healed blob is deleted", "scrub_repair.go", "blob.Attrs.text(attrKey) != f.Key || f.row.Key", "f.row.Key"},
	{"an object that is back is dropped", "scrub_repair.go", "err != nil || !bad || blob", "err != nil || !bad && false || blob"},
	{"a key is revived with wrong bytes", "scrub_repair.go", "if err != nil || d != f.Digest {", "if err != nil || d != f.Digest && false {"},
	{"the rest of the links stays", "scrub_repair.go", "if !page.More {", "if true {"},
	{"the bytes of a damaged manifest wait for the sweep", "scrub_repair.go", "if applied {\n\t\ts.cleanUp(", "if false {\n\t\ts.cleanUp("},
	{"a dead key is revived", "scrub_repair.go", "if err != nil || decode[objectRow](row.Attrs).State == objectDead {", "if err != nil {"},
}

// TestMutants: each mutant fails a test of this package.
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			path, err := filepath.Abs(m.file)
			if err != nil {
				t.Fatal(err)
			}
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(source), m.old) != 1 {
				t.Fatalf("%s has the text %q %d times", m.file, m.old, strings.Count(string(source), m.old))
			}
			dir := t.TempDir()
			mutated, overlay := filepath.Join(dir, "mutated.go"), filepath.Join(dir, "overlay.json")
			content, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
			if err != nil {
				t.Fatal(err)
			}
			write(t, mutated, strings.Replace(string(source), m.old, m.mutated, 1))
			write(t, overlay, string(content))
			tests := "Simulation|Collect|Promise|Heal|Delete|Pages|Review"
			if strings.HasPrefix(m.file, "scrub") {
				tests = "Heal|Scrub|Repair"
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-vet=off", "-failfast", "-run", tests, ".")
			cmd.Env = append(os.Environ(), "PIERLESS_SIM_RUNS=3000")
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil:
				t.Error("survives")
			case strings.Contains(string(out), "[build failed]"):
				t.Errorf("is no program: %s", out)
			}
		})
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
