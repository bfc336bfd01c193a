#!/usr/bin/env bash
# Usage: eval "$(localstack/env.sh)"
# Prints the environment that points Pierless and its tests at LocalStack.
# PIERLESS_LOCALSTACK_PORT chooses the port (4566).
set -euo pipefail
endpoint=http://127.0.0.1:${PIERLESS_LOCALSTACK_PORT:-4566}
cat <<EOF
export AWS_ENDPOINT_URL_S3=$endpoint
export AWS_ENDPOINT_URL_DYNAMODB=$endpoint
export AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=test
export AWS_SECRET_ACCESS_KEY=test
export PIERLESS_BUCKET=pierless
export PIERLESS_TABLE=pierless
EOF
