#!/usr/bin/env bash
# Usage: localstack/down.sh
# Stops LocalStack and its DynamoDB Local. All data is lost.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=.cache/localstack

# stop ends the process of a pid file if its command line contains a word.
stop() {
  local file=$1 word=$2 pid
  [ -f "$file" ] || return 0
  pid=$(cat "$file")
  rm -f "$file"
  # Another process may have the pid by now: check before killing.
  ps -o args= -p "$pid" 2>/dev/null | grep -q "$word" || return 0
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
}

# LocalStack first: it would restart its child.
stop "$cache/pid" loopback.py
stop "$cache/root/var/lib/localstack/lib/java/21/pid" Loopback.java
rm -rf "$cache/tmp" "$cache/port" "$cache/owner"
echo "localstack: stopped" >&2
