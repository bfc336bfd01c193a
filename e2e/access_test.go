//go:build e2e

package e2e

import (
	"crypto/rand"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pierless/pierless/internal/loopback"
)

// guest is a client with its bare commands, for the tests in which they must fail. A nil
// function means that the program has no such command.
type guest struct {
	client
	// login checks the password with the registry.
	login func(host, password string) []string
	// load gives the client the image under the name that push uses.
	load func(ref string) []string
	push func(ref string) []string
	pull func(ref string) []string
	// loggedOut is the client without a login; nil for clients that read docker's file.
	loggedOut *client
}

// TestAccess: with anonymous pull, every client pushes with its login and pulls without
// one. Otherwise it needs its login for both. No client pushes without a login.
func TestAccess(t *testing.T) {
	image := buildImage(t, t.TempDir(), 40*kib)
	dockerd, ctrd, storage := startDockerd(t), startContainerd(t), t.TempDir()
	for _, store := range []string{"embedded", "functions"} {
		for name, open := range map[string]bool{"anonymous": true, "closed": false} {
			t.Run(store+"/"+name, func(t *testing.T) {
				s := startGuarded(t, store, open)
				for _, g := range []guest{
					dockerGuest(image, dockerd), podmanGuest(image, storage), skopeoGuest(t, image), craneGuest(t, image),
					regctlGuest(t, image), orasGuest(t, image), containerdGuest(image, ctrd, s.token), pierlessGuest(t, image),
				} {
					t.Run(g.name, func(t *testing.T) { testAccess(t, s, g, open) })
				}
				t.Run("verify", func(t *testing.T) { s.checkLogins(t) })
				if store != "functions" || !open {
					return
				}
				// The proxy rewrites the address of the token endpoint.
				proxy := startProxy(t, s)
				for _, g := range []guest{
					dockerGuest(image, dockerd), skopeoGuest(t, image), craneGuest(t, image), containerdGuest(image, ctrd, s.token),
				} {
					g.name += "-proxy"
					t.Run(g.name, func(t *testing.T) { testAccess(t, proxy, g, open) })
				}
				t.Run("verify-proxy", func(t *testing.T) { proxy.checkLogins(t) })
			})
		}
	}
}

// checkLogins fails if "pierless verify" finds an error in the login protocol.
func (s *server) checkLogins(t *testing.T) {
	t.Helper()
	if out, err := s.examine(t, "verify", "--all", "--only", "client-auth-*").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// startGuarded starts a registry with an administrator's token.
func startGuarded(t *testing.T, store string, open bool) *server {
	t.Helper()
	if store == "functions" {
		return startCloud(t, "--parameter", "AnonymousPull="+map[bool]string{true: "true", false: "false"}[open])
	}
	dir, token := t.TempDir(), rand.Text()
	s := &server{
		host: loopback.FreeAddress(t), log: filepath.Join(dir, "log"), token: token, probe: "/healthz",
		command: []string{built(t, "pierless"), "serve"},
	}
	s.env = append(neutralEnv(), "PIERLESS_LISTEN="+s.host, "PIERLESS_DATA_DIR="+filepath.Join(dir, "data"),
		"PIERLESS_ADMIN_TOKEN_SHA256="+strings.TrimPrefix(digestOf([]byte(token)), "sha256:"))
	if open {
		s.env = append(s.env, "PIERLESS_ANONYMOUS_PULL=true")
	}
	s.run(t)
	return s
}

func testAccess(t *testing.T, s *server, g guest, open bool) {
	host := s.host
	if g.name == "regctl" {
		host = s.alias()
	}
	repo := "e2e/" + g.name
	ref, other := host+"/"+repo+":v1", host+"/"+repo+"-other:v1"

	logIn(t, s)
	g.client.push(t, ref)
	_, digest := s.manifest(t, repo, "v1")
	if digest == "" {
		t.Fatal("the push with a login left no manifest")
	}
	g.fetchAnew(t, ref, digest)
	if g.login != nil {
		run(t, g.login(host, s.token)[0], g.login(host, s.token)[1:]...)
		wantDenied(t, g.login(host, "wrong"))
	}

	logIn(t) // to no server
	if g.loggedOut != nil {
		g.client = *g.loggedOut
	}
	if open {
		g.fetchAnew(t, ref, digest)
	} else {
		wantDenied(t, g.pull(ref))
	}
	if g.load != nil {
		run(t, g.load(other)[0], g.load(other)[1:]...)
	}
	wantDenied(t, g.push(other))
	if _, pushed := s.manifest(t, repo+"-other", "v1"); pushed != "" {
		t.Errorf("%s was pushed without a login", pushed)
	}
}

// alias returns another host name of the server, for regctl: if a redirect leads to the same
// host name on another port, regctl sends its Bearer token along, and S3 rejects a presigned
// request with another credential (LocalStack accepts it). In a deployment the names differ.
func (s *server) alias() string {
	_, port, _ := net.SplitHostPort(s.host)
	return net.JoinHostPort("localhost", port)
}

// denied matches the output of clients for a 401.
var denied = regexp.MustCompile(`(?i)unauthorized|401|basic (auth )?credential|invalid username/password`)

// wantDenied runs a command that must fail without a login.
func wantDenied(t *testing.T, args []string) {
	t.Helper()
	out, err := command(t, args[0], args[1:]...).CombinedOutput()
	if err == nil || !denied.Match(out) {
		t.Errorf("%s: %v, want a refusal\n%s", strings.Join(args, " "), err, out)
	}
}

func dockerGuest(image *testImage, socket string) guest {
	call := words("docker", "--host", "unix://"+socket)
	return guest{
		client: docker(image, socket),
		login: func(host, password string) []string {
			return call("login", "--username", administrator, "--password", password, host)
		},
		load: func(ref string) []string { return call("image", "import", image.archive, ref) },
		push: func(ref string) []string { return call("push", "--quiet", ref) },
		pull: func(ref string) []string { return call("pull", "--quiet", ref) },
	}
}

func podmanGuest(image *testImage, storage string) guest {
	call := words("podman", podmanFlags(storage)...)
	return guest{
		client: podman(image, storage),
		login: func(host, password string) []string {
			return call("login", "--tls-verify=false", "--username", administrator, "--password", password, host)
		},
		load: func(ref string) []string { return call("import", "--quiet", image.archive, ref) },
		push: func(ref string) []string { return call("push", "--quiet", "--tls-verify=false", ref) },
		pull: func(ref string) []string { return call("pull", "--quiet", "--tls-verify=false", ref) },
	}
}

func skopeoGuest(t *testing.T, image *testImage) guest {
	call, layout := words("skopeo", "--insecure-policy"), "oci:"+t.TempDir()+":v1"
	return guest{
		client: skopeo(image),
		login: func(host, password string) []string {
			return call("login", "--tls-verify=false", "--username", administrator, "--password", password, host)
		},
		push: func(ref string) []string {
			return call("copy", "--dest-tls-verify=false", "oci:"+image.amd64Layout+":v1", "docker://"+ref)
		},
		pull: func(ref string) []string { return call("copy", "--src-tls-verify=false", "docker://"+ref, layout) },
	}
}

// craneGuest has no login: that of crane only writes the file.
func craneGuest(t *testing.T, image *testImage) guest {
	call, layout := words("crane"), filepath.Join(t.TempDir(), "layout")
	return guest{
		client: crane(image),
		push:   func(ref string) []string { return call("push", image.amd64Layout, ref) },
		pull:   func(ref string) []string { return call("pull", "--format=oci", ref, layout) },
	}
}

func regctlGuest(t *testing.T, image *testImage) guest {
	call := func(ref string, args ...string) []string {
		host, _, _ := strings.Cut(ref, "/")
		return append([]string{"regctl", "--host", "reg=" + host + ",tls=disabled"}, args...)
	}
	layout := "ocidir://" + t.TempDir() + ":v1"
	return guest{
		client: regctl(image),
		login: func(host, password string) []string {
			return call(host, "registry", "login", "--user", administrator, "--pass", password, host)
		},
		push: func(ref string) []string { return call(ref, "image", "copy", "ocidir://"+image.amd64Layout+":v1", ref) },
		pull: func(ref string) []string { return call(ref, "image", "copy", ref, layout) },
	}
}

func orasGuest(t *testing.T, image *testImage) guest {
	call, layout := words("oras"), t.TempDir()+":v1"
	return guest{
		client: oras(image),
		login: func(host, password string) []string {
			return call("login", "--plain-http", "--username", administrator, "--password", password, host)
		},
		push: func(ref string) []string {
			return call("copy", "--from-oci-layout", image.amd64Layout+":v1", "--to-plain-http", ref)
		},
		pull: func(ref string) []string { return call("copy", "--from-plain-http", ref, "--to-oci-layout", layout) },
	}
}

func containerdGuest(image *testImage, socket, token string) guest {
	call, loggedOut := words("ctr", "--address", socket, "--namespace", "e2e"), containerd(image, socket, "")
	return guest{
		client: containerd(image, socket, token), loggedOut: &loggedOut,
		load: func(string) []string { return call("images", "import", "--no-unpack", image.archive) },
		push: func(ref string) []string {
			return call("images", "push", "--plain-http", ref, "localhost/pierless/e2e:v1")
		},
		pull: func(ref string) []string { return call("content", "fetch", "--plain-http", ref) },
	}
}

func pierlessGuest(t *testing.T, image *testImage) guest {
	call, layout := words(built(t, "pierless")), "oci:"+filepath.Join(t.TempDir(), "layout")+":v1"
	return guest{
		client: pierless(t, image),
		push:   func(ref string) []string { return call("push", "oci:"+image.amd64Layout+":v1", ref) },
		pull:   func(ref string) []string { return call("pull", ref, layout) },
	}
}

// words returns a function that completes a command line.
func words(program string, flags ...string) func(args ...string) []string {
	return func(args ...string) []string { return append(append([]string{program}, flags...), args...) }
}
