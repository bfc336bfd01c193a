#!/usr/bin/env bash
# Usage: scripts/versitygw.sh
# Builds versitygw into .cache/bin/, unless the version that tools/versitygw names is
# there: the S3 server that checks every signature, which tests start by themselves.
# The first time takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.cache/bin
version=$(go list -C tools/versitygw -m -f '{{.Version}}' github.com/versity/versitygw)

if go version -m "$bin/versitygw" 2>/dev/null | grep -qE "^\s+mod\s+github.com/versity/versitygw\s+$version(\s|\$)"; then
  exit 0
fi
mkdir -p "$bin" && echo '*' >.cache/.gitignore
CGO_ENABLED=0 go build -C tools/versitygw -trimpath -ldflags '-s -w' -o "$bin/versitygw" github.com/versity/versitygw/cmd/versitygw
