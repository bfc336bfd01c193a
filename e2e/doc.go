// Package e2e judges the built binaries from outside: with the clients that people
// use (docker, podman, skopeo, crane, regctl, oras, containerd, pierless itself), with
// kill -9 and with layers larger than memory. It runs "pierless serve" on both stores,
// "pierless proxy", and the functions of template.yaml behind the local cloud's
// gateway. It is all tests, under the build tag e2e: scripts/e2e.sh builds, fetches
// the clients and runs it.
//
// It must not know the packages of Pierless, only the binaries, their environment and
// the template.
package e2e
