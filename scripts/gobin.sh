#!/usr/bin/env bash
# Usage: scripts/gobin.sh TOOL [PACKAGE]
# Builds a Go program, pinned by the module in tools/TOOL, into .cache/bin unless it is
# there, and prints its path. PACKAGE is that module's own by default. The files below
# tools/TOOL/replaced are compiled in place of the same files of PACKAGE's module.
set -euo pipefail
cd "$(dirname "$0")/.."
module=$PWD/tools/$1 package=${2:-.}
bin=$PWD/.cache/bin/$(basename "${2:-$1}")

# sum prints a checksum of everything that the program is made of.
sum() {
  {
    go version
    find "$module" -type f -print0 | sort -z | xargs -0 cat
  } | cksum
}

# replaced copies the package's module, writes our files over it, and prints the directory
# of the copy. There, the module's own go.mod pins the dependencies.
replaced() {
  local source copy
  source=$(go list -C "$module" -find -f '{{.Module.Dir}}' "$package")
  copy=$PWD/.cache/src/$(basename "$package")
  rm -rf "$copy" && mkdir -p "${copy%/*}"
  cp -R "$source" "$copy"
  chmod -R u+w "$copy"
  cp -R "$module/replaced/." "$copy"
  echo "$copy"
}

stamp=$(sum)
if [ ! -x "$bin" ] || [ "$(cat "$bin.stamp" 2>/dev/null)" != "$stamp" ]; then
  mkdir -p .cache/bin && echo '*' >.cache/.gitignore
  dir=$module
  [ ! -d "$module/replaced" ] || dir=$(replaced)
  go build -C "$dir" -ldflags '-s -w' -o "$bin" "$package"
  rm -rf ".cache/src/$(basename "$bin")"
  echo "$stamp" >"$bin.stamp"
fi
echo "$bin"
