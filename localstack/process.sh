#!/usr/bin/env bash
# Usage: . localstack/process.sh
# Functions that find the LocalStack of this clone.
cache=.cache/localstack

# ours: the process that up.sh started is running. Another process may have its pid by now.
ours() { [ -f "$cache/pid" ] && ps -o args= -p "$(cat "$cache/pid")" 2>/dev/null | grep -q loopback.py; }

# healthy PORT: a LocalStack answers, of this clone or another.
healthy() { curl -fs -m 5 -o /dev/null "http://127.0.0.1:$1/_localstack/health"; }
