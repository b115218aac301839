SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# The package pattern "work" is every package of every module in go.work.
# Tools are pinned in scripts/go.mod, a module of its own outside go.work, so
# that their dependencies reach nobody. "go tool -n" builds one and prints
# where it is.
tool = $$(GOWORK=off go -C scripts tool -n $(1))

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: ## run the gateway; without arguments it is the demo
	go run ./server/freshet

.PHONY: test
test: ## run the tests of all modules, with what they need
	@scripts/test.sh

# The release in go.mod is the oldest that is supported, this the newest; the
# two are what the Go project supports. The module proxy serves it.
newest = go1.27.4

.PHONY: test-newest
test-newest: ## run go vet and the tests on the newest release of Go
	GOTOOLCHAIN=$(newest) go vet work
	@GOTOOLCHAIN=$(newest) scripts/test.sh

.PHONY: check
check: lint arrows circles tidy-check cross vulncheck fuzz score test ## everything CI checks

.PHONY: fmt
fmt: ## format the code
	gofmt -w .

.PHONY: lint
lint: ## check formatting, go vet, staticcheck
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not formatted, run make fmt:"; echo "$$files"; exit 1; fi
	go vet work
	@staticcheck=$(call tool,staticcheck); echo staticcheck work; $$staticcheck work
	@cd scripts; export GOWORK=off; go vet work; $$(go tool -n staticcheck) work

.PHONY: fuzz
fuzz: ## run each fuzz target for a few seconds (FUZZTIME=30s for longer)
	@scripts/fuzz.sh

.PHONY: soak
soak: ## test random histories of both caches, until one fails or SOAK=1h each is over
	FRESHET_SOAK=$${SOAK:-1h} go test -race -v -timeout 0 -run '^TestModel' ./middleware
	FRESHET_SOAK=$${SOAK:-1h} go test -race -v -timeout 0 -run '^Test(Linearizable|Fleet)' ./cachefetch

.PHONY: bench
bench: ## run the benchmarks, and measure the budgets of docs/measurements.md
	go test -run '^$$' -bench . -benchmem ./benchmarks/...
	go run ./benchmarks/ratios
	go run ./benchmarks/budgets
	benchmarks/gateway.sh

.PHONY: scenario
scenario: ## measure each lever under load, for 12 minutes, and write benchmarks/results
	scripts/need.sh hey
	go run ./benchmarks/scenario -out benchmarks/results

.PHONY: tidy
tidy: ## tidy the module files
	scripts/tidy.sh

.PHONY: tidy-check
tidy-check: ## check that the module files are tidy
	scripts/tidy.sh -check
	go mod verify

.PHONY: vulncheck
vulncheck: ## look for known vulnerabilities, where the database can be reached
	@scripts/vulncheck.sh

.PHONY: arrows
arrows: ## check who may import whom
	@arrows=$(call tool,arrows); echo arrows; $$arrows

.PHONY: circles
circles: ## check that the files of the caches do not all use each other, and their size
	@circles=$(call tool,circles); echo circles; $$circles ./middleware/... ./cachefetch/... ./internal/level2

.PHONY: cross
cross: ## build and vet for 386 and arm64, and run the tests on 386
	GOARCH=arm64 CGO_ENABLED=0 go vet work
	GOARCH=arm64 CGO_ENABLED=0 go build work
	GOARCH=386 CGO_ENABLED=0 go vet work
	GOARCH=386 CGO_ENABLED=0 go build work
ifeq ($(shell go env GOHOSTARCH),amd64)
	@echo GOARCH=386 go test work
	@GOARCH=386 CGO_ENABLED=0 go test -timeout 10m -json work | $(call tool,testsum)
else
	@echo "cross: NOT RUN, the tests on 386, which need an amd64 machine"; [ "$${CI:-}" != true ]
endif

.PHONY: score
score: ## check that the caches still pass what they passed of the public suite for HTTP caches
	@scripts/conformance.sh

.PHONY: conformance
conformance: ## the same beside nginx and Varnish, and write docs/conformance.md and the baseline
	@scripts/conformance.sh -all

.PHONY: real
real: ## run the gateway in front of a real nginx, under load
	scripts/real-nginx.sh
