package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/client"
)

// dockerDir returns the directory of docker's configuration, or "" if it is unknown.
func dockerDir(getenv func(string) string) string {
	home, err := os.UserHomeDir()
	if dir := getenv("DOCKER_CONFIG"); dir != "" || err != nil {
		return dir
	}
	return filepath.Join(home, ".docker")
}

// currentContext returns the options for the daemon of docker's current context, as Docker
// Desktop, Colima and rootless daemons set it. The default context has none.
func currentContext(getenv func(string) string) ([]client.Opt, error) {
	dir := dockerDir(getenv)
	if dir == "" {
		return nil, nil // a container without a home has no contexts
	}
	name := getenv("DOCKER_CONTEXT")
	if name == "" {
		var config struct {
			CurrentContext string `json:"currentContext"`
		}
		if err := readJSON(filepath.Join(dir, "config.json"), &config); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		name = config.CurrentContext
	}
	if name == "" || name == "default" {
		return nil, nil
	}
	return contextOptions(dir, name)
}

// contextOptions reads a context from docker's configuration: the directories are named by
// the SHA-256 of its name.
func contextOptions(dir, name string) ([]client.Opt, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	var meta struct {
		Endpoints map[string]struct {
			Host string
		}
	}
	if err := readJSON(filepath.Join(dir, "contexts", "meta", id, "meta.json"), &meta); err != nil {
		return nil, fmt.Errorf("docker's context %q: %w", name, err)
	}
	host := meta.Endpoints["docker"].Host
	if strings.HasPrefix(host, "ssh://") {
		return nil, fmt.Errorf("docker's context %q uses ssh, which pierless does not: docker save IMAGE | pierless push docker-archive:- HOST/NAME:TAG", name)
	}
	opts := []client.Opt{client.WithHost(host)}
	tls := filepath.Join(dir, "contexts", "tls", id, "docker")
	if _, err := os.Stat(tls); err == nil {
		opts = append(opts, client.WithTLSClientConfig(filepath.Join(tls, "ca.pem"), filepath.Join(tls, "cert.pem"), filepath.Join(tls, "key.pem")))
	}
	return opts, nil
}

func readJSON(path string, to any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, to); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
