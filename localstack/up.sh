#!/usr/bin/env bash
# Usage: eval "$(localstack/up.sh)"
# Starts S3 and DynamoDB on 127.0.0.1 (PIERLESS_LOCALSTACK_PORT, 4566) unless
# they run already, and prints the environment to export. No Docker, no token.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=.cache/localstack
port=${PIERLESS_LOCALSTACK_PORT:-4566}

say() { echo "localstack: $*" >&2; }
healthy() { curl -fs -m 5 -o /dev/null "http://127.0.0.1:$port/_localstack/health"; }
started_by_us() { [ -f "$cache/pid" ] && kill -0 "$(cat "$cache/pid")" 2>/dev/null; }

# list_tables makes LocalStack start its DynamoDB, which it does at the first call.
list_tables() {
  curl -fs -m 600 -o /dev/null "http://127.0.0.1:$port/" -d '{}' \
    -H 'X-Amz-Target: DynamoDB_20120810.ListTables' \
    -H 'Content-Type: application/x-amz-json-1.0' \
    -H 'Authorization: AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0'
}

start() {
  localstack/install.sh >&2 # stdout is for the environment alone
  say "starting on 127.0.0.1:$port, log in $cache/log"
  # Objects are kept in the folder for temporary files: a fresh one, not the machine's.
  rm -rf "$cache/tmp"
  mkdir -p "$cache/tmp"
  # OVERRIDE_IN_DOCKER: in a container it would take the system's folders for its own.
  # DNS_ADDRESS=0: no name server. The v2 providers use DynamoDB Local's own streams and download nothing.
  env -u AWS_ENDPOINT_URL_S3 -u AWS_ENDPOINT_URL_DYNAMODB \
    TMPDIR="$PWD/$cache/tmp" OVERRIDE_IN_DOCKER=0 FILESYSTEM_ROOT="$PWD/$cache/root" \
    GATEWAY_LISTEN="127.0.0.1:$port" DISABLE_EVENTS=1 DNS_ADDRESS=0 SKIP_SSL_CERT_DOWNLOAD=1 \
    S3_SKIP_SIGNATURE_VALIDATION=0 DYNAMODB_IN_MEMORY=1 \
    PROVIDER_OVERRIDE_DYNAMODB=v2 PROVIDER_OVERRIDE_DYNAMODBSTREAMS=v2 \
    nohup "$cache/venv/bin/python" localstack/loopback.py >"$cache/log" 2>&1 </dev/null &
  echo $! >"$cache/pid"
  local deadline=$((SECONDS + 600))
  until healthy; do
    if ! started_by_us || [ "$SECONDS" -gt "$deadline" ]; then
      say "did not start; the end of $cache/log:"
      tail -n 20 "$cache/log" >&2
      exit 1
    fi
    sleep 0.3
  done
}

if healthy; then
  say "already running on 127.0.0.1:$port"
else
  ! started_by_us || { say "already running on another port: localstack/down.sh first"; exit 1; }
  start
fi
list_tables || { say "DynamoDB does not answer: see $cache/log"; exit 1; }

eval "$(localstack/env.sh)"
if [ -x bin/pierless ]; then
  bin/pierless init >&2
else
  say "bin/pierless is not built: bucket and table not created (make up does both)"
fi
localstack/env.sh
