#!/usr/bin/env bash
# Usage: scripts/template-check.sh
# Checks template.yaml without an AWS account: sam validate --lint, cfn-lint, checkov, and
# the binaries of "sam build". It skips checks whose input files have not changed since
# they passed.
cd "$(dirname "$0")/.."
. scripts/step.sh
export SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 # lint checks what the region offers; nothing is called
build=.cache/sam-build

# Stamps: checksums of the files that passed last.
checked=.cache/template-checked built=.cache/sam-built
sum_checked() { cat template.yaml samconfig.toml tools/sam/* scripts/template-check.sh | cksum; }
sum_built() {
  {
    sum_checked
    go version
    git ls-files -z --cached --others --exclude-standard -- Makefile go.mod go.sum cmd functions internal pkg | xargs -0 cksum 2>/dev/null
    find "$build" -type f -exec cksum {} + 2>/dev/null
  } | cksum
}

# built_is_right: each binary must be its family's program, built for arm64.
built_is_right() {
  local main family id info
  for main in functions/*/main.go; do
    family=$(basename "$(dirname "$main")")
    id=${family^}Function
    info=$(go version -m "$build/$id/bootstrap")
    if ! grep -qE "^\s+path\s.*/functions/$family\$" <<<"$info" || ! grep -qE '^\s+build\sGOARCH=arm64$' <<<"$info"; then
      printf '%s is not functions/%s for arm64:\n%s\n' "$id" "$family" "$info" >&2
      return 1
    fi
  done
}

sam_build() {
  local log=.cache/logs/sam-build
  mkdir -p .cache/logs
  .cache/sam/bin/sam build --build-dir "$build" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}

venv() { scripts/venv.sh "$1" "tools/sam/$1.txt" >/dev/null; }

if [ "$(cat "$checked" 2>/dev/null)" = "$(sum_checked)" ]; then
  say "template.yaml has not changed since it passed sam validate, cfn-lint and checkov"
else
  step "install sam, cfn-lint" venv sam
  step "sam validate --lint" .cache/sam/bin/sam validate --lint
  step "cfn-lint" .cache/sam/bin/cfn-lint template.yaml
  step "install checkov" venv checkov
  step "checkov" .cache/checkov/bin/checkov --config-file tools/sam/checkov.yaml --file template.yaml
  sum_checked >"$checked"
fi
if [ "$(cat "$built" 2>/dev/null)" = "$(sum_built)" ]; then
  say "the functions have not changed since sam built them"
else
  step "install sam" venv sam
  step "sam build" sam_build
  step "binaries of sam build" built_is_right
  sum_built >"$built"
fi
