#!/usr/bin/env bash
# Usage: [PIERLESS_SOAK=10m] [PIERLESS_SOAK_RATE=0] scripts/soak.sh [GO TEST FLAGS]
# Runs mixed clients and sweeps for PIERLESS_SOAK on both stores, while the processes of the
# registry are killed; PIERLESS_SOAK_RATE limits the actions per second on each store, 0 does not.
# For example, one store:
#   PIERLESS_SOAK=3m scripts/soak.sh -run TestSoak/embedded
cd "$(dirname "$0")/.."
. scripts/step.sh
. scripts/localstack.sh
export PIERLESS_SOAK=${PIERLESS_SOAK:-10m}

# Called by step.sh, which shellcheck does not see.
# shellcheck disable=SC2317,SC2329
cleanup() { stop_localstack; }

prepare() {
  scripts/needs.sh localstack
  choose_localstack
}

build() {
  scripts/build.sh
  CGO_ENABLED=0 go build -trimpath -o bin/ ./localstack/leftovers
}

soak() (
  eval "$(localstack/env.sh)"
  go test -tags e2e,soak -count=1 -timeout 5h -v -run TestSoak "$@" ./e2e/
)

step "prerequisites and ports" prepare
start localstack localstack/install.sh
step "build" build
join localstack
step "start LocalStack" start_localstack
step "soak" soak "$@"
