#!/usr/bin/env bash
# Usage: scripts/deploy-test.sh
# Deploys template.yaml to an emulator: sam build, sam deploy, push and pull, a direct
# upload, a token for some repositories, the sweep, an update in place, sam delete. Bucket
# and table must outlive the stack. The emulator is MiniStack on 127.0.0.1, with three ports from
# PIERLESS_DEPLOY_PORT, or the first three free ones from 4576.
# Two things differ from a deployment to AWS: the functions are built for this machine,
# as the emulator runs them as child processes, and the API's OpenAPI document becomes
# routes and integrations (native_routes), as the emulator ignores Body.
cd "$(dirname "$0")/.."
. scripts/step.sh
. scripts/ports.sh
port=${PIERLESS_DEPLOY_PORT:-$(free_port 4576 3)}
cloud=http://127.0.0.1:$port
host=127.0.0.1:$((port + 1))
work=$PWD/.cache/deploy
stack=pierless-test
token=$(head -c 32 /dev/urandom | sha256sum | cut -c 1-64)
crane=$PWD/.cache/bin/crane

# The caller's AWS configuration must not be used.
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL_DYNAMODB
export AWS_ENDPOINT_URL=$cloud AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null

# Called by step.sh, which shellcheck does not see.
# shellcheck disable=SC2317,SC2329
cleanup() {
  [ -z "${proxy_pid-}" ] || kill "$proxy_pid" 2>/dev/null || true
  # The process group: the emulator does not stop the functions that it started.
  [ -z "${cloud_pid-}" ] || kill -- "-$cloud_pid" 2>/dev/null || true
}

prepare() {
  local i
  scripts/needs.sh localstack
  for i in 0 1 2; do
    if taken $((port + i)); then
      say "port $((port + i)) is taken$(holder $((port + i))): unset PIERLESS_DEPLOY_PORT, or set it to the first of three free ports"
      return 1
    fi
  done
}

install() {
  mkdir -p .cache/bin && echo '*' >.cache/.gitignore
  sam=$(scripts/venv.sh sam tools/sam/sam.txt)/sam
  ministack=$(scripts/venv.sh ministack tools/sam/ministack.txt)/ministack
  if ! go version -m "$crane" 2>/dev/null | grep -qE '^\s+mod\s.*\sv0\.22\.1(\s|$)'; then
    GOBIN=$PWD/.cache/bin go install github.com/google/go-containerregistry/cmd/crane@v0.22.1
  fi
  go build -o .cache/bin/deployproxy ./localstack/deployproxy
}

start_cloud() {
  rm -rf "$work" && mkdir -p "$work/docker" "$work/nobody" "$work/ci" "$work/tmp"
  # IOT_MTLS_ENABLED, SFTP_ENABLED: they would listen on all interfaces. Functions
  # inherit AWS_ENDPOINT_URL. setsid makes a group that can be ended as one.
  BIND_HOST=127.0.0.1 GATEWAY_PORT=$port IOT_MTLS_ENABLED=0 SFTP_ENABLED=0 TMPDIR=$work/tmp \
    setsid "$ministack" >"$work/ministack.log" 2>&1 </dev/null &
  cloud_pid=$!
  wait_for "$cloud/_ministack/health" "$cloud_pid" "$work/ministack.log"
}

# wait_for waits until a URL answers with any status, or its process has ended.
wait_for() {
  local deadline=$((SECONDS + 600))
  until curl -s -m 5 -o /dev/null "$1"; do
    if ! kill -0 "$2" 2>/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
      tail -n 20 "$3" >&2
      return 1
    fi
    sleep 0.2
  done
}

build() {
  FUNCTION_GOARCH=$(go env GOHOSTARCH) "$sam" build --build-dir "$work/build" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; return 1; }
  native_routes "$work/build/template.yaml"
}

# native_routes replaces the API's Body in a built template by one resource for each
# integration and route. SAM has written intrinsic functions in their long form.
native_routes() {
  "${sam%/sam}/python" - "$1" <<'TRANSLATE'
import json, sys, yaml

def parameters(mapping):
    return {status: {"ResponseParameters": [{"Destination": d, "Source": s} for d, s in entries.items()]} for status, entries in mapping.items()}

with open(sys.argv[1]) as file:
    template = yaml.safe_load(file)
resources = template["Resources"]
body = resources["Api"]["Properties"]["Body"]
resources["Api"]["Properties"] = {"Name": body["info"]["title"], "ProtocolType": "HTTP"}
for name, integration in body["components"]["x-amazon-apigateway-integrations"].items():
    condition, mapping, otherwise = integration["responseParameters"]["Fn::If"]
    resources["Integration" + name] = {"Type": "AWS::ApiGatewayV2::Integration", "Properties": {
        "ApiId": {"Ref": "Api"}, "IntegrationType": integration["type"], "IntegrationMethod": integration["httpMethod"],
        "IntegrationUri": integration["uri"], "PayloadFormatVersion": integration["payloadFormatVersion"],
        "TimeoutInMillis": integration["timeoutInMillis"],
        "ResponseParameters": {"Fn::If": [condition, parameters(mapping), otherwise]}}}
for number, (path, item) in enumerate(body["paths"].items()):
    operation = item["x-amazon-apigateway-any-method"]
    name = operation["x-amazon-apigateway-integration"]["$ref"].rsplit("/", 1)[1]
    resources["Route%d" % number] = {"Type": "AWS::ApiGatewayV2::Route", "Properties": {
        "ApiId": {"Ref": "Api"}, "RouteKey": "$default" if operation.get("isDefaultRoute") else "ANY " + path,
        "Target": {"Fn::Sub": "integrations/${Integration%s}" % name}}}
with open(sys.argv[1], "w") as file:
    json.dump(template, file, indent=1, default=str)
TRANSLATE
}

# deploy sets parameters of the stack. It prints the log only if it fails.
deploy() {
  local log=$work/deploy.log
  "$sam" deploy --config-file "$PWD/samconfig.toml" --template-file "$work/build/template.yaml" --stack-name "$stack" \
    --no-confirm-changeset --no-progressbar --parameter-overrides "AdminTokenSha256=$(printf %s "$token" | sha256sum | cut -c 1-64)" "$@" \
    >"$log" 2>&1 || { grep -A 8 FAILED "$log" >&2 || cat "$log" >&2; return 1; }
}

# output prints one of the stack's outputs.
output() {
  "$sam" list stack-outputs --config-file "$PWD/samconfig.toml" --stack-name "$stack" --output json |
    python3 -c 'import json, sys; print(*[o["OutputValue"] for o in json.load(sys.stdin) if o["OutputKey"] == sys.argv[1]])' "$1"
}

first_deploy() {
  deploy
  local registry
  registry=$(output RegistryHost)
  bucket=$(output BucketName)
  table=$(output TableName)
  echo "host $registry, bucket $bucket, table $table" >&2
  .cache/bin/deployproxy --listen "$host" --target "$cloud" --api "${registry%%.*}" >"$work/proxy.log" 2>&1 &
  proxy_pid=$!
  wait_for "http://$host/v2/" "$proxy_pid" "$work/proxy.log"
}

refused() {
  if "$@" >"$work/refused.log" 2>&1 || ! grep -qiE 'UNAUTHORIZED|401' "$work/refused.log"; then
    echo "expected 401 from: $*" >&2
    cat "$work/refused.log" >&2
    return 1
  fi
}

# as runs crane with the credentials in one of three directories.
as() {
  local who=$1
  shift
  DOCKER_CONFIG=$work/$who "$crane" "$@"
}

# push creates an image of two layers of 1 and 2 MB and pushes it as a tag.
push() {
  local who=$1 tag=$2 i
  for i in 1 2; do
    head -c "${i}000000" /dev/urandom >"$work/tmp/file$i"
    tar -C "$work/tmp" -cf "$work/$tag-$i.tar" "file$i"
  done
  as "$who" append --oci-empty-base -f "$work/$tag-1.tar" -f "$work/$tag-2.tar" -t "$host/team/app/image:$tag"
}

# pull_again reads an image back and compares every digest with its content.
pull_again() {
  as "$1" validate --remote "$host/team/app/image:$2"
  as "$1" pull --format oci "$host/team/app/image:$2" "$work/pulled-$1-$2"
}

# challenged: /v2/ answers 401 with this challenge.
challenged() {
  local head
  head=$(curl -s -D - -o /dev/null "http://$host/v2/")
  if ! grep -qE '^HTTP/1.1 401' <<<"$head" || ! grep -qiF "www-authenticate: $1" <<<"$head"; then
    echo "expected the challenge $1, got $head" >&2
    return 1
  fi
}

closed() {
  challenged 'Basic realm="pierless"'
  refused push nobody closed
}

push_and_pull() {
  as docker auth login "$host" --username admin --password "$token" 2>/dev/null
  push docker one
  pull_again docker one
  [ "$(as docker ls "$host/team/app/image")" = one ]
  [ "$(as docker catalog "$host")" = team/app/image ]
  refused pull_again nobody one
}

# direct_upload sends a blob straight to S3, as described in docs/direct-uploads.md.
direct_upload() {
  local content=$work/tmp/direct digest upload
  head -c 8000000 /dev/urandom >"$content"
  digest=sha256:$(sha256sum "$content" | cut -c 1-64)
  curl -fs -u "admin:$token" "http://$host/v2/team/app/image/_pierless/uploads" -H 'Content-Type: application/json' \
    -d "{\"digest\": \"$digest\", \"size\": 8000000}" >"$work/offer.json"
  upload=$(python3 - "$work/offer.json" "$content" <<'PUT'
import json, sys, urllib.request
upload = json.load(open(sys.argv[1]))
request = urllib.request.Request(upload["put"]["url"], open(sys.argv[2], "rb").read(), upload["put"]["headers"], method="PUT")
urllib.request.urlopen(request)
print(upload["id"])
PUT
)
  [ "$(curl -s -o /dev/null -w '%{http_code}' -X PUT "http://$host/v2/team/app/image/_pierless/uploads/$upload")" = 201 ]
  curl -fsL -u "admin:$token" "http://$host/v2/team/app/image/blobs/$digest" | cmp - "$content"
}

# status prints the status of a request to the access function.
status() { curl -s -o /dev/null -w '%{http_code}' "$@"; }

# scoped_token makes a token for team/**, with which one can push there and change no rules, and revokes it.
scoped_token() {
  local secret at=http://$host/v2/_pierless
  secret=$(curl -fs -u "admin:$token" "$at/access/tokens" \
    -d '{"name": "ci", "grants": [{"repositories": ["team/**"], "actions": ["pull", "push"]}], "life": "1h"}' |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')
  as ci auth login "$host" --username ci --password "$secret" 2>/dev/null
  push ci scoped
  [ "$(status -u "ci:$secret" -X POST "http://$host/v2/other/blobs/uploads/")" = 404 ]
  [ "$(status -u "ci:$secret" "$at/access/rules")" = 403 ]
  [ "$(status "$at/login" -d '{"sts": "https://sts.amazonaws.com/"}')" = 403 ] # no rule
  [ "$(status -u "admin:$token" -X DELETE "$at/access/tokens?name=ci")" = 200 ]
  as docker delete "$host/team/app/image:scoped"
}

# physical prints the physical ID of a resource.
physical() {
  "$sam" list resources --config-file "$PWD/samconfig.toml" --template-file "$work/build/template.yaml" --stack-name "$stack" --output json |
    python3 -c 'import json, sys; print(*[r["PhysicalResourceId"] for r in json.load(sys.stdin) if r["LogicalResourceId"] == sys.argv[1]])' "$1"
}

# sweeps invokes the function of the schedule, which must report that it is complete.
sweeps() {
  local function answer
  function=$(physical SweepFunction)
  answer=$(curl -s "$cloud/2015-03-31/functions/$function/invocations" -d '{}')
  if ! grep -qE '"complete": ?true' <<<"$answer"; then
    echo "$function answers: $answer" >&2
    return 1
  fi
}

# update allows anonymous pulls, in place: earlier pushes are still there, and pushes
# with the password work.
update() {
  deploy AnonymousPull=true
  [ "$(output BucketName) $(output TableName)" = "$bucket $table" ]
  challenged "Bearer realm=\"http://$host/v2/_pierless/token\",service=\"$host\""
  pull_again nobody one
  refused push nobody open
  push docker two
  pull_again nobody two
  update_with_skopeo
}

# update_with_skopeo: skopeo chooses its authentication scheme at /v2/, as docker does and crane does not.
update_with_skopeo() {
  local ref=docker://$host/team/app/image:three
  if ! command -v skopeo >/dev/null; then
    echo "skopeo is not installed: not tried" >&2
    return
  fi
  refused as_skopeo nobody --dest-tls-verify=false "oci:$work/pulled-docker-one" "$ref"
  as_skopeo docker --dest-tls-verify=false "oci:$work/pulled-docker-one" "$ref"
  as_skopeo nobody --src-tls-verify=false "$ref" "oci:$work/pulled-nobody-three:three"
}

# as_skopeo runs skopeo copy with the credentials in one of the two directories.
as_skopeo() {
  local who=$1
  shift
  [ -f "$work/$who/config.json" ] || echo '{}' >"$work/$who/config.json"
  REGISTRY_AUTH_FILE=$work/$who/config.json skopeo --insecure-policy copy --quiet "$@"
}

delete() {
  "$sam" delete --config-file "$PWD/samconfig.toml" --stack-name "$stack" --no-prompts >"$work/delete.log" 2>&1 || { cat "$work/delete.log" >&2; return 1; }
  if "$sam" list stack-outputs --stack-name "$stack" --output json >"$work/gone.log" 2>&1; then
    echo "the stack is still there" >&2
    return 1
  fi
}

# kept serves the images from bucket and table alone, after the API is gone.
kept() {
  [ "$(curl -s -o /dev/null -w '%{http_code}' "http://$host/v2/")" = 404 ] || { echo "the API still answers" >&2; return 1; }
  go build -o .cache/bin/pierless ./cmd/pierless
  PIERLESS_BUCKET=$bucket PIERLESS_TABLE=$table .cache/bin/pierless serve --listen "127.0.0.1:$((port + 2))" >"$work/serve.log" 2>&1 &
  local pid=$!
  wait_for "http://127.0.0.1:$((port + 2))/v2/" "$pid" "$work/serve.log"
  as nobody validate --remote "127.0.0.1:$((port + 2))/team/app/image:one"
  kill "$pid"
}

step "prerequisites and ports" prepare
step "install sam, MiniStack, crane" install
step "start MiniStack" start_cloud
step "sam build" build
step "sam deploy" first_deploy
step "closed without the token" closed
step "push and pull" push_and_pull
step "direct upload" direct_upload
step "token for some repositories" scoped_token
step "sweep" sweeps
step "update: AnonymousPull=true" update
step "sam delete" delete
step "bucket and table are kept" kept
