#!/usr/bin/env bash
# Usage: . localstack/process.sh
# How the scripts know the LocalStack of this clone.
cache=.cache/localstack

# ours: the process that up.sh started runs. Another process may have its id by now.
ours() { [ -f "$cache/pid" ] && ps -o args= -p "$(cat "$cache/pid")" 2>/dev/null | grep -q loopback.py; }

# healthy PORT: a LocalStack answers, this one or another.
healthy() { curl -fs -m 5 -o /dev/null "http://127.0.0.1:$1/_localstack/health"; }
