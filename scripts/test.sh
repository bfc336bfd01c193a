#!/usr/bin/env bash
# Usage: scripts/test.sh [FLAGS OF GO TEST]
# Everything but the end-to-end tests and the race detector: checks, tests, and the tests that
# are other ones on LocalStack and versitygw. go keeps the results of tests: those whose code
# and inputs are unchanged do not run again, unless FLAGS (-count=1, -shuffle=on) demand it.
cd "$(dirname "$0")/.."
. scripts/step.sh
. scripts/localstack.sh
# -vet=off: "golangci-lint" has run all of vet's analyzers. -w: no test needs DWARF, and linking
# without it is faster.
flags=(-timeout 60m -vet=off -ldflags=-w "$@")

# Called by step.sh, which shellcheck does not see.
# shellcheck disable=SC2317,SC2329
cleanup() { stop_localstack; }

prepare() {
  scripts/needs.sh test
  choose_localstack
}

# on_stores does all that needs LocalStack, which takes longer to install than the checks take.
on_stores() {
  localstack/install.sh
  scripts/versitygw.sh
  start_localstack
  soak &
  test_on_localstack
  wait $!
}

# soak is the short form of scripts/soak.sh: a minute of few actions, beside the other tests. go
# keeps its result too.
soak() (
  go build -buildvcs=false -o .cache/soak/ ./cmd/pierless ./localstack/leftovers # compiled as for the tests
  mkdir -p bin
  for binary in pierless leftovers; do # go compares the times of files, and "go build" sets them
    cmp -s ".cache/soak/$binary" "bin/$binary" || cp -f ".cache/soak/$binary" bin/
  done
  eval "$(environment)"
  export PIERLESS_SOAK=1m PIERLESS_SOAK_RATE=2
  go test -tags e2e,soak -run TestSoak "${flags[@]}" ./e2e
)

# environment is that of the tests on LocalStack. go keeps results by environment and files, but
# does not know what LocalStack and versitygw are. So a variable that the SDK reads, and copies to
# its User-Agent, has their versions: after a change of these all of it runs.
environment() {
  local pins
  pins=$(cat localstack/requirements.txt localstack/pom.xml localstack/*.java localstack/*.py localstack/*.sh tools/versitygw/* | cksum)
  localstack/env.sh
  echo "export AWS_SDK_UA_APP_ID=${pins// /-}"
}

# on_localstack prints the packages whose tests the tag localstack changes: those with
# files of that tag, and those that test on internal/storetest.
on_localstack() {
  local module
  module=$(go list -m)
  {
    git grep -lE --untracked '^//go:build .*localstack' -- '*_test.go' ':!e2e' | xargs -n 1 dirname | sed "s|^|$module/|"
    # shellcheck disable=SC2016 # a template of go
    go list -tags localstack -test -f '{{$p := .}}{{range .Deps}}{{$p.ImportPath}} {{.}}{{"\n"}}{{end}}' ./... |
      sed -n "s|^\(.*\)\.test $module/internal/storetest\$|\1|p"
  } | sort -u
}

test_on_localstack() {
  local packages
  packages=$(on_localstack)
  eval "$(environment)"
  # shellcheck disable=SC2086 # one argument a package
  go test -tags localstack "${flags[@]}" $packages
}

step "prerequisites and ports" prepare
# All runs at once, because much of it waits: for downloads, for LocalStack. The stores take
# longest, so the others give way to them.
start stores on_stores
start template nice scripts/template-check.sh
start check nice scripts/check.sh
step "tests" nice go test "${flags[@]}" ./...
join check
join template
join stores
