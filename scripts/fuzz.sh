#!/usr/bin/env bash
# Usage: scripts/fuzz.sh [TIME]
# Fuzzes the parsing of request paths, each target for TIME (20s).
set -euo pipefail
cd "$(dirname "$0")/.."
targets=$(go test -list '^Fuzz' ./pkg/route | grep '^Fuzz') || { echo "pkg/route has no fuzz target" >&2; exit 1; }
for target in $targets; do
  go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-20s}" ./pkg/route
done
