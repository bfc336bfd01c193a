package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	keyring "oras.land/oras-go/v2/registry/remote/credentials"

	"github.com/pierless/pierless/pkg/client"
)

// logins returns what a registry is told: the user of the command line if it is server,
// else what docker login or podman login has left, with their stores and helpers.
func (c credentials) logins(getenv func(string) string, server string) func(ctx context.Context, host string) (client.Credential, error) {
	return func(ctx context.Context, host string) (client.Credential, error) {
		if c.user != "" && host == server {
			return client.Credential{Username: c.user, Password: c.password}, nil
		}
		store, err := loginStore(getenv)
		if err != nil {
			return client.Credential{}, err
		}
		found, err := store.Get(ctx, keyring.ServerAddressFromHostname(host))
		if err != nil {
			return client.Credential{}, fmt.Errorf("ask for the login of %s: %w", host, err)
		}
		return found, nil
	}
}

// loginStore reads docker's file (DOCKER_CONFIG names another folder), then podman's.
func loginStore(getenv func(string) string) (keyring.Store, error) {
	docker, err := keyring.NewStoreFromDocker(keyring.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("read docker's logins: %w", err)
	}
	var others []keyring.Store
	for _, path := range podmanLogins(getenv) {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		podman, err := keyring.NewStore(path, keyring.StoreOptions{})
		if err != nil {
			return nil, fmt.Errorf("read podman's logins in %s: %w", path, err)
		}
		others = append(others, podman)
	}
	return keyring.NewStoreWithFallbacks(docker, others...), nil
}

// podmanLogins are the places where podman, skopeo and buildah keep logins.
func podmanLogins(getenv func(string) string) []string {
	if path := getenv("REGISTRY_AUTH_FILE"); path != "" {
		return []string{path}
	}
	var paths []string
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	}
	if dir, err := os.UserConfigDir(); err == nil {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	}
	return paths
}
