#!/usr/bin/env bash
# Usage: localstack/down.sh
# Stops what localstack/up.sh started: LocalStack and its Java child. All data is gone then.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=.cache/localstack

# stop ends the process named in a pid file, if it is still one of ours.
stop() {
  local file=$1 word=$2 pid
  [ -f "$file" ] || return 0
  pid=$(cat "$file")
  rm -f "$file"
  # A pid may have been given to another process since: look before killing.
  ps -o args= -p "$pid" 2>/dev/null | grep -q "$word" || return 0
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
}

# LocalStack first: it would start its child again.
stop "$cache/pid" loopback.py
stop "$cache/root/var/lib/localstack/lib/java/21/pid" Loopback.java
rm -rf "$cache/tmp" "$cache/port" "$cache/owner"
echo "localstack: stopped" >&2
