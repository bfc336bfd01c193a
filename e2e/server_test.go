//go:build e2e

package e2e

import (
	"bytes"
	"crypto/rand"
	"net"
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
)

// stores are the two ways to keep data: on disk, and in S3 and DynamoDB, where
// blobs are fetched by a redirect.
var stores = []string{"embedded", "localstack"}

// server is a "pierless serve" of its own, which a test may kill and start again.
type server struct {
	host string // 127.0.0.1:port
	env  []string
	log  string
	cmd  *exec.Cmd
}

// startServer starts a registry on an empty store and stops it with the test.
func startServer(t *testing.T, store string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{host: freeAddress(t), log: filepath.Join(dir, "log")}
	switch store {
	case "embedded":
		s.env = append(neutralEnv(), "PIERLESS_LISTEN="+s.host, "PIERLESS_DATA="+filepath.Join(dir, "data"))
	case "localstack":
		if os.Getenv("AWS_ENDPOINT_URL_S3") == "" {
			t.Fatal(`no LocalStack in the environment: run scripts/e2e.sh, or eval "$(localstack/env.sh)"`)
		}
		name := "e2e-" + strings.ToLower(rand.Text())
		s.env = append(os.Environ(), "PIERLESS_LISTEN="+s.host, "PIERLESS_BUCKET="+name, "PIERLESS_TABLE="+name)
		initialise := exec.Command(builtBinary(t), "init")
		initialise.Env = s.env
		if out, err := initialise.CombinedOutput(); err != nil {
			t.Fatalf("pierless init: %v\n%s", err, out)
		}
	}
	s.start(t)
	t.Cleanup(func() {
		s.stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("end of the server's log:\n%s", tail(s.log))
		}
	})
	return s
}

// neutralEnv is the environment without what chooses a store: LocalStack's
// bucket would win over the data folder.
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
	s.cmd = exec.Command(builtBinary(t), "serve")
	s.cmd.Env = s.env
	s.cmd.Stdout, s.cmd.Stderr = log, log
	must(t, s.cmd.Start())
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + s.host + "/healthz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatalf("pierless serve is not ready after 20 s:\n%s", tail(s.log))
}

// stop sends the signal and waits for the end; a second stop does nothing.
func (s *server) stop(signal syscall.Signal) {
	if s.cmd == nil || s.cmd.ProcessState != nil {
		return
	}
	s.cmd.Process.Signal(signal)
	s.cmd.Wait()
}

// restart brings a killed server back on the same address and store.
func (s *server) restart(t *testing.T) {
	t.Helper()
	s.stop(syscall.SIGKILL)
	s.start(t)
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the most memory the server has had resident, in bytes.
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

// builtBinary is what "make build" made.
func builtBinary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../bin/pierless")
	must(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Fatal("bin/pierless is not built: make build")
	}
	return path
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func tail(path string) []byte {
	content, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-20):], nil)
}
