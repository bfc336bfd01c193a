#!/usr/bin/env bash
# Usage: stands in for "java" inside LocalStack's JRE folder; not run by hand.
# LocalStack wants to download its own DynamoDB Local and JRE. This wrapper is
# found instead and starts the jars that Maven brought, on the java in PATH.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd -P)
lib=$(cd "$here/../../dynamodb-local/2/DynamoDBLocal_lib" && pwd -P)

# Its own folder leads PATH here: drop it, or this would start itself for ever.
PATH=${PATH#"$here/bin:"}

# Drop the -javaagent and -jar that LocalStack passes: they are for its own jars.
while [ $# -gt 0 ] && [ "$1" != -port ]; do shift; done

# The child's id, so that down.sh can end it when LocalStack did not.
echo $$ >"$here/pid"
exec java -Xmx640m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir="$TMPDIR" \
  -Djava.library.path="$lib" -Dsqlite4java.library.path="$lib" \
  -cp "$lib/*" "$here/Loopback.java" -disableTelemetry "$@"
