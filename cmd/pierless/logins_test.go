package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pierless/pierless/pkg/client"
)

// TestLogins reads every form in which docker, podman and their credential helpers save logins.
func TestLogins(t *testing.T) {
	alone(t)
	bin, podman := t.TempDir(), filepath.Join(t.TempDir(), "auth.json")
	helper := `#!/bin/sh
read -r host
case "$1 $host" in
"get helper.example") echo '{"ServerURL":"x","Username":"ann","Secret":"hush"}' ;;
"get token.example") echo '{"Username":"<token>","Secret":"refresh"}' ;;
"get locked.example") echo 'the keychain is locked'; exit 1 ;;
"get silent.example") exit 1 ;;
"get odd.example") echo 'odd' ;;
*) echo 'credentials not found in native keychain'; exit 1 ;;
esac
`
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("REGISTRY_AUTH_FILE", podman)
	write(t, podman, `{"auths":{"podman.example":{"auth":"`+base64.StdEncoding.EncodeToString([]byte("pod:man:x"))+`"}}}`)
	write(t, filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), `{
		"auths": {
			"plain.example": {"auth": "YW5uOmh1c2g="}, "https://old.example/v1/": {"auth": "YW5uOmh1c2g="},
			"legacy.example": {"username": "ann", "password": "hush"}, "identity.example": {"auth": "YW5uOg==", "identitytoken": "refresh"},
			"registry.example": {"registrytoken": "access"}, "https://index.docker.io/v1/": {"auth": "aHViOmh1Yg=="}, "broken.example": {"auth": "!"},
			"helper.example": {}
		},
		"credHelpers": {"helper.example": "test", "token.example": "test", "locked.example": "test", "silent.example": "test",
			"odd.example": "test", "empty.example": "test", "missing.example": "is-not-installed"}
	}`)
	ann := client.Credential{Username: "ann", Password: "hush"}
	flags := credentials{user: "me", password: "mine"}
	for host, want := range map[string]client.Credential{
		"plain.example": ann, "old.example": ann, "legacy.example": ann, "helper.example": ann,
		"identity.example":     {Username: "ann", RefreshToken: "refresh"},
		"token.example":        {RefreshToken: "refresh"},
		"registry.example":     {AccessToken: "access"},
		"registry-1.docker.io": {Username: "hub", Password: "hub"},
		"podman.example":       {Username: "pod", Password: "man:x"},
		"server.example":       {Username: "me", Password: "mine"},
		"empty.example":        {},
		"unknown.example":      {},
	} {
		if got, err := flags.logins(os.Getenv, "server.example")(t.Context(), host); got != want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", host, got, err, want)
		}
	}
	for host, want := range map[string]string{
		"broken.example": "base64", "locked.example": "the keychain is locked", "silent.example": "exit status 1",
		"odd.example": "invalid character", "missing.example": "executable file not found",
	} {
		_, err := flags.logins(os.Getenv, "")(t.Context(), host)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), host) {
			t.Errorf("%s: %v, want %q", host, err, want)
		}
	}
	write(t, filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), `{"credsStore": "test"}`)
	if got, err := flags.logins(os.Getenv, "")(t.Context(), "helper.example"); got != ann || err != nil {
		t.Errorf("credsStore: %+v, %v", got, err)
	}
	write(t, filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), `{"auths": [`)
	if _, err := flags.logins(os.Getenv, "")(t.Context(), "plain.example"); err == nil {
		t.Error("a damaged file is ignored")
	}
}
