//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// client is a program with its commands for a registry. A nil function means that the program
// has no such command.
type client struct {
	name string
	// keeps reports whether images are pushed byte for byte from a layout; docker and podman
	// compress again and write another manifest.
	keeps bool

	push func(t *testing.T, ref string)
	// pull fetches the image and checks its digest.
	pull func(t *testing.T, ref, digest string)
	// fetch is pull for a client that may have the layers from another registry: it removes
	// them first. A client without fetch caches nothing.
	fetch  func(t *testing.T, ref, digest string)
	copy   func(t *testing.T, from, to string)
	tags   func(t *testing.T, repo string) []string
	remove func(t *testing.T, ref string)
	// index pushes an image for two platforms.
	index func(t *testing.T, ref string)
	// platform pulls the arm64 image of an index.
	platform func(t *testing.T, ref string)
}

// fetchAnew pulls an image that another client has pushed, layers included.
func (c client) fetchAnew(t *testing.T, ref, digest string) {
	t.Helper()
	if c.fetch != nil {
		c.fetch(t, ref, digest)
		return
	}
	c.pull(t, ref, digest)
}

// run runs a program and returns its output; if the program fails, the test ends.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := command(t, program, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// command returns a program whose home and temporary files are in a directory of the test. It is
// killed when the test ends.
func command(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	// A killed client may leave a child process that keeps the output open.
	cmd.WaitDelay = 10 * time.Second
	// The test removes large temporary files.
	scratch := t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+scratch, "HOME="+scratch, "XDG_RUNTIME_DIR="+scratch)
	return cmd
}

func skopeo(image *testImage) client {
	call := func(t *testing.T, command string, args ...string) string {
		t.Helper()
		return run(t, "skopeo", append([]string{"--insecure-policy", command}, args...)...)
	}
	return client{
		name: "skopeo", keeps: true,
		push: func(t *testing.T, ref string) {
			call(t, "copy", "--dest-tls-verify=false", "oci:"+image.amd64Layout+":v1", "docker://"+ref)
		},
		pull: func(t *testing.T, ref, digest string) {
			dir := t.TempDir()
			call(t, "copy", "--src-tls-verify=false", "docker://"+ref, "oci:"+dir+":v1")
			checkLayout(t, dir, digest)
		},
		copy: func(t *testing.T, from, to string) {
			call(t, "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+from, "docker://"+to)
		},
		tags: func(t *testing.T, repo string) []string {
			return listedTags(call(t, "list-tags", "--tls-verify=false", "docker://"+repo))
		},
		remove: func(t *testing.T, ref string) { call(t, "delete", "--tls-verify=false", "docker://"+ref) },
		index: func(t *testing.T, ref string) {
			call(t, "copy", "--all", "--dest-tls-verify=false", "oci:"+image.indexLayout+":v1", "docker://"+ref)
		},
		platform: func(t *testing.T, ref string) {
			dir := t.TempDir()
			call(t, "--override-arch=arm64", "copy", "--src-tls-verify=false", "docker://"+ref, "oci:"+dir+":v1")
			checkLayout(t, dir, image.arm64.Digest)
		},
	}
}

// listedTags returns the tags of skopeo's JSON: one per line, in quotes.
func listedTags(out string) []string {
	_, list, _ := strings.Cut(out, `"Tags": [`)
	list, _, _ = strings.Cut(list, "]")
	return strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune("\", \n", r) })
}

func crane(image *testImage) client {
	return client{
		name: "crane", keeps: true,
		push: func(t *testing.T, ref string) { run(t, "crane", "push", image.amd64Layout, ref) },
		pull: func(t *testing.T, ref, digest string) {
			dir := filepath.Join(t.TempDir(), "layout")
			run(t, "crane", "pull", "--format=oci", ref, dir)
			checkLayout(t, dir, digest)
		},
		copy:   func(t *testing.T, from, to string) { run(t, "crane", "copy", from, to) },
		tags:   func(t *testing.T, repo string) []string { return strings.Fields(run(t, "crane", "ls", repo)) },
		remove: func(t *testing.T, ref string) { run(t, "crane", "delete", ref) },
		index: func(t *testing.T, ref string) {
			run(t, "crane", "push", image.amd64Layout, ref+"-amd64")
			run(t, "crane", "push", image.arm64Layout, ref+"-arm64")
			run(t, "crane", "index", "append", "-m", ref+"-amd64", "-m", ref+"-arm64", "-t", ref)
		},
		platform: func(t *testing.T, ref string) {
			dir := filepath.Join(t.TempDir(), "layout")
			run(t, "crane", "pull", "--platform=linux/arm64", "--format=oci", ref, dir)
			checkLayout(t, dir, image.arm64.Digest)
		},
	}
}

func regctl(image *testImage) client {
	call := func(t *testing.T, ref string, args ...string) string {
		t.Helper()
		host, _, _ := strings.Cut(ref, "/")
		return run(t, "regctl", append([]string{"--host", "reg=" + host + ",tls=disabled"}, args...)...)
	}
	return client{
		name: "regctl", keeps: true,
		push: func(t *testing.T, ref string) {
			call(t, ref, "image", "copy", "ocidir://"+image.amd64Layout+":v1", ref)
		},
		pull: func(t *testing.T, ref, digest string) {
			dir := t.TempDir()
			call(t, ref, "image", "copy", ref, "ocidir://"+dir+":v1")
			checkLayout(t, dir, digest)
		},
		copy:   func(t *testing.T, from, to string) { call(t, from, "image", "copy", from, to) },
		tags:   func(t *testing.T, repo string) []string { return strings.Fields(call(t, repo, "tag", "ls", repo)) },
		remove: func(t *testing.T, ref string) { call(t, ref, "tag", "delete", ref) },
		index: func(t *testing.T, ref string) {
			call(t, ref, "image", "copy", "ocidir://"+image.indexLayout+":v1", ref)
		},
		platform: func(t *testing.T, ref string) {
			dir := t.TempDir()
			call(t, ref, "image", "copy", "--platform=linux/arm64", ref, "ocidir://"+dir+":v1")
			checkLayout(t, dir, image.arm64.Digest)
		},
	}
}

func oras(image *testImage) client {
	return client{
		name: "oras", keeps: true,
		push: func(t *testing.T, ref string) {
			run(t, "oras", "copy", "--from-oci-layout", image.amd64Layout+":v1", "--to-plain-http", ref)
		},
		pull: func(t *testing.T, ref, digest string) {
			dir := t.TempDir()
			run(t, "oras", "copy", "--from-plain-http", ref, "--to-oci-layout", dir+":v1")
			checkLayout(t, dir, digest)
		},
		copy: func(t *testing.T, from, to string) {
			run(t, "oras", "copy", "--from-plain-http", from, "--to-plain-http", to)
		},
		tags: func(t *testing.T, repo string) []string {
			return strings.Fields(run(t, "oras", "repo", "tags", "--plain-http", repo))
		},
		remove: func(t *testing.T, ref string) { run(t, "oras", "manifest", "delete", "--plain-http", "--force", ref) },
		index: func(t *testing.T, ref string) {
			run(t, "oras", "copy", "--recursive", "--from-oci-layout", image.indexLayout+":v1", "--to-plain-http", ref)
		},
		platform: func(t *testing.T, ref string) {
			dir := t.TempDir()
			run(t, "oras", "copy", "--platform=linux/arm64", "--from-plain-http", ref, "--to-oci-layout", dir+":v1")
			checkLayout(t, dir, image.arm64.Digest)
		},
	}
}
