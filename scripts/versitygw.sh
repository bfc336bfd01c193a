#!/usr/bin/env bash
# Usage: scripts/versitygw.sh
# Builds versitygw into .cache/bin/: the S3 server that checks every signature, which
# tests start by themselves. The first time takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
exec scripts/gobin.sh versitygw
