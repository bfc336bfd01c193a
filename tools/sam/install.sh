#!/usr/bin/env bash
# Usage: tools/sam/install.sh sam|checkov|ministack
# Puts a set of pinned Python tools into .cache/ unless it is there, and prints the
# folder of its programs.
set -euo pipefail
cd "$(dirname "$0")/../.."
pins=tools/sam/$1.txt
venv=$PWD/.cache/$1

# find_python prints the first interpreter that the pins are for.
find_python() {
  local python
  for python in python3 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  echo "tools/sam: no Python 3.11, 3.12 or 3.13 found" >&2
  return 1
}

# The stamp is a copy of the pins: editing them reinstalls.
if ! cmp -s "$pins" "$venv/installed"; then
  echo "tools/sam: installing $1 from PyPI" >&2
  python=$(find_python)
  mkdir -p .cache && echo '*' >.cache/.gitignore
  "$python" -m venv --clear "$venv"
  # --no-deps: the pins are complete, and pip takes a pin for none where a package asks
  # for the same one with extras.
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$pins" >&2
  cp "$pins" "$venv/installed"
fi
echo "$venv/bin"
