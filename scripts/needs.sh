#!/usr/bin/env bash
# Usage: scripts/needs.sh localstack|test|race|e2e [FLAGS OF GO TEST]
# Checks, in less than a second, that this machine has what the scripts do not fetch
# themselves: programs of the right versions and disk space. As root on Debian it installs
# the missing packages; otherwise it lists everything that is missing and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=()  # sentences
packages=() # Debian packages
flags=${*:2}

has() { command -v "$1" >/dev/null 2>&1; }

# lacks SENTENCE [PACKAGE...]: without packages, apt-get cannot help.
lacks() {
  missing+=("$1${2+ (Debian: ${*:2})}")
  packages+=("${@:2}")
}

# needs PROGRAM PACKAGE [PURPOSE]
needs() { has "$1" || lacks "$1${3+, $3}" "$2"; }

at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

# go 1.21 and later fetch the version in go.mod, unless GOTOOLCHAIN forbids it.
needs_go() {
  local want have
  want=$(sed -n 's/^go //p' go.mod)
  if ! has go; then
    lacks "Go $want or newer: https://go.dev/doc/install"
    return
  fi
  have=$(GOTOOLCHAIN=local go version | sed -n 's/^go version go\([0-9.]*\).*/\1/p')
  at_least "$have" "$want" || { at_least "$have" 1.21 && [ "$(cd / && go env GOTOOLCHAIN)" != local ]; } ||
    lacks "Go $want or newer, here is $have: https://go.dev/doc/install"
}

# The race detector links with the C library.
needs_cc() {
  local cc
  cc=$(has go && go env CC || echo gcc)
  [ "${cc##*/}" != gcc ] || has gcc || lacks "gcc, for go test -race" gcc libc6-dev
  # shellcheck disable=SC2086 # CC may hold flags
  ! has ${cc%% *} || echo '#include <stdlib.h>' | $cc -E -x c -o /dev/null - 2>/dev/null ||
    lacks "the headers of the C library, for go test -race" libc6-dev
}

needs_python() {
  local python
  if python=$(scripts/venv.sh --python 2>/dev/null); then
    "$python" -c 'import ensurepip, venv' 2>/dev/null || lacks "the venv module of $python" "${python##*/}-venv"
  elif has python3; then
    lacks "Python 3.11, 3.12 or 3.13 with venv, as python3.13, python3.12 or python3.11 in PATH: python3 is $(python3 -V)"
  else
    lacks "Python 3.11, 3.12 or 3.13 with venv" python3 python3-venv
  fi
}

# java.sh starts Loopback.java from its source, which a JRE cannot. The file "release"
# of a JDK has its version; asking javac itself would take half a second.
needs_java() {
  local version=''
  if ! has javac || ! has java; then
    lacks "a JDK of version 17 or newer, for DynamoDB Local" default-jdk-headless
    return
  fi
  version=$(sed -n 's/^JAVA_VERSION="\(.*\)"/\1/p' "$(dirname "$(readlink -f "$(command -v javac)")")/../release" 2>/dev/null) || true
  [ -n "$version" ] || version=$(javac -version 2>&1 | sed -n 's/^javac //p')
  at_least "$version" 17 || lacks "a JDK of version 17 or newer, here is $version" default-jdk-headless
}

# needs_space FOLDER MIB: the folder may not exist yet.
needs_space() {
  local folder=$1 free
  until [ -d "$folder" ]; do folder=$(dirname "$folder"); done
  free=$(($(df -Pk "$folder" | awk 'NR == 2 { print $4 }') / 1024))
  [ "$free" -ge "$2" ] || lacks "$2 MiB of free disk space at $folder, here are $free"
}

# The first run fetches and builds tools; later ones need little.
needs_disk() {
  local first=no
  [ -x .cache/bin/versitygw ] || first=yes
  needs_space . "$([ "$first" = yes ] && echo 1500 || echo 300)"
  has go || return 0
  needs_space "$(go env GOCACHE)" "$([ "$first" = yes ] && echo 3000 || echo 500)"
  needs_space "${TMPDIR:-/tmp}" 1000
}

needs_localstack() {
  needs_go
  needs_python
  needs_java
  needs mvn maven "for DynamoDB Local"
  needs curl curl
  needs ps procps
}

needs_test() {
  needs_localstack
  needs git git
  needs make make
  needs_disk
}

needs_race() {
  needs_go
  needs_cc
}

needs_e2e() {
  needs_localstack
  { has docker && has dockerd; } || lacks "docker and dockerd" docker.io
  { has containerd && has ctr; } || lacks "containerd and ctr" containerd
  needs podman podman
  needs skopeo skopeo
  [ "$(id -u)" = 0 ] || [ -n "$flags" ] || lacks "root: dockerd and containerd need it (scripts/e2e.sh -run chooses other tests)"
  needs_disk
}

install() {
  echo "needs: installing Debian's ${packages[*]}" >&2
  # The tests start the daemons themselves: the packages must not.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  # Another run of this script may be installing too.
  apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${packages[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${packages[@]}"; } >/dev/null || true
}

check() {
  case $1 in
    localstack) needs_localstack ;;
    test) needs_test ;;
    race) needs_race ;;
    e2e) needs_e2e ;;
    *)
      sed -n 's/^# Usage: /usage: /p' "$0" >&2
      exit 2
      ;;
  esac
}

check "${1-}"
if [ ${#packages[@]} != 0 ] && [ "$(id -u)" = 0 ] && has apt-get; then
  install
  missing=()
  check "$1"
fi
[ ${#missing[@]} != 0 ] || exit 0
echo "needs: this machine lacks:" >&2
printf '  %s\n' "${missing[@]}" >&2
exit 1
