#!/usr/bin/env bash
# Usage: . scripts/step.sh
# Gives the other scripts "step NAME COMMAND...", which says what runs and for
# how long. A script may define "cleanup", which runs at its end in any case.
set -euo pipefail
step_name=

# say prints to stderr: stdout belongs to the commands.
say() { echo "==> $*" >&2; }

# step calls the command plainly, not in a condition: there bash would ignore
# the failures inside a function.
step() {
  step_name=$1 step_start=$SECONDS
  shift
  say "$step_name"
  "$@"
  say "$step_name: ok, $((SECONDS - step_start)) s"
  step_name=
}

finish() {
  local status=$?
  [ -z "$step_name" ] || say "$step_name: FAILED after $((SECONDS - step_start)) s"
  if declare -F cleanup >/dev/null; then cleanup; fi
  exit "$status"
}
trap finish EXIT
