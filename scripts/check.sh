#!/usr/bin/env bash
# Usage: scripts/check.sh
# Everything that can be said of the code without running it. Tools are pinned
# in tools/ and built on first use. VULNDB names another vulnerability database
# (an https:// address, or file:// and a folder).
cd "$(dirname "$0")/.."
. scripts/step.sh

build_linter() { golangci_lint=$(scripts/gobin.sh lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint); }

# formatted sees every file, whatever its build tags are: "golangci-lint run" does not.
formatted() { "$golangci_lint" fmt --diff || { echo 'not formatted with gofumpt: "make format" does it' >&2; return 1; }; }

shell_is_clean() {
  local bin
  bin=$(scripts/venv.sh shellcheck tools/shellcheck/requirements.txt)
  # -x follows ". scripts/step.sh" from the repository's root, where scripts run.
  git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run | while read -r f; do [ ! -f "$f" ] || echo "$f"; done |
    xargs "$bin/shellcheck" -x
}

# lint runs go vet's analyzers too: golangci-lint's govet has the same ones.
lint() { "$golangci_lint" run --allow-parallel-runners "$@"; }

# replaced prints the packages with files that the tag localstack leaves out.
replaced() {
  # shellcheck disable=SC2016 # a template of go
  go list -tags e2e,localstack -f '{{$p := .}}{{range .IgnoredGoFiles}}{{$p.Dir}}/{{.}}{{"\n"}}{{end}}' ./... |
    xargs grep -l '^//go:build .*!localstack' | xargs -n 1 dirname | sort -u
}

lint_replaced() {
  local packages
  packages=$(replaced)
  # shellcheck disable=SC2086 # one argument a package
  lint --build-tags e2e $packages
}

# generated_is_current compares docs and template.yaml before and after, not with
# the last commit: a work tree with changes in it may be current too.
generated_is_current() {
  local before after
  before=$(docs_sum)
  go generate ./...
  after=$(docs_sum)
  [ "$before" = "$after" ] || { echo 'docs or template.yaml were not current: "make generate" has rewritten them now' >&2; return 1; }
}
docs_sum() { find docs template.yaml -type f -print0 | sort -z | xargs -0 cksum; }

mod_is_tidy() {
  local dir
  for dir in . tools/lint tools/vuln tools/oras tools/versitygw tools/benchpush; do go -C "$dir" mod tidy -diff; done
}

step "build golangci-lint" build_linter
step "gofumpt" formatted
step "golangci-lint" lint --build-tags e2e,localstack,mutants,soak ./...
step "golangci-lint of the files that the tag localstack replaces" lint_replaced
step "govulncheck" scripts/vulncheck.sh
step "shellcheck" shell_is_clean
step "go mod tidy" mod_is_tidy
step "generated docs" generated_is_current
