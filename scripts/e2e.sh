#!/usr/bin/env bash
# Usage: scripts/e2e.sh [GO TEST FLAGS]
# Runs the end-to-end tests with real clients against bin/pierless, on disk and on
# LocalStack, and against the functions behind the local cloud's gateway; and the test of a
# deploy, unless flags choose tests. Fetches the clients that are missing. For example:
#   scripts/e2e.sh -run TestClients/functions/crane
cd "$(dirname "$0")/.."
. scripts/step.sh
. scripts/localstack.sh
PATH=$PWD/.cache/bin:$PATH

# Called by step.sh, which shellcheck does not see.
# shellcheck disable=SC2317,SC2329
cleanup() { stop_localstack; }

prepare() {
  scripts/needs.sh e2e "$@"
  choose_localstack
}

install_go_clients() {
  local bin=$PWD/.cache/bin
  mkdir -p "$bin" && echo '*' >.cache/.gitignore
  fetch crane github.com/google/go-containerregistry/cmd/crane v0.22.1
  fetch regctl github.com/regclient/regclient/cmd/regctl v0.11.7
  # "go install" would ask for the list of its versions, which some proxies refuse.
  [ -x "$bin/oras" ] || go build -C tools/oras -o "$bin/oras" oras.land/oras/cmd/oras
}

# fetch installs a Go program unless this version of it is there.
fetch() {
  if ! go version -m ".cache/bin/$1" 2>/dev/null | grep -qE "^\s+mod\s.*\s$3(\s|\$)"; then
    GOBIN=$PWD/.cache/bin go install "$2@$3"
  fi
}

build() {
  scripts/build.sh
  scripts/functions.sh
  CGO_ENABLED=0 go build -trimpath -o bin/ ./localstack/cloud ./localstack/leftovers
}

test_binary() (
  eval "$(localstack/env.sh)"
  go test -tags e2e -count=1 -timeout 180m -v "$@" ./e2e/
)

step "prerequisites and ports" prepare "$@"
start localstack localstack/install.sh
step "install crane, regctl, oras" install_go_clients
step "build" build
join localstack
step "start LocalStack" start_localstack
if [ $# != 0 ]; then
  step "end-to-end tests" test_binary "$@"
  exit
fi
# The tests with daemons wait for them, one after the other. The others run beside them.
daemons='^Test(Access|AccessGrants|Clients|LargeLayer|Proxy|Push|PushInParts|PushFromDocker|PushGateway|PushBesideSweep)$'
start others test_binary -skip "$daemons"
start deploy scripts/deploy-test.sh
step "end-to-end tests with daemons" test_binary -run "$daemons"
join others
join deploy
