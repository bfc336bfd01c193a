#!/usr/bin/env bash
# Usage: localstack/install.sh
# Puts LocalStack (PyPI) and DynamoDB Local (Maven Central) into .cache/, if missing.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=.cache/localstack
lib=$cache/root/var/lib/localstack/lib

say() { echo "localstack: $*" >&2; }

# need installs a Debian package where a program is missing and that is possible.
need() {
  if command -v "$1" >/dev/null; then return; fi
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "$1 is missing: install it (Debian's package is $2)"
    exit 1
  fi
  say "installing Debian's $2 for $1"
  { apt-get install -y -qq --no-install-recommends "$2" || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2"; }; } >/dev/null
}

# find_python prints the first interpreter that the pinned release runs on.
find_python() {
  local python
  for python in python3 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  say "no Python 3.11, 3.12 or 3.13 found"
  return 1
}

need javac default-jdk-headless # DynamoDB Local's launcher is compiled when it starts
need mvn maven
need curl curl
mkdir -p "$cache"
echo '*' >.cache/.gitignore

# A stamp holds the checksum of what was installed: editing a pin reinstalls.
stamp=$(cat localstack/requirements.txt localstack/pom.xml | cksum)
if [ "$(cat "$cache/stamp" 2>/dev/null)" != "$stamp" ]; then
  python=$(find_python)
  say "installing LocalStack from PyPI (about a minute)"
  "$python" -m venv --clear "$cache/venv"
  "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r localstack/requirements.txt
  say "fetching DynamoDB Local from Maven Central"
  rm -rf "$lib/dynamodb-local"
  mvn -q -B -l "$cache/maven.log" -f localstack/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$PWD/$lib/dynamodb-local/2/DynamoDBLocal_lib" >/dev/null 2>&1 || { cat "$cache/maven.log" >&2; exit 1; }
  # LocalStack takes the presence of this file as "already downloaded".
  touch "$lib/dynamodb-local/2/DynamoDBLocal.jar"
  echo "$stamp" >"$cache/stamp"
fi
mkdir -p "$lib/java/21/bin"
cp localstack/java.sh "$lib/java/21/bin/java"
cp localstack/Loopback.java "$lib/java/21/Loopback.java"
chmod +x "$lib/java/21/bin/java"
