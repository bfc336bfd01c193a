//go:build e2e

package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pierless/pierless/internal/loopback"
)

// stores are the two kinds of storage of "pierless serve": on disk, and in S3 and DynamoDB with
// redirected pulls.
var stores = []string{"embedded", "localstack"}

// everywhere adds the deployment: functions behind a gateway.
var everywhere = append(slices.Clip(stores), "functions")

// patience is the timeout for every wait. Only a hanging test reaches it, and a busy machine may
// need much of it.
const patience = 5 * time.Minute

// server is a registry of one test, which may kill and restart it.
type server struct {
	host    string // 127.0.0.1:port
	command []string
	env     []string
	probe   string   // a path with the status 200 or 401 once the server runs
	token   string   // the administrator's; empty for an open registry
	secrets []string // tokens that it has made; its log must not have them
	bucket  string   // and table, if it is on LocalStack
	data    string   // directory of the embedded store
	spool   string   // of a proxy
	log     string
	cmd     *exec.Cmd
	ended   chan struct{} // closed when it has ended
}

// startServer starts a registry on an empty store, gives clients their login to it, and stops it
// with the test. flags are more flags of "pierless serve", or of bin/cloud.
func startServer(t *testing.T, store string, flags ...string) *server {
	t.Helper()
	if store == "functions" {
		return startCloud(t, flags...)
	}
	s := newServer(t, store, flags...)
	s.run(t)
	return s
}

// newServer returns a registry on an empty store, to be started.
func newServer(t *testing.T, store string, flags ...string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{host: loopback.FreeAddress(t), log: filepath.Join(dir, "log"), probe: "/healthz"}
	s.command = append([]string{built(t, "pierless"), "serve"}, flags...)
	switch store {
	case "embedded":
		s.data = filepath.Join(dir, "data")
		s.env = append(neutralEnv(), "PIERLESS_LISTEN="+s.host, "PIERLESS_DATA_DIR="+s.data)
	case "localstack":
		s.bucket = initialise(t)
		s.env = append(os.Environ(), "PIERLESS_LISTEN="+s.host, "PIERLESS_BUCKET="+s.bucket, "PIERLESS_TABLE="+s.bucket)
	}
	return s
}

// initialise creates a bucket and a table of one name in LocalStack and returns the name.
func initialise(t *testing.T) string {
	t.Helper()
	endpoint(t)
	name := "e2e-" + strings.ToLower(rand.Text())
	out, err := exec.Command(built(t, "pierless"), "init", "--bucket", name, "--table", name).CombinedOutput()
	if err != nil {
		t.Fatalf("pierless init: %v\n%s", err, out)
	}
	// LocalStack would keep them until it ends.
	t.Cleanup(func() {
		if out, err := exec.Command(built(t, "leftovers"), "-name", name, "-empty").CombinedOutput(); err != nil {
			t.Errorf("empty the bucket: %v\n%s", err, out)
		}
	})
	return name
}

// endpoint returns LocalStack's address.
func endpoint(t *testing.T) string {
	t.Helper()
	address := os.Getenv("AWS_ENDPOINT_URL_S3")
	if address == "" {
		t.Fatal(`no LocalStack in the environment: run scripts/e2e.sh, or eval "$(localstack/env.sh)"`)
	}
	return address
}

// run starts the server, which ends with the test, and gives clients their login to it.
func (s *server) run(t *testing.T) {
	t.Helper()
	logIn(t, s)
	s.keep(t)
}

// keep starts the server, which ends with the test.
func (s *server) keep(t *testing.T) {
	t.Helper()
	s.start(t)
	t.Cleanup(func() {
		s.stop(syscall.SIGTERM)
		s.checkSecrets(t)
		if t.Failed() {
			t.Logf("end of the server's log:\n%s", tail(s.log))
		}
	})
}

// checkSecrets fails if the log, the command line, or the rows of the embedded store have a token of
// the server, as it is or as clients send it. Rows have the SHA-256 of a token, the log has not.
func (s *server) checkSecrets(t *testing.T) {
	t.Helper()
	log, err := os.ReadFile(s.log)
	must(t, err)
	rows := []byte(strings.Join(s.command, " "))
	if s.data != "" {
		stored, err := os.ReadFile(filepath.Join(s.data, "names.db"))
		must(t, err)
		rows = append(rows, stored...)
	}
	for _, secret := range append(slices.Clone(s.secrets), s.token) {
		if secret == "" {
			continue
		}
		login := base64.StdEncoding.EncodeToString([]byte(administrator + ":" + secret))
		sum := strings.TrimPrefix(digestOf([]byte(secret)), "sha256:")
		for _, form := range []string{secret, login, sum} {
			if bytes.Contains(log, []byte(form)) {
				t.Errorf("the log of %s has a token", filepath.Base(s.command[0]))
			}
		}
		if bytes.Contains(rows, []byte(secret)) || bytes.Contains(rows, []byte(login)) {
			t.Errorf("the rows or the command line of %s have a token", filepath.Base(s.command[0]))
		}
	}
}

// neutralEnv returns the environment without the variables that select a store: LocalStack's
// bucket would take precedence over the data directory.
func neutralEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "PIERLESS_") || strings.HasPrefix(variable, "AWS_")
	})
}

func (s *server) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(t, err)
	defer log.Close()
	s.cmd = exec.Command(s.command[0], s.command[1:]...)
	s.cmd.Env = s.env
	s.cmd.Stdout, s.cmd.Stderr = log, log
	must(t, s.cmd.Start())
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan<- struct{}) {
		defer close(ended)
		_ = cmd.Wait() // the log has the cause
	}(s.cmd, s.ended)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.ended:
			t.Fatalf("%s has ended:\n%s", filepath.Base(s.command[0]), tail(s.log))
		default:
		}
		resp, err := http.Get("http://" + s.host + s.probe)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized {
			return
		}
	}
	t.Fatalf("%s is not ready after %v:\n%s", filepath.Base(s.command[0]), patience, tail(s.log))
}

// stop sends the signal and waits for the end; a second stop does nothing.
func (s *server) stop(signal syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal) // it may have ended
	<-s.ended
}

// restart starts a killed server again on the same address and store.
func (s *server) restart(t *testing.T) {
	t.Helper()
	s.stop(syscall.SIGKILL)
	s.start(t)
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory returns the server's peak resident memory in bytes.
func (s *server) peakMemory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(s.cmd.Process.Pid) + "/status")
	must(t, err)
	match := highWater.FindSubmatch(status)
	if match == nil {
		t.Fatal("no VmHWM in the process's status")
	}
	size, err := strconv.ParseInt(string(match[1]), 10, 64)
	must(t, err)
	return size * kib
}

// built returns the path of a binary from scripts/e2e.sh.
func built(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../bin", name))
	must(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("bin/%s is not built: run scripts/e2e.sh", name)
	}
	return path
}

func tail(path string) []byte {
	content, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-20):], nil)
}
