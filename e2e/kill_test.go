//go:build e2e

package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/loopback"
)

// site is a registry over LocalStack, with a relay on each path of bytes.
type site struct {
	server *server
	front  *relay // to the registry
	store  *relay // to S3, for the registry and for clients with its URLs
}

func startSite(t *testing.T) *site {
	t.Helper()
	s := &site{store: startRelay(t, strings.TrimPrefix(endpoint(t), "http://"))}
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://"+s.store.host)
	s.server = startServer(t, "localstack")
	s.front = startRelay(t, s.server.host)
	return s
}

// relayOf returns the relay for a point: only paths of S3 do not contain /v2/.
func (s *site) relayOf(p point) *relay {
	if strings.HasPrefix(p.path, "/blobs/") {
		return s.store
	}
	return s.front
}

const (
	killedLayer = 64 * mib // four parts
	killedPart  = 16 * mib
)

// Points of an upload of killedLayer. Paths with /blobs/ belong to S3.
var (
	offered   = point{method: "POST", path: "/_pierless/uploads", answered: true}
	inThePut  = point{method: "PUT", path: "/blobs/", bytes: 20 * mib}
	put       = point{method: "PUT", path: "/blobs/", bytes: 20 * mib, answered: true}
	completes = point{method: "PUT", path: "/_pierless/uploads/"}
	completed = point{method: "PUT", path: "/_pierless/uploads/", answered: true}
	tagged    = point{method: "PUT", path: "/manifests/", answered: true}
)

// TestKillPush kills "pierless push" at each point: repeating the command succeeds, and two days
// later nothing of the first one is left.
func TestKillPush(t *testing.T) {
	image := buildLayout(t, t.TempDir(), killedLayer)
	source := "oci:" + image.amd64Layout + ":v1"
	for _, c := range []struct {
		name string
		at   point
		args []string
		// again is the maximum of bytes that the second command may send.
		again int64
	}{
		{"offer answered", offered, nil, killedLayer + mib},
		{"small blob stored", point{method: "PUT", path: "/blobs/", answered: true}, nil, killedLayer + mib},
		{"in the PUT", inThePut, nil, killedLayer + mib},
		{"PUT answered", put, nil, killedLayer + mib},
		{"before the completion", completes, nil, killedLayer + mib},
		{"completion answered", completed, nil, killedLayer + mib},
		{"manifest answered", tagged, nil, mib},
		{"first parts signed", point{method: "POST", path: "/_pierless/parts/", answered: true}, []string{"--parts"}, killedLayer + mib},
		{"three parts stored", point{method: "PUT", path: "/blobs/", bytes: killedPart, answered: true, count: 3}, []string{"--parts"}, killedLayer - 2*killedPart + mib},
		{"parts completed", completed, []string{"--parts"}, mib},
		{"before the verification", point{method: "POST", path: "/_pierless/verifications/"}, []string{"--parts"}, mib},
		{"verified", point{method: "POST", path: "/_pierless/verifications/", answered: true}, []string{"--parts"}, mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, home := startSite(t), t.TempDir()
			args := append(append([]string{"push"}, c.args...), source, s.front.host+"/e2e/killed:v1")
			killed := atHome(t, home, built(t, "pierless"), args...)
			s.relayOf(c.at).set(c.at, func() { _ = killed.Process.Kill() })
			if out, err := killed.CombinedOutput(); err == nil {
				t.Fatalf("was not killed:\n%s", out)
			}
			s.relayOf(c.at).check(t)

			before := s.store.drain(t)
			if out, err := atHome(t, home, built(t, "pierless"), args...).CombinedOutput(); err != nil {
				t.Fatalf("the same command again: %v\n%s", err, out)
			}
			sent := s.store.sent.Load() - before
			t.Logf("sent %d bytes again", sent)
			if sent > c.again {
				t.Errorf("sent %d bytes again, want at most %d", sent, c.again)
			}
			s.checkEnd(t, image, s.front.host+"/e2e/killed:v1")
		})
	}
}

// TestKillPushInChunks does so with a registry without direct uploads.
func TestKillPushInChunks(t *testing.T) {
	image := buildLayout(t, t.TempDir(), killedLayer)
	s, home := startServer(t, "embedded"), t.TempDir()
	front := startRelay(t, s.host)
	ref := front.host + "/e2e/killed:v1"
	push := func() *exec.Cmd {
		return atHome(t, home, built(t, "pierless"), "push", "oci:"+image.amd64Layout+":v1", ref)
	}
	killed := push()
	front.set(point{method: "PATCH", path: "/blobs/uploads/", answered: true, count: 5}, func() { _ = killed.Process.Kill() })
	if out, err := killed.CombinedOutput(); err == nil {
		t.Fatalf("was not killed:\n%s", out)
	}
	front.check(t)
	if out, err := push().CombinedOutput(); err != nil {
		t.Fatalf("the same command again: %v\n%s", err, out)
	}
	crane(image).pull(t, ref, image.amd64.Digest)
}

// TestKillProxy kills the proxy during a client's push.
func TestKillProxy(t *testing.T) {
	image := buildLayout(t, t.TempDir(), killedLayer)
	for _, c := range []struct {
		name string
		at   point
	}{
		{"in the client's body", point{method: "PATCH", path: "/v2/", bytes: 20 * mib}},
		{"offer answered", offered},
		{"in the PUT", inThePut},
		{"before the completion", completes},
		{"completion answered", completed},
		{"manifest answered", tagged},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startSite(t)
			host := loopback.FreeAddress(t)
			clients := startRelay(t, host)
			proxy := startProxyAt(t, host, &server{host: s.front.host}, "--allow-host", clients.host)
			relay := s.relayOf(c.at)
			if c.at.method == "PATCH" {
				relay = clients
			}
			relay.set(c.at, proxy.kill)
			// A client that does not retry.
			ref := clients.host + "/e2e/killed:v1"
			if out, err := command(t, "skopeo", skopeoPush(image, ref)...).CombinedOutput(); err == nil {
				t.Fatalf("pushed through a killed proxy:\n%s", out)
			}
			relay.check(t)
			proxy.restart(t)
			run(t, "skopeo", skopeoPush(image, ref)...)
			proxy.checkSpoolEmpty(t)
			s.checkEnd(t, image, ref)
		})
	}
}

// TestKillGateway kills "pierless serve" over S3 during a stock client's push.
func TestKillGateway(t *testing.T) {
	image := buildLayout(t, t.TempDir(), killedLayer)
	for _, c := range []struct {
		name string
		at   point
		// unrecorded means that the session has not recorded its parts yet.
		unrecorded bool
	}{
		{"in a part", point{method: "PUT", path: "/blobs/", bytes: 3 * mib}, true},
		{"parts completed", point{method: "POST", path: "/blobs/", answered: true, count: 2}, false},
		{"manifest answered", tagged, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startSite(t)
			relay := s.relayOf(c.at)
			relay.set(c.at, s.server.kill)
			ref := s.front.host + "/e2e/killed:v1"
			if out, err := command(t, "skopeo", skopeoPush(image, ref)...).CombinedOutput(); err == nil {
				t.Fatalf("pushed to a killed registry:\n%s", out)
			}
			relay.check(t)
			s.server.restart(t)
			run(t, "skopeo", skopeoPush(image, ref)...)
			s.checkEnd(t, image, ref, flagIf(c.unrecorded, "-unrecorded")...)
		})
	}
}

// checkEnd pulls the image with another client, and checks that no unneeded data is left.
func (s *site) checkEnd(t *testing.T, image *testImage, ref string, flags ...string) {
	t.Helper()
	crane(image).pull(t, ref, image.amd64.Digest)
	s.server.checkNothingLeft(t, flags...)
}

func flagIf(set bool, flag string) []string {
	if set {
		return []string{flag}
	}
	return nil
}

// atHome returns a command that uses an existing home directory, unlike command.
func atHome(t *testing.T, home, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t, program, args...)
	cmd.Env = append(cmd.Env, "HOME="+home, "XDG_STATE_HOME="+filepath.Join(home, "state"), "XDG_CACHE_HOME="+filepath.Join(home, "cache"))
	return cmd
}

// skopeoPush returns the arguments for pushing the image. By default skopeo does not retry.
func skopeoPush(image *testImage, ref string) []string {
	return []string{"--insecure-policy", "copy", "--dest-tls-verify=false", "oci:" + image.amd64Layout + ":v1", "docker://" + ref}
}
