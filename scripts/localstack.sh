#!/usr/bin/env bash
# Usage: . scripts/localstack.sh
# LocalStack for scripts that need one while they run: choose_localstack first, then
# start_localstack, and stop_localstack in the end. A LocalStack that ran before stays.
. localstack/process.sh
. scripts/ports.sh

# choose_localstack exports the port: the given one, that of this clone's LocalStack, or
# the first of two that are free. The port after it is that of DynamoDB Local.
choose_localstack() {
  local wanted
  if ours && [ -s "$cache/owner" ] && ! is_script "$(cat "$cache/owner")"; then
    say "an earlier run was killed and left LocalStack behind"
    localstack/down.sh
  fi
  if ours; then
    wanted=$(cat "$cache/port")
    if [ "${PIERLESS_LOCALSTACK_PORT:-$wanted}" != "$wanted" ]; then
      say "LocalStack runs on port $wanted, not on $PIERLESS_LOCALSTACK_PORT: localstack/down.sh first"
      return 1
    fi
    PIERLESS_LOCALSTACK_PORT=$wanted
  elif [ -n "${PIERLESS_LOCALSTACK_PORT-}" ]; then
    check_port "$PIERLESS_LOCALSTACK_PORT"
  else
    PIERLESS_LOCALSTACK_PORT=$(free_port 4566 2)
    [ "$PIERLESS_LOCALSTACK_PORT" = 4566 ] ||
      say "port 4566 or 4567 is taken$(holder 4566)$(holder 4567): LocalStack gets $PIERLESS_LOCALSTACK_PORT"
    localstack_is_mine=yes any_port=yes
  fi
  export PIERLESS_LOCALSTACK_PORT
}

# check_port: on a given port there is a LocalStack, which is used, or nothing.
check_port() {
  local needed
  if taken "$1" && healthy "$1"; then return; fi
  for needed in "$1" $(($1 + 1)); do
    if taken "$needed"; then
      say "port $needed is taken$(holder "$needed"): unset PIERLESS_LOCALSTACK_PORT, or set it to the first of two free ports"
      return 1
    fi
  done
  localstack_is_mine=yes
}

# is_script PID: the process is one of those that own a LocalStack.
is_script() { ps -o args= -p "$1" 2>/dev/null | grep -q scripts/; }

# start_localstack chooses again if somebody took a port that was free before.
start_localstack() {
  if [ -n "${localstack_is_mine-}" ]; then
    if [ -n "${any_port-}" ] && { taken "$PIERLESS_LOCALSTACK_PORT" || taken $((PIERLESS_LOCALSTACK_PORT + 1)); }; then
      unset PIERLESS_LOCALSTACK_PORT
      choose_localstack
    fi
  fi
  LOCALSTACK_OWNER=$$ localstack/up.sh >/dev/null
}

stop_localstack() { [ -z "${localstack_is_mine-}" ] || ! ours || localstack/down.sh; }
