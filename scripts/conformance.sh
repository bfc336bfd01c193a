#!/usr/bin/env bash
# Usage: scripts/conformance.sh SUITE [RESULTS]
# Runs a built OCI conformance suite against a fresh embedded registry and prints
# its totals. OCI_VERSION chooses the specification (1.1); results go to
# RESULTS (.cache/conformance). PIERLESS_LISTEN moves the registry's port.
cd "$(dirname "$0")/.."
. scripts/step.sh
suite=${1:?"usage: make conformance SUITE=path"}
results=${2:-.cache/conformance}
listen=${PIERLESS_LISTEN:-127.0.0.1:5990}

# Called by step.sh, which shellcheck does not see.
# shellcheck disable=SC2317,SC2329
cleanup() {
  [ -z "${server-}" ] || kill "$server" 2>/dev/null || true
  rm -rf "$results/data"
}

rm -rf "$results"
mkdir -p "$results/data" && echo '*' >.cache/.gitignore
# An environment for LocalStack would win over the data folder.
env -u PIERLESS_BUCKET -u PIERLESS_TABLE PIERLESS_LISTEN="$listen" PIERLESS_DATA_DIR="$results/data" \
  bin/pierless serve >"$results/server.log" 2>&1 &
server=$!
for _ in $(seq 100); do
  if curl -fs -m 1 -o /dev/null "http://$listen/healthz"; then break; fi
  kill -0 "$server" || { cat "$results/server.log" >&2; exit 1; }
  sleep 0.1
done

status=0
OCI_REGISTRY=$listen OCI_TLS=disabled OCI_VERSION=${OCI_VERSION:-1.1} OCI_RESULTS_DIR=$results \
  "$suite" >"$results/output.log" 2>&1 || status=$?
# The suite's own element carries the totals, without those that are zero.
totals=$(grep -o '<testsuite name[^>]*>' "$results/junit.xml" | head -n 1)
for count in tests failures errors skipped disabled; do
  number=$(sed -n "s/.* $count=\"\([0-9]*\)\".*/\1/p" <<<"$totals")
  echo "$count: ${number:-0}"
done
say "report: $results/report.html"
exit "$status"
