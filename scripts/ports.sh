#!/usr/bin/env bash
# Usage: . scripts/ports.sh
# Free and taken TCP ports of 127.0.0.1.

# taken PORT: something listens, even if it does not answer.
taken() {
  local status=0
  timeout 2 bash -c ": </dev/tcp/127.0.0.1/$1" 2>/dev/null || status=$?
  [ "$status" = 0 ] || [ "$status" = 124 ]
}

# holder PORT prints " by PROGRAM (PID)" if this user may know.
holder() { ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/ by \1 (\2)/p' | head -n 1; }

# free_port FIRST [COUNT] prints the first port from FIRST with COUNT free ports in a row.
free_port() {
  local first=$1 count=${2:-1} i
  while [ "$first" -lt 65000 ]; do
    for ((i = 0; i < count; i++)); do
      ! taken $((first + i)) || break
    done
    if [ "$i" = "$count" ]; then
      echo "$first"
      return
    fi
    first=$((first + i + 1))
  done
  return 1
}
