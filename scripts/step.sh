#!/usr/bin/env bash
# Usage: . scripts/step.sh
# Gives the other scripts
#   step NAME COMMAND...   which prints the name of the step and its duration,
#   start NAME COMMAND...  which runs a command in the background, its output in .cache/logs/NAME,
#   join NAME              which waits for that command and prints its output if it failed.
# NAME is one word for start and join. A script may define "cleanup": it runs when the
# script ends for any reason, after the background commands have been stopped.
set -euo pipefail
step_name=
declare -A background=() # process groups by name

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
  join_ended
}

# start gives the command its own process group, so that finish can stop all of it.
start() {
  local name=$1 log=.cache/logs/$1
  shift
  mkdir -p .cache/logs && echo '*' >.cache/.gitignore
  say "$name: started in the background, output in $log"
  set -m
  (
    set +m
    began=$SECONDS
    "$@"
    echo $((SECONDS - began)) >"$log.seconds"
  ) >"$log" 2>&1 </dev/null &
  set +m
  background[$name]=$!
}

join() {
  local pid=${background[$1]-} log=.cache/logs/$1
  [ -n "$pid" ] || return 0 # join_ended was first
  step_name=$1 step_start=$SECONDS
  if kill -0 "$pid" 2>/dev/null; then say "$1: waiting"; fi
  wait "$pid" || { cat "$log" >&2; exit 1; }
  unset "background[$1]"
  say "$1: ok, $(cat "$log.seconds") s in the background, waited $((SECONDS - step_start)) s"
  step_name=
}

# join_ended lets a failure in the background end the script after the present step.
join_ended() {
  local name
  for name in "${!background[@]}"; do
    kill -0 "${background[$name]}" 2>/dev/null || join "$name"
  done
}

finish() {
  local status=$? name
  trap '' INT TERM # nothing interrupts the clean-up
  [ -z "$step_name" ] || say "$step_name: FAILED after $((SECONDS - step_start)) s"
  for name in "${!background[@]}"; do
    kill -- "-${background[$name]}" 2>/dev/null || continue
    wait "${background[$name]}" 2>/dev/null || true
    say "$name: stopped"
  done
  if declare -F cleanup >/dev/null; then cleanup; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
