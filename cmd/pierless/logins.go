package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pierless/pierless/pkg/client"
)

// logins returns the credentials for a registry: the user of the command line for server, and
// for others the login that docker or podman has saved, with their credential helpers.
func (c credentials) logins(getenv func(string) string, server string) func(ctx context.Context, host string) (client.Credential, error) {
	return func(ctx context.Context, host string) (client.Credential, error) {
		if c.user != "" && host == server {
			return client.Credential{Username: c.user, Password: c.password}, nil
		}
		if host == "registry-1.docker.io" {
			host = "https://index.docker.io/v1/" // the key of Docker Hub
		}
		for _, path := range loginFiles(getenv) {
			found, err := savedLogin(ctx, path, host)
			if err != nil {
				return client.Credential{}, fmt.Errorf("read the login for %s from %s: %w", host, path, err)
			}
			if found != (client.Credential{}) {
				return found, nil
			}
		}
		return client.Credential{}, nil
	}
}

// loginFiles returns the paths of docker's config.json, then of the files of podman, skopeo and
// buildah.
func loginFiles(getenv func(string) string) []string {
	paths := []string{filepath.Join(dockerDir(getenv), "config.json")}
	if path := getenv("REGISTRY_AUTH_FILE"); path != "" {
		return append(paths, path)
	}
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	}
	if dir, err := os.UserConfigDir(); err == nil {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	}
	return paths
}

// savedLogin returns the login for a host in a file of docker or podman; the zero value if
// there is none.
func savedLogin(ctx context.Context, path, host string) (client.Credential, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.TrimSpace(content)) == 0 {
		return client.Credential{}, nil
	}
	type login struct{ Auth, Username, Password, IdentityToken, RegistryToken string }
	var file struct {
		Auths       map[string]login
		CredsStore  string
		CredHelpers map[string]string
	}
	if err == nil {
		err = json.Unmarshal(content, &file)
	}
	if err != nil {
		return client.Credential{}, err
	}
	if helper := file.CredHelpers[host]; helper != "" {
		return askHelper(ctx, helper, host)
	}
	if file.CredsStore != "" {
		return askHelper(ctx, file.CredsStore, host)
	}
	found, exact := file.Auths[host]
	for address, l := range file.Auths {
		if !exact && hostOf(address) == host { // older versions save URLs
			found = l
		}
	}
	if found.Auth != "" {
		pair, err := base64.StdEncoding.DecodeString(found.Auth)
		user, password, colon := strings.Cut(string(pair), ":")
		if err != nil || !colon {
			return client.Credential{}, errors.New("auth is not the base64 encoding of user:password")
		}
		found.Username, found.Password = user, password
	}
	return client.Credential{
		Username: found.Username, Password: found.Password, RefreshToken: found.IdentityToken, AccessToken: found.RegistryToken,
	}, nil
}

// hostOf returns the host of an address with or without scheme and path.
func hostOf(address string) string {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "http://"), "https://")
	host, _, _ := strings.Cut(address, "/")
	return host
}

// askHelper returns the login for a host from a credential helper, a program of the protocol
// of docker-credential-helpers; the zero value if it has none.
func askHelper(ctx context.Context, name, host string) (client.Credential, error) {
	cmd := exec.CommandContext(ctx, "docker-credential-"+name, "get")
	cmd.Stdin, cmd.Stderr = strings.NewReader(host), os.Stderr
	out, err := cmd.Output()
	message := string(bytes.TrimSpace(out))
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && message == "credentials not found in native keychain":
		return client.Credential{}, nil
	case errors.As(err, &exit) && message != "":
		return client.Credential{}, fmt.Errorf("%s: %s", cmd.Path, message)
	case err != nil:
		return client.Credential{}, err
	}
	var login struct{ Username, Secret string }
	if err := json.Unmarshal(out, &login); err != nil {
		return client.Credential{}, fmt.Errorf("%s: %w", cmd.Path, err)
	}
	if login.Username == "<token>" {
		return client.Credential{RefreshToken: login.Secret}, nil
	}
	return client.Credential{Username: login.Username, Password: login.Secret}, nil
}
