# An index: what takes more than a line is a script in scripts/.
.DEFAULT_GOAL := help
.PHONY: help build run test check up down e2e bench fuzz generate verify conformance clean

help: ## print this list
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

run: build ## build and start a registry on this machine's disk
	./bin/pierless serve

build: ## build bin/pierless
	scripts/build.sh

test: ## everything but e2e: check, tests, tests on LocalStack
	scripts/test.sh

check: ## formatting, linters, vulnerabilities, generated docs
	scripts/check.sh

up: build ## start LocalStack (S3, DynamoDB) and create bucket and table
	localstack/up.sh

down: ## stop LocalStack
	localstack/down.sh

e2e: build ## docker, podman, skopeo, crane, regctl, oras against both stores
	scripts/e2e.sh

bench: ## benchmarks
	go test -run '^$$' -bench . -benchmem ./...

fuzz: ## fuzz the request parser for a short time
	scripts/fuzz.sh

generate: ## rewrite generated files
	go generate ./...

verify: build ## what a registry does wrong: make verify URL=http://127.0.0.1:5000
	./bin/pierless verify $(if $(URL),"$(URL)",http://127.0.0.1:5000)

conformance: build ## run a conformance suite you have: make conformance SUITE=path
	scripts/conformance.sh "$(SUITE)"

clean: ## remove what was built and fetched
	rm -rf bin .cache
