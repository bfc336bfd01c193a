#!/usr/bin/env bash
# Usage: scripts/test.sh
# All tests but the end-to-end ones: checks, tests that need nothing, then the
# contract tests of the AWS adapters against LocalStack and versitygw.
cd "$(dirname "$0")/.."
. scripts/step.sh

localstack_is_up() { curl -fs -m 5 -o /dev/null "http://127.0.0.1:${PIERLESS_LOCALSTACK_PORT:-4566}/_localstack/health"; }

# What was running before stays running.
# Called by step.sh, which shellcheck does not see.
# shellcheck disable=SC2317,SC2329
cleanup() { [ -z "${started-}" ] || localstack/down.sh; }

start_localstack() {
  localstack_is_up || started=yes
  scripts/build.sh
  localstack/up.sh >/dev/null
}

# Both end with go test's own lines.
test_alone() { go test -race -shuffle=on -timeout 60m ./...; }
test_on_localstack() (
  eval "$(localstack/env.sh)"
  go test -tags localstack -count=1 -timeout 60m ./...
)

step "check" scripts/check.sh
step "template" scripts/template-check.sh
step "tests" test_alone
step "build versitygw" scripts/versitygw.sh
step "start LocalStack" start_localstack
step "tests on LocalStack" test_on_localstack
