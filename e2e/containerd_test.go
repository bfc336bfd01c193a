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

// containerd uses ctr with a daemon of the test. ctr reads no file with logins: it gets the
// token as a flag.
func containerd(image *testImage, socket, token string) client {
	flags := func(args ...string) []string {
		return append([]string{"--address", socket, "--namespace", "e2e"}, args...)
	}
	call := func(t *testing.T, args ...string) string {
		t.Helper()
		return run(t, "ctr", flags(args...)...)
	}
	login := []string{"--plain-http"}
	if token != "" {
		login = append(login, "--user", administrator+":"+token)
	}
	return client{
		name: "containerd",
		push: func(t *testing.T, ref string) {
			// Its archive has no compressed layers, and containerd pushes layers unchanged.
			call(t, "images", "import", "--no-unpack", image.archive)
			push := flags(append(append([]string{"images", "push"}, login...), ref, "localhost/pierless/e2e:v1")...)
			// ctr sometimes fails to read from its own daemon (containerd/nerdctl#984). Errors of
			// a registry are not RPC errors.
			if out, err := command(t, "ctr", push...).CombinedOutput(); err != nil {
				if !strings.Contains(string(out), "rpc error: code = Internal desc = unexpected EOF") {
					t.Fatalf("ctr images push: %v\n%s", err, out)
				}
				t.Logf("ctr did not get its own content, and pushes again:\n%s", out)
				run(t, "ctr", push...)
			}
		},
		pull: func(t *testing.T, ref, digest string) {
			if kept := strings.Fields(call(t, "images", "ls", "--quiet")); len(kept) > 0 {
				call(t, append([]string{"images", "rm", "--sync"}, kept...)...)
			}
			// Not "images pull", which unpacks: the sandbox may not mount. The digest of each
			// blob is checked here too.
			call(t, append(append([]string{"content", "fetch"}, login...), ref)...)
			if got := call(t, "images", "ls", "name=="+ref); !strings.Contains(got, " "+digest+" ") {
				t.Fatalf("pulled %s, want %s", got, digest)
			}
		},
	}
}

// startContainerd runs a daemon without plugins for containers and returns its socket.
func startContainerd(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("containerd must run as root here: run the tests as root, or choose with -run (scripts/e2e.sh)")
	}
	dir, err := os.MkdirTemp("", "e2e") // t.TempDir's path is too long for sockets
	must(t, err)
	socket := filepath.Join(dir, "containerd.sock")
	config := writeFile(t, filepath.Join(dir, "config.toml"), `version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
`)
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	cmd := exec.Command("containerd", "--config", config, "--address", socket,
		"--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state"))
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		log.Close()
		os.RemoveAll(dir)
	})
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if exec.Command("ctr", "--address", socket, "version").Run() == nil {
			return socket
		}
	}
	t.Fatalf("containerd is not ready after %v:\n%s", patience, tail(log.Name()))
	return ""
}
