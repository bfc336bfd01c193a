#!/usr/bin/env bash
# Usage: scripts/template-check.sh
# What can be said of template.yaml without an AWS account: sam validate --lint,
# cfn-lint, checkov, and "sam build" with a look at what it built. What has not
# changed since it last passed is not checked again.
cd "$(dirname "$0")/.."
. scripts/step.sh
export SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 # lint asks what a region has; nothing is called
build=.cache/sam-build
stamp=.cache/template-checked

sum() { cat template.yaml samconfig.toml tools/sam/* scripts/template-check.sh | cksum; }

install() {
  sam=$(tools/sam/install.sh sam)/sam
  cfn_lint=$(tools/sam/install.sh sam)/cfn-lint
  checkov=$(tools/sam/install.sh checkov)/checkov
}

# built_is_right: each function must be its family's program, for Lambda's machine.
built_is_right() {
  local family id info
  for family in base blobs uploads manifests tags referrers direct verifications sweep; do
    id=${family^}Function
    info=$(go version -m "$build/$id/bootstrap")
    if ! grep -qE "^\s+path\s.*/functions/$family\$" <<<"$info" || ! grep -qE '^\s+build\sGOARCH=arm64$' <<<"$info"; then
      printf '%s is not functions/%s for arm64:\n%s\n' "$id" "$family" "$info" >&2
      return 1
    fi
  done
}

step "install sam, cfn-lint, checkov" install
if [ "$(cat "$stamp" 2>/dev/null)" = "$(sum)" ]; then
  say "template.yaml has not changed since it passed sam validate, cfn-lint and checkov"
else
  step "sam validate --lint" "$sam" validate --lint
  step "cfn-lint" "$cfn_lint" template.yaml
  step "checkov" "$checkov" --config-file tools/sam/checkov.yaml --file template.yaml
  sum >"$stamp"
fi
step "sam build" "$sam" build --build-dir "$build"
step "what sam built" built_is_right
