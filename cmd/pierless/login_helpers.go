package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/client/login"
)

// helperName is the name of docker-credential-pierless in docker's configuration.
const helperName = "pierless"

// maxHelperInput limits the input of a helper, in bytes.
const maxHelperInput = 256 << 10

// notFound is the message by which docker knows that a helper has no login.
const notFound = "credentials not found in native keychain"

func newDockerCredential(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "docker-credential get|store|erase|list", Short: "Serve docker as a credential helper",
		Args: between(1, 1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := dockerCredential(cmd, getenv, args[0])
		switch {
		case errors.Is(err, login.ErrNone): // docker continues without credentials
			fmt.Fprintln(cmd.OutOrStdout(), notFound)
		case err != nil: // docker shows the output of a helper that fails
			fmt.Fprintln(cmd.OutOrStdout(), err)
		}
		return err
	}
	return cmd
}

// dockerCredential does one operation of the protocol of docker-credential-helpers.
func dockerCredential(cmd *cobra.Command, getenv func(string) string, operation string) error {
	cache, err := openLogins(cmd)
	if err != nil {
		return err
	}
	var input []byte
	if operation != "list" {
		if input, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxHelperInput)); err != nil {
			return err
		}
	}
	server := strings.TrimSpace(string(input))
	switch operation {
	case "get":
		return getCredential(cmd, getenv, cache, server)
	case "store":
		var given helperLogin
		if json.Unmarshal(input, &given) != nil || given.ServerURL == "" || given.Secret == "" { // its error may repeat the secret
			return errors.New("store needs a JSON object with ServerURL, Username and Secret")
		}
		return cache.Save(login.Session{Host: registryOf(given.ServerURL), Username: given.Username, Token: given.Secret})
	case "erase":
		return cache.Delete(registryOf(server))
	case "list":
		sessions, err := cache.All()
		if err != nil {
			return err
		}
		users := map[string]string{}
		for _, s := range sessions {
			users[s.Host] = s.Username
		}
		return json.NewEncoder(cmd.OutOrStdout()).Encode(users)
	}
	return status2{fmt.Errorf("there is no operation %q: use get, store, erase or list", operation)}
}

// registryOf returns the key of a registry in the cache.
func registryOf(server string) string { return strings.ToLower(hostOf(server)) }

// getCredential writes the login for a registry. Docker Hub gets no proof.
func getCredential(cmd *cobra.Command, getenv func(string) string, cache *login.Cache, server string) error {
	host := registryOf(server)
	base, err := client.ParseRegistry(host, false)
	if err != nil {
		return err
	}
	s, err := cache.Get(cmd.Context(), host, func(ctx context.Context) (login.Session, error) {
		if base.Host != host {
			return login.Session{}, login.ErrNone
		}
		return proveTo(cmd, base.String(), append(login.Environment(getenv), awsSources(ctx)...)...)
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(cmd.OutOrStdout()).Encode(helperLogin{server, s.Username, s.Token})
}

// kubeletVersion is that of the kubelet's protocol.
const kubeletVersion = "credentialprovider.kubelet.k8s.io/v1"

// kubeletType is the head of a message of the protocol.
type kubeletType struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

type kubeletLogin struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

type kubeletResponse struct {
	kubeletType
	CacheKeyType  string                  `json:"cacheKeyType"`
	CacheDuration string                  `json:"cacheDuration"`
	Auth          map[string]kubeletLogin `json:"auth"`
}

func newCredentialProvider(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{Use: "credential-provider", Short: "Serve the kubelet as a credential provider", Args: between(0, 0)}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var req struct {
			kubeletType
			Image               string `json:"image"`
			ServiceAccountToken string `json:"serviceAccountToken"`
		}
		d := json.NewDecoder(io.LimitReader(cmd.InOrStdin(), maxHelperInput))
		if d.Decode(&req) != nil || req.kubeletType != (kubeletType{kubeletVersion, "CredentialProviderRequest"}) {
			return errors.New("standard input must be a CredentialProviderRequest of " + kubeletVersion)
		}
		host, _, found := strings.Cut(req.Image, "/")
		base, err := client.ParseRegistry(host, false)
		if err != nil || !found || !strings.ContainsAny(host, ".:") && host != "localhost" {
			return errors.New("the image of the request has no registry host")
		}
		// The identity of a pod must not become that of its node.
		sources := []login.Source{login.Token("service account token", req.ServiceAccountToken)}
		if req.ServiceAccountToken == "" {
			sources = append(login.Environment(getenv), awsSources(cmd.Context())...)
		}
		s, err := proveTo(cmd, base.String(), sources...)
		if err != nil {
			return fmt.Errorf("log in to %s: %w", base.Host, err)
		}
		return json.NewEncoder(cmd.OutOrStdout()).Encode(kubeletResponse{
			kubeletType: kubeletType{kubeletVersion, "CredentialProviderResponse"}, CacheKeyType: "Registry",
			CacheDuration: (time.Until(s.Expires) / 2).Truncate(time.Second).String(),
			Auth:          map[string]kubeletLogin{host: {s.Username, s.Token}},
		})
	}
	return cmd
}
