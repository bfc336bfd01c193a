#!/usr/bin/env bash
# Usage: scripts/venv.sh NAME PINS | --python
# Installs the pinned Python packages of the file PINS into .cache/NAME unless they are
# there, and prints the directory of their programs. --python prints the interpreter.
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

# install_uv puts uv into .cache/bin: it installs packages in a tenth of pip's time. The
# rename is atomic, because scripts in the background may need it at the same time.
install_uv() {
  local temporary
  mkdir -p .cache/bin && echo '*' >.cache/.gitignore
  temporary=$(mktemp -d "$PWD/.cache/uv.XXXXXX")
  "$python" -m venv "$temporary"
  "$temporary/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir --no-deps --require-hashes -r tools/uv/requirements.txt >&2
  cp "$temporary/bin/uv" "$temporary/new"
  mv -f "$temporary/new" "$uv"
  rm -rf "$temporary"
}

if [ "$1" = --python ]; then
  find_python
  exit
fi
venv=$PWD/.cache/$1 pins=$2 uv=$PWD/.cache/bin/uv
# The stamp is a copy of the pins: editing them reinstalls.
if ! cmp -s "$pins" "$venv/installed"; then
  echo "venv: installing $1 from PyPI" >&2
  python=$(find_python)
  [ "$("$uv" --version 2>/dev/null | cut -d ' ' -f 2)" = "$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' tools/uv/requirements.txt)" ] || install_uv
  # Pip's settings hold for uv, too.
  export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX-${PIP_INDEX_URL-}}
  [ -n "$UV_DEFAULT_INDEX" ] || unset UV_DEFAULT_INDEX
  rm -rf "$venv"
  "$uv" venv --quiet --no-cache --no-project --python "$python" "$venv"
  # --no-deps: the pins are complete. Nothing is installed twice, so a cache of downloads
  # would only take space.
  "$uv" pip install --quiet --no-cache --python "$venv/bin/python" --no-deps --require-hashes -r "$pins" >&2
  cp "$pins" "$venv/installed"
fi
echo "$venv/bin"
