#!/usr/bin/env bash
# Usage: called by LocalStack as the "java" of its JRE directory; not run by hand.
# LocalStack would download its own DynamoDB Local and JRE. It finds this wrapper
# instead, which starts the jars from Maven with the java in PATH.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd -P)
lib=$(cd "$here/../../dynamodb-local/2/DynamoDBLocal_lib" && pwd -P)

# This directory is first in PATH: remove it, or the wrapper would start itself.
PATH=${PATH#"$here/bin:"}

# Skip LocalStack's -javaagent and -jar, which are for its own jars.
while [ $# -gt 0 ] && [ "$1" != -port ]; do shift; done

# down.sh needs the pid if LocalStack was killed.
echo $$ >"$here/pid"
exec java -Xmx640m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir="$TMPDIR" \
  -Djava.library.path="$lib" -Dsqlite4java.library.path="$lib" \
  -cp "$lib/*" "$here/Loopback.java" -disableTelemetry "$@"
