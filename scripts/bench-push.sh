#!/usr/bin/env bash
# Usage: scripts/bench-push.sh [-rounds N] [-files N] [-size BYTES] [-check]
# Prints what "pierless push" and the transfer manager of the AWS SDK reach when they send
# the same layers to the same S3 server in turns: to LocalStack, and to versitygw, which
# checks every signature. With -check it fails where pierless is more than 15 % slower,
# or takes more than 256 MiB of memory. Takes up to 5 GB of disk while it runs.
cd "$(dirname "$0")/.."
. scripts/step.sh
work='' versitygw=''

# Called by step.sh, which shellcheck does not see.
# shellcheck disable=SC2317,SC2329
cleanup() {
  [ -z "$versitygw" ] || kill "$versitygw" 2>/dev/null || true
  [ -z "${started-}" ] || localstack/down.sh
  [ -z "$work" ] || rm -rf "$work"
}

build() {
  scripts/build.sh
  scripts/versitygw.sh
  CGO_ENABLED=0 go build -C tools/benchpush -trimpath -o "$PWD/bin/benchpush" .
}

# A LocalStack that was running before stays running. Only up.sh knows whether it found one:
# a busy one may be too slow for a second question. The table is in LocalStack for both servers.
start_localstack() {
  local before after status=0
  before=$(localstack_pid)
  localstack/up.sh >/dev/null || status=$?
  after=$(localstack_pid)
  [ "$before" = "$after" ] || started=yes
  return "$status"
}

localstack_pid() { cat .cache/localstack/pid 2>/dev/null || true; }

# start_versitygw keeps objects in files, on the same disk as LocalStack does.
start_versitygw() {
  local port=${PIERLESS_VERSITYGW_PORT:-7071}
  mkdir -p "$work/data" "$work/side"
  .cache/bin/versitygw --listen "127.0.0.1:$port" --access test --secret test \
    --sidecar "$work/side" "$work/data" >"$work/log" 2>&1 &
  versitygw=$!
  for _ in $(seq 100); do
    if curl -s -m 5 -o /dev/null "http://127.0.0.1:$port/"; then return; fi
    kill -0 "$versitygw" 2>/dev/null || break
    sleep 0.1
  done
  cat "$work/log" >&2
  return 1
}

# compare PORT FLAGS...: a failed check must not hide the other server's figures.
compare() {
  (
    eval "$(localstack/env.sh)"
    export AWS_ENDPOINT_URL_S3=http://127.0.0.1:$1
    shift
    bin/benchpush -work "$work" "$@"
  ) || failed=yes
}

passed() { [ -z "${failed-}" ]; }

mkdir -p .cache && echo '*' >.cache/.gitignore
work=$(mktemp -d "$PWD/.cache/bench-push.XXXXXX")
step "build" build
step "start LocalStack" start_localstack
step "start versitygw" start_versitygw
step "LocalStack" compare "${PIERLESS_LOCALSTACK_PORT:-4566}" "$@"
step "versitygw" compare "${PIERLESS_VERSITYGW_PORT:-7071}" "$@"
step "compare" passed
