#!/usr/bin/env bash
# Usage: scripts/venv.sh NAME PINS | --python
# Installs the pinned Python packages of the file PINS into .cache/NAME unless they are
# there, and prints the folder of their programs. --python prints the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

# The pins are for these versions.
find_python() {
  local python
  for python in python3 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  echo "venv: no Python 3.11, 3.12 or 3.13 found" >&2
  return 1
}

if [ "$1" = --python ]; then
  find_python
  exit
fi
venv=$PWD/.cache/$1 pins=$2
# The stamp is a copy of the pins: editing them reinstalls.
if ! cmp -s "$pins" "$venv/installed"; then
  echo "venv: installing $1 from PyPI" >&2
  mkdir -p .cache && echo '*' >.cache/.gitignore
  "$(find_python)" -m venv --clear "$venv"
  # --no-deps: the pins are complete, and pip takes a pin for none if a package asks for
  # the same one with extras. --no-compile: Python compiles what it imports. Nothing is
  # installed twice, so a cache of downloads would only take space.
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --no-compile --no-deps --require-hashes -r "$pins" >&2
  "$venv/bin/pip" uninstall --quiet --disable-pip-version-check --yes pip 2>/dev/null >&2
  cp "$pins" "$venv/installed"
fi
echo "$venv/bin"
