// Package e2e tests the built binaries from outside: with stock clients (docker, podman,
// skopeo, crane, regctl, oras, containerd) and pierless itself, with kill -9, and with layers
// larger than memory. It runs "pierless serve" on both stores, "pierless proxy", and the
// functions of template.yaml behind the local cloud's gateway. It has only tests, with the
// build tag e2e: scripts/e2e.sh builds the binaries, fetches the clients and runs them.
//
// It must not know the packages of Pierless, only the binaries, their environment and
// the template.
package e2e
