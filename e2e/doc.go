// Package e2e judges the built binary from outside: with the clients that people
// use (docker, podman, skopeo, crane, regctl, oras), with kill -9 and with layers
// larger than memory, on both stores. It is all tests, under the build tag e2e:
// scripts/e2e.sh fetches the clients and runs it.
//
// It must not know the packages of Pierless, only the binary and its environment.
package e2e
