#!/usr/bin/env bash
# Usage: scripts/fuzz.sh [TIME]
# Fuzzes what strangers write: request paths, and events that hold requests. Each
# target for TIME (20s).
set -euo pipefail
cd "$(dirname "$0")/.."
for package in ./pkg/oci/route ./pkg/server/lambdahttp; do
  targets=$(go test -list '^Fuzz' "$package" | grep '^Fuzz') || { echo "$package has no fuzz target" >&2; exit 1; }
  for target in $targets; do
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-20s}" "$package"
  done
done
