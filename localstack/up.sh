#!/usr/bin/env bash
# Usage: eval "$(localstack/up.sh)"
# Starts S3 and DynamoDB on 127.0.0.1 (PIERLESS_LOCALSTACK_PORT, 4566) unless
# they run already, and prints the environment to export. No Docker, no token.
set -euo pipefail
cd "$(dirname "$0")/.."
. localstack/process.sh
. scripts/ports.sh
port=${PIERLESS_LOCALSTACK_PORT:-4566}

say() { echo "localstack: $*" >&2; }

# list_tables makes LocalStack start DynamoDB Local, which it does on the first call.
list_tables() {
  curl -fs -m 600 -o /dev/null "http://127.0.0.1:$port/" -d '{}' \
    -H 'X-Amz-Target: DynamoDB_20120810.ListTables' \
    -H 'Content-Type: application/x-amz-json-1.0' \
    -H 'Authorization: AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0'
}

start() {
  localstack/down.sh 2>/dev/null # DynamoDB Local, in case LocalStack was killed
  say "starting on 127.0.0.1:$port, log in $cache/log"
  # LocalStack keeps objects in the directory for temporary files: use a new one.
  rm -rf "$cache/tmp"
  mkdir -p "$cache/tmp"
  # OVERRIDE_IN_DOCKER: in a container, LocalStack would write to system directories.
  # DNS_ADDRESS=0: no name server. DYNAMODB_SHARE_DB: direct requests to DynamoDB Local
  # (env.sh) and requests through LocalStack see the same tables. The v2 providers use
  # DynamoDB Local's own streams and download nothing.
  env -u AWS_ENDPOINT_URL_S3 -u AWS_ENDPOINT_URL_DYNAMODB \
    TMPDIR="$PWD/$cache/tmp" OVERRIDE_IN_DOCKER=0 FILESYSTEM_ROOT="$PWD/$cache/root" \
    GATEWAY_LISTEN="127.0.0.1:$port" DISABLE_EVENTS=1 DNS_ADDRESS=0 SKIP_SSL_CERT_DOWNLOAD=1 \
    S3_SKIP_SIGNATURE_VALIDATION=0 DYNAMODB_IN_MEMORY=1 \
    DYNAMODB_SHARE_DB=1 DYNAMODB_LOCAL_PORT=$((port + 1)) PROVIDER_OVERRIDE_DYNAMODB=v2 PROVIDER_OVERRIDE_DYNAMODBSTREAMS=v2 \
    nohup "$cache/venv/bin/python" localstack/loopback.py >"$cache/log" 2>&1 </dev/null &
  echo $! >"$cache/pid"
  echo "$port" >"$cache/port"
  printf %s "${LOCALSTACK_OWNER-}" >"$cache/owner" # a script that will stop it (scripts/localstack.sh)
}

# LocalStack keeps running if it cannot listen; only its log has the error.
wait_until_healthy() {
  local deadline=$((SECONDS + 600))
  until healthy "$port"; do
    if ! ours || [ "$SECONDS" -gt "$deadline" ] || grep -q CannotListenError "$cache/log"; then
      fail "did not start; the end of $cache/log:" "$(tail -n 20 "$cache/log")"
    fi
    sleep 0.3
  done
}

# fail stops everything that this script has started.
fail() {
  printf 'localstack: %s\n' "$@" >&2
  [ -z "${started-}" ] || localstack/down.sh
  exit 1
}

if ours; then
  [ "$(cat "$cache/port")" = "$port" ] || fail "already running on port $(cat "$cache/port"): localstack/down.sh first"
  wait_until_healthy
  say "already running on 127.0.0.1:$port"
elif taken "$port" && { healthy "$port" || healthy "$port"; }; then
  say "already running on 127.0.0.1:$port, started elsewhere"
else
  for needed in "$port" $((port + 1)); do
    ! taken "$needed" || fail "port $needed is taken$(holder "$needed"): PIERLESS_LOCALSTACK_PORT chooses another one, with the next for DynamoDB"
  done
  localstack/install.sh >&2 # stdout is for the environment alone
  started=yes
  trap 'fail interrupted' INT TERM
  start
  wait_until_healthy
fi
list_tables || fail "DynamoDB does not answer: see $cache/log"

eval "$(localstack/env.sh)"
if [ -x bin/pierless ]; then
  bin/pierless init >&2
else
  say "bin/pierless is not built: bucket and table not created (make up does both)"
fi
localstack/env.sh
