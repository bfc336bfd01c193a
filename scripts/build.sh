#!/usr/bin/env bash
# Usage: scripts/build.sh
# Builds bin/pierless: static, without this machine's paths in it.
set -euo pipefail
cd "$(dirname "$0")/.."
CGO_ENABLED=0 go build -trimpath -o bin/pierless ./cmd/pierless
