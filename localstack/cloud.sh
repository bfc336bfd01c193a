#!/usr/bin/env bash
# Usage: localstack/cloud.sh up [FLAGS OF THE CLOUD] | down
# Starts the functions of template.yaml behind a local API Gateway, with the running
# LocalStack (localstack/up.sh), and prints how to push to it. For example:
#   localstack/cloud.sh up --rename-challenge --parameter AnonymousPull=true
# PIERLESS_CLOUD_LISTEN (127.0.0.1:5000) is the address of the registry,
# PIERLESS_CLOUD_AWS_LISTEN (127.0.0.1:5001) that of S3 for pulls, and
# PIERLESS_CLOUD_TOKEN (pierless-local) the administrator's token.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=.cache/localstack
listen=${PIERLESS_CLOUD_LISTEN:-127.0.0.1:5000}
aws_listen=${PIERLESS_CLOUD_AWS_LISTEN:-127.0.0.1:5001}
# The default is not a secret: only this machine reaches the address.
token=${PIERLESS_CLOUD_TOKEN:-pierless-local}

say() { echo "cloud: $*" >&2; }
ready() { curl -fs -m 5 -o /dev/null "http://$listen/_cloud/stats"; }
# Another process may have the pid by now: check the command line.
ours() { [ -f "$cache/cloud.pid" ] && ps -o args= -p "$(cat "$cache/cloud.pid")" 2>/dev/null | grep -q "^bin/cloud "; }

up() {
  local configuration
  # Restart if flags, template or binaries have changed.
  configuration=$(printf '%s\n' "$listen" "$aws_listen" "$token" "$@" | cat - template.yaml bin/functions/*/bootstrap bin/cloud | cksum)
  if ours && ready && [ "$(cat "$cache/cloud.configuration" 2>/dev/null)" = "$configuration" ]; then
    say "already running on $listen"
    return
  fi
  down
  eval "$(localstack/env.sh)"
  say "starting on $listen, log in $cache/cloud.log"
  nohup bin/cloud --listen "$listen" --aws-listen "$aws_listen" --aws-endpoint "$AWS_ENDPOINT_URL_S3" --dynamodb-endpoint "$AWS_ENDPOINT_URL_DYNAMODB" \
    --region "$AWS_REGION" --bucket "$PIERLESS_BUCKET" --table "$PIERLESS_TABLE" \
    --parameter "AdminTokenSha256=$(printf %s "$token" | sha256sum | cut -d ' ' -f 1)" "$@" \
    >"$cache/cloud.log" 2>&1 </dev/null &
  echo $! >"$cache/cloud.pid"
  echo "$configuration" >"$cache/cloud.configuration"
  local deadline=$((SECONDS + 300))
  until ready; do
    if ! kill -0 "$(cat "$cache/cloud.pid")" 2>/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
      say "did not start; the end of $cache/cloud.log:"
      tail -n 20 "$cache/cloud.log" >&2
      exit 1
    fi
    sleep 0.1
  done
}

down() {
  local pid
  if ours; then
    pid=$(cat "$cache/cloud.pid")
    kill "$pid"
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    say "stopped"
  fi
  rm -f "$cache/cloud.pid" "$cache/cloud.configuration"
}

case ${1-} in
  up)
    shift
    scripts/functions.sh >&2
    CGO_ENABLED=0 go build -trimpath -o bin/cloud ./localstack/cloud
    up "$@"
    cat <<TEXT
The registry is at $listen: real functions, routes and policies of template.yaml.
  docker login -u admin -p $token $listen
  docker tag hello-world $listen/hello && docker push $listen/hello
Counts: curl http://$listen/_cloud/stats    Log: $cache/cloud.log    Stop: make down
TEXT
    ;;
  down) down ;;
  *)
    sed -n 's/^# Usage: /usage: /p' "$0" >&2
    exit 2
    ;;
esac
