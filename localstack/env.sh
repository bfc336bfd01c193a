#!/usr/bin/env bash
# Usage: eval "$(localstack/env.sh)"
# Prints the environment that points Pierless and its tests at LocalStack.
# PIERLESS_LOCALSTACK_PORT chooses the port (4566).
set -euo pipefail
cd "$(dirname "$0")/.."
. localstack/process.sh
port=${PIERLESS_LOCALSTACK_PORT:-4566}
dynamodb=$port
# Requests through LocalStack take several milliseconds more than requests to its DynamoDB
# Local. The port of the latter is known only if up.sh started this LocalStack.
if ours && [ "$(cat "$cache/port" 2>/dev/null)" = "$port" ]; then dynamodb=$((port + 1)); fi
cat <<ENV
export AWS_ENDPOINT_URL_S3=http://127.0.0.1:$port
export AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:$dynamodb
export AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=test
export AWS_SECRET_ACCESS_KEY=test
export PIERLESS_BUCKET=pierless
export PIERLESS_TABLE=pierless
ENV
