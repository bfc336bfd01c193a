#!/usr/bin/env bash
# Usage: scripts/template.sh
# Writes the routes of template.yaml from pkg/oci/route.
set -euo pipefail
cd "$(dirname "$0")/.."
go test -count=1 -run '^TestTemplateRoutes$' . -update
