#!/usr/bin/env bash
# Usage: scripts/race.sh [FLAGS OF GO TEST]
# The tests that need no network, with the race detector. It is not part of "make test": it
# compiles every package and library a second time, and makes the tests three times slower.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/needs.sh race
CGO_ENABLED=1 go test -race -shuffle=on -timeout 60m -vet=off -ldflags=-w "$@" ./...
