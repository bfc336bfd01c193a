# An index: targets of more than a line are scripts in scripts/.
.DEFAULT_GOAL := help
.PHONY: help build run test check format up down e2e race mutants soak bench functions bench-cold bench-push fuzz generate verify conformance deploy-test clean

help: ## print this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

run: build ## build and start a registry on this machine's disk
	./bin/pierless serve

build: ## build bin/pierless
	scripts/build.sh

test: ## everything but e2e and race: check, tests, tests on LocalStack; FLAGS=-count=1 repeats what passed
	scripts/test.sh $(FLAGS)

check: ## formatting, linters, vulnerabilities, generated docs
	scripts/check.sh

format: ## format every Go file with gofumpt
	"$$(scripts/gobin.sh lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint)" fmt

up: build ## start the whole cloud on this machine: LocalStack, the functions, their API
	localstack/up.sh >/dev/null
	localstack/cloud.sh up $(CLOUD)

down: ## stop it
	localstack/cloud.sh down
	localstack/down.sh

e2e: ## docker, podman, skopeo, crane, regctl, oras, containerd on both stores and the functions; deploy-test
	scripts/e2e.sh

race: ## the tests again, with the race detector
	scripts/race.sh $(FLAGS)

mutants: ## remove the conditions of the rules one by one: a test must fail each time (15 minutes)
	go test -tags mutants -run TestMutants -timeout 3h ./pkg/registry

soak: ## clients, sweeps and killed processes for PIERLESS_SOAK (10m) on both stores: nothing is lost, all is freed
	scripts/soak.sh

bench: ## benchmarks
	go test -run '^$$' -bench . -benchmem ./...

functions: ## build the Lambda functions for this machine
	scripts/functions.sh

bench-cold: ## how long the functions take to start
	scripts/bench-cold.sh

bench-push: ## how fast pierless push is beside the transfer manager of the AWS SDK
	scripts/bench-push.sh -check

fuzz: ## fuzz the parsers of paths and events for a short time
	scripts/fuzz.sh

generate: ## rewrite generated files
	go generate ./...

verify: build ## what a registry does wrong: make verify URL=http://127.0.0.1:5000
	scripts/verify.sh "$(URL)" $(FLAGS)

conformance: build ## run a conformance suite you have: make conformance SUITE=path
	scripts/conformance.sh "$(SUITE)"

deploy-test: ## sam deploy to an emulator, push, pull, update, delete
	scripts/deploy-test.sh

clean: ## remove what was built and fetched
	rm -rf bin .cache .aws-sam

# SAM calls these with ARTIFACTS_DIR, one for each function, for what template.yaml
# deploys: arm64, unless FUNCTION_GOARCH says otherwise (not GOARCH, which may stand in
# an environment).
FUNCTION_GOARCH ?= arm64
build-%Function:
	GOOS=linux GOARCH=$(FUNCTION_GOARCH) CGO_ENABLED=0 go build -tags lambda.norpc -trimpath -buildvcs=false -ldflags '-s -w' -o '$(ARTIFACTS_DIR)/bootstrap' ./functions/$(shell echo '$*' | tr A-Z a-z)
