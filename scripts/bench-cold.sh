#!/usr/bin/env bash
# Usage: scripts/bench-cold.sh [-n STARTS] [-chunks N] [-json] [-check]
# Prints how long each function takes to start, beside a hello-world built alike.
# With LocalStack in the environment (eval "$(localstack/env.sh)") it also prints
# the memory that a 4 MiB chunk takes.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/functions.sh
mkdir -p bin/coldstart
CGO_ENABLED=0 go build -tags lambda.norpc -trimpath -buildvcs=false -ldflags '-s -w' -o bin/coldstart/hello ./localstack/coldstart/hello
CGO_ENABLED=0 go build -trimpath -o bin/coldstart/coldstart ./localstack/coldstart
exec bin/coldstart/coldstart "$@"
