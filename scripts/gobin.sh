#!/usr/bin/env bash
# Usage: scripts/gobin.sh TOOL PACKAGE
# Builds a Go program, pinned by the module in tools/TOOL, into .cache/bin unless it is
# there, and prints its path.
set -euo pipefail
cd "$(dirname "$0")/.."
module=tools/$1 bin=$PWD/.cache/bin/$(basename "$2")
stamp=$(cat "$module/go.mod" "$module/go.sum" <(go version) | cksum)
if [ ! -x "$bin" ] || [ "$(cat "$bin.stamp" 2>/dev/null)" != "$stamp" ]; then
  mkdir -p .cache/bin && echo '*' >.cache/.gitignore
  # The compiled packages take ten times the program's space, and nothing else uses them:
  # this cache can be deleted, as scripts/test.sh does.
  GOCACHE=$PWD/.cache/go-build go build -C "$module" -ldflags '-s -w' -o "$bin" "$2"
  echo "$stamp" >"$bin.stamp"
fi
echo "$bin"
