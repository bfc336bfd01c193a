//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// docker uses a daemon of the test, which pushes and pulls.
func docker(image *testImage, socket string) client {
	call := func(t *testing.T, args ...string) string {
		t.Helper()
		return run(t, "docker", append([]string{"--host", "unix://" + socket}, args...)...)
	}
	return client{
		name: "docker",
		push: func(t *testing.T, ref string) {
			call(t, "load", "--quiet", "--input", image.archive)
			call(t, "tag", "localhost/pierless/e2e:v1", ref)
			call(t, "push", "--quiet", ref)
		},
		pull: func(t *testing.T, ref, digest string) {
			id := call(t, "image", "inspect", "--format={{.Id}}", ref)
			call(t, "rmi", "--force", id)
			call(t, "pull", "--quiet", ref)
			got := call(t, "image", "inspect", "--format={{.Id}} {{.RepoDigests}}", ref)
			if !strings.Contains(got, id) || !strings.Contains(got, digest) {
				t.Fatalf("pulled %s, want id %s and digest %s", got, id, digest)
			}
		},
		fetch: func(t *testing.T, ref, digest string) {
			call(t, "image", "prune", "--all", "--force")
			call(t, "pull", "--quiet", ref)
			wantDigest(t, call(t, "image", "inspect", "--format={{.RepoDigests}}", ref), digest)
		},
		copy: func(t *testing.T, from, to string) {
			call(t, "tag", from, to)
			call(t, "push", "--quiet", to)
		},
		index: func(t *testing.T, ref string) {
			repo := ref[:strings.LastIndex(ref, ":")]
			run(t, "docker", "manifest", "create", "--insecure", ref, repo+"@"+image.amd64.Digest, repo+"@"+image.arm64.Digest)
			run(t, "docker", "manifest", "push", "--insecure", "--purge", ref)
		},
		platform: func(t *testing.T, ref string) {
			call(t, "pull", "--quiet", "--platform=linux/arm64", ref)
			wantArchitecture(t, call(t, "image", "inspect", "--format={{.Architecture}}", ref))
		},
	}
}

func podman(image *testImage, storage string) client {
	call := func(t *testing.T, args ...string) string {
		t.Helper()
		return run(t, "podman", append(podmanFlags(storage), args...)...)
	}
	return client{
		name: "podman",
		push: func(t *testing.T, ref string) {
			call(t, "load", "--quiet", "--input", image.archive)
			call(t, "tag", "localhost/pierless/e2e:v1", ref)
			call(t, "push", "--quiet", "--tls-verify=false", ref)
		},
		pull: func(t *testing.T, ref, digest string) {
			id := call(t, "image", "inspect", "--format={{.Id}}", ref)
			call(t, "rmi", "--force", id)
			call(t, "pull", "--quiet", "--tls-verify=false", ref)
			got := call(t, "image", "inspect", "--format={{.Id}} {{.RepoDigests}}", ref)
			if !strings.Contains(got, id) || !strings.Contains(got, digest) {
				t.Fatalf("pulled %s, want id %s and digest %s", got, id, digest)
			}
		},
		fetch: func(t *testing.T, ref, digest string) {
			call(t, "rmi", "--all", "--force")
			call(t, "pull", "--quiet", "--tls-verify=false", ref)
			wantDigest(t, call(t, "image", "inspect", "--format={{.RepoDigests}}", ref), digest)
		},
		copy: func(t *testing.T, from, to string) {
			call(t, "tag", from, to)
			call(t, "push", "--quiet", "--tls-verify=false", to)
		},
		tags: func(t *testing.T, repo string) []string {
			var tags []string // a table of names and tags under a heading
			for i, field := range strings.Fields(call(t, "search", "--list-tags", "--tls-verify=false", repo)) {
				if i > 1 && i%2 == 1 {
					tags = append(tags, field)
				}
			}
			return tags
		},
		index: func(t *testing.T, ref string) {
			repo := ref[:strings.LastIndex(ref, ":")]
			call(t, "manifest", "create", "e2e-index")
			for _, digest := range []string{image.amd64.Digest, image.arm64.Digest} {
				call(t, "manifest", "add", "--tls-verify=false", "e2e-index", "docker://"+repo+"@"+digest)
			}
			call(t, "manifest", "push", "--quiet", "--all", "--tls-verify=false", "e2e-index", "docker://"+ref)
			call(t, "manifest", "rm", "e2e-index")
		},
		platform: func(t *testing.T, ref string) {
			call(t, "pull", "--quiet", "--tls-verify=false", "--platform=linux/arm64", ref)
			wantArchitecture(t, call(t, "image", "inspect", "--format={{.Architecture}}", ref))
		},
	}
}

func podmanFlags(storage string) []string {
	return []string{
		"--root", filepath.Join(storage, "root"), "--runroot", filepath.Join(storage, "run"), "--storage-driver", "vfs",
	}
}

func wantDigest(t *testing.T, got, digest string) {
	t.Helper()
	if !strings.Contains(got, "@"+digest) {
		t.Fatalf("pulled %s, want digest %s", got, digest)
	}
}

func wantArchitecture(t *testing.T, got string) {
	t.Helper()
	if got != "arm64" {
		t.Fatalf("pulled the image for %s, want arm64", got)
	}
}

// startDockerd runs a daemon without container networks, which pushing and loading do not need,
// so that it does not change the machine's firewall. It returns the daemon's socket.
func startDockerd(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("dockerd must run as root here: run the tests as root, or choose with -run (scripts/e2e.sh)")
	}
	// The path of t.TempDir is too long for containerd's sockets.
	dir, err := os.MkdirTemp("", "e2e")
	must(t, err)
	socket := filepath.Join(dir, "docker.sock")
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	cmd := exec.Command("dockerd", "--host", "unix://"+socket,
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--storage-driver", "vfs",
		"--bridge=none", "--iptables=false", "--ip-masq=false")
	cmd.Stdout, cmd.Stderr = log, log
	// Ignore the settings of another daemon on this machine.
	cmd.Args = append(cmd.Args, "--config-file", writeFile(t, filepath.Join(dir, "daemon.json"), "{}"))
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		log.Close()
		os.RemoveAll(dir)
	})
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if exec.Command("docker", "--host", "unix://"+socket, "info").Run() == nil {
			return socket
		}
	}
	t.Fatalf("dockerd is not ready after %v:\n%s", patience, tail(log.Name()))
	return ""
}

func writeFile(t *testing.T, path, content string) string {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}
