#!/usr/bin/env bash
# Usage: localstack/install.sh
# Puts LocalStack (PyPI) and DynamoDB Local (Maven Central) into .cache/, if missing.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=.cache/localstack
lib=$cache/root/var/lib/localstack/lib

say() { echo "localstack: $*" >&2; }

scripts/needs.sh localstack
mkdir -p "$cache"
echo '*' >.cache/.gitignore
scripts/venv.sh localstack/venv localstack/requirements.txt >/dev/null

# The copy is a stamp: editing the pin fetches again.
if ! cmp -s localstack/pom.xml "$cache/pom.xml"; then
  say "fetching DynamoDB Local from Maven Central"
  rm -rf "$lib/dynamodb-local"
  mvn -q -B -l "$cache/maven.log" -f localstack/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$PWD/$lib/dynamodb-local/2/DynamoDBLocal_lib" >/dev/null 2>&1 || { cat "$cache/maven.log" >&2; exit 1; }
  # LocalStack downloads nothing if this file exists.
  touch "$lib/dynamodb-local/2/DynamoDBLocal.jar"
  cp localstack/pom.xml "$cache/pom.xml"
fi
mkdir -p "$lib/java/21/bin"
cp localstack/java.sh "$lib/java/21/bin/java"
cp localstack/Loopback.java "$lib/java/21/Loopback.java"
chmod +x "$lib/java/21/bin/java"
