#!/usr/bin/env bash
# Usage: scripts/functions.sh [GOARCH]
# Builds every function into bin/functions/<family>/bootstrap, in parallel. GOARCH
# is this machine's unless it is given; functions are deployed as arm64.
set -euo pipefail
cd "$(dirname "$0")/.."
GOARCH=${1:-$(go env GOHOSTARCH)}
export GOARCH GOOS=linux CGO_ENABLED=0

# One "go build" for all shares the compiled packages; it wants one folder for what
# it links, and names files after packages. What is current is not linked again.
out=bin/functions/.$GOARCH
mkdir -p "$out"
go build -tags lambda.norpc -trimpath -buildvcs=false -ldflags '-s -w' -o "$out/" ./functions/...
for built in "$out"/*; do
  target=bin/functions/$(basename "$built")
  mkdir -p "$target"
  ln -f "$built" "$target/bootstrap"
done
