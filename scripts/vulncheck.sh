#!/usr/bin/env bash
# Usage: scripts/vulncheck.sh
# Looks for known vulnerabilities that the code reaches. Without a database
# (VULNDB, the Go project's by default) it says so and passes: no package
# registry carries one, and a build must not depend on an outage elsewhere.
# Exceptions: tools/vuln/exceptions.txt, one "GO-2026-0001 reason" a line.
set -euo pipefail
cd "$(dirname "$0")/.."
db=${VULNDB:-https://vuln.go.dev}
exceptions=tools/vuln/exceptions.txt

case $db in
  file://*) reachable=$([ -f "${db#file://}/index/db.json" ] && echo yes || echo no) ;;
  *) reachable=$(curl -fsS -m 5 -o /dev/null "$db/index/db.json" 2>/dev/null && echo yes || echo no) ;;
esac
if [ "$reachable" = no ]; then
  echo "vulnerability database $db not reachable: not checked"
  exit 0
fi
if grep -Ev '^(#|$)' "$exceptions" | grep -Evq '^GO-[0-9]+-[0-9]+ .'; then
  echo "$exceptions: a line without an id and a reason" >&2
  exit 1
fi

# The scanner ends with 3 when the code calls something vulnerable; it knows no
# exceptions itself.
report=$(go tool -modfile=tools/vuln/go.mod govulncheck -db "$db" ./...) && status=0 || status=$?
echo "$report"
[ "$status" = 3 ] || exit "$status"
found=$(sed -n 's/^Vulnerability #[0-9]*: \(GO-[0-9-]*\).*/\1/p' <<<"$report" | sort -u)
unexpected=$(grep -vxFf <(grep -o '^GO-[0-9-]*' "$exceptions") <<<"$found" || true)
[ -z "$unexpected" ] || { echo "no exception for:" "$unexpected" >&2; exit 3; }
echo "all of these have an exception in $exceptions"
