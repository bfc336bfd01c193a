#!/usr/bin/env bash
# Usage: scripts/check.sh
# Everything that can be said of the code without running it. Tools are pinned
# in tools/ and built on first use. VULNDB names another vulnerability database
# (an https:// address, or file:// and a folder).
cd "$(dirname "$0")/.."
. scripts/step.sh

lint_tool() { go tool -modfile=tools/lint/go.mod "$@"; }

gofumpt_is_clean() {
  local files
  files=$(git ls-files --cached --others --exclude-standard -- '*.go' | while read -r f; do [ ! -f "$f" ] || echo "$f"; done |
    xargs go tool -modfile=tools/lint/go.mod gofumpt -l)
  [ -z "$files" ] || { printf 'not formatted with gofumpt:\n%s\n' "$files" >&2; return 1; }
}

shell_is_clean() {
  local venv=.cache/shellcheck
  if [ ! -x "$venv/bin/shellcheck" ] || ! cmp -s tools/shellcheck/requirements.txt "$venv/installed"; then
    mkdir -p .cache && echo '*' >.cache/.gitignore
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r tools/shellcheck/requirements.txt
    cp tools/shellcheck/requirements.txt "$venv/installed"
  fi
  # -x follows ". scripts/step.sh" from the repository's root, where scripts run.
  git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run | xargs "$venv/bin/shellcheck" -x
}

# generated_is_current compares the files in docs before and after, not with
# the last commit: a work tree with changes in it may be current too.
generated_is_current() {
  local before after
  before=$(docs_sum)
  go generate ./...
  after=$(docs_sum)
  [ "$before" = "$after" ] || { echo 'docs were not current: "make generate" has rewritten them now' >&2; return 1; }
}
docs_sum() { [ ! -d docs ] || find docs -type f -print0 | sort -z | xargs -0 cksum; }

mod_is_tidy() {
  local dir
  for dir in . tools/lint tools/vuln tools/oras tools/versitygw tools/benchpush; do go -C "$dir" mod tidy -diff; done
}

step "gofumpt" gofumpt_is_clean
# Twice: with localstack some files replace others, and both must be seen.
for tags in e2e e2e,localstack; do
  step "golangci-lint, tags $tags" lint_tool golangci-lint run --build-tags "$tags" ./...
  step "go vet, tags $tags" go vet -tags "$tags" ./...
done
step "govulncheck" scripts/vulncheck.sh
step "shellcheck" shell_is_clean
step "go mod tidy" mod_is_tidy
step "generated docs" generated_is_current
