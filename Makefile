# The tasks of a developer; .ci/run is made of the same ones.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build windows demo test test-race-graph test-readers lint bench microbench fuzz fuzz-mail simulate simulate-graph test-crash tools peers clean

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOBUILD  := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
FUZZTIME ?= 1m
KILLS    ?= 200
START    ?= $(shell echo $$RANDOM$$RANDOM)
ARGS     ?=

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0

# Packages whose tests link the Graph SDK. It is too large to be built once more
# with the race detector, so they are tested without it.
GRAPH_TESTS = $(shell go list -test -f '{{.ImportPath}} {{join .Deps " "}}' ./... \
	| awk '$$1 ~ /\.test$$/ && / github\.com\/microsoftgraph\// { sub(/\.test$$/, "", $$1); print $$1 }')
RACE_TESTS  = $(filter-out $(GRAPH_TESTS),$(shell go list ./...))

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## builds bin/postroom
	$(GOBUILD) -o bin/ ./cmd/postroom

windows: ## builds bin/postroom.exe
	GOOS=windows GOARCH=amd64 $(GOBUILD) -o bin/ ./cmd/postroom

demo: build ## files generated mail from stand-in servers until Ctrl-C (ARGS='--dir DIR --once')
	bin/postroom demo $(ARGS)

test: tools ## runs all tests, with the race detector where it is affordable
	@race='$(RACE_TESTS)' graph='$(GRAPH_TESTS)'; \
	if [[ -z $$race ]]; then echo 'error: go list found no packages' >&2; exit 1; fi; \
	(set -x; go test -race -timeout 30m $$race); \
	if [[ -n $$graph ]]; then (set -x; go test -timeout 30m $$graph); fi

test-race-graph: tools ## runs the tests that link the Graph SDK with the race detector (builds the SDK once more)
	go test -race -timeout 30m $(GRAPH_TESTS)

test-readers: ## has .msg files read by four other programs, which must find in them what was put in
	@.ci/need perl=perl /usr/share/perl5/Email/Outlook/Message.pm=libemail-outlook-message-perl \
		/usr/share/perl5/Email/Address.pm=libemail-address-perl /usr/share/java/poi-scratchpad.jar=libapache-poi-java \
		javac=default-jdk-headless 7z=p7zip-full node=nodejs npm=npm
	@.ci/npm ingest/outlook/testdata/readers .cache/readers
	go vet -tags readers ./ingest/outlook
	go test -tags readers ./ingest/outlook -count 1 -timeout 20m -run '^Test(Readers|Different)$$'

lint: ## checks format, vet, staticcheck, vulnerabilities, modules, and the same for Windows
	@unformatted=$$(gofmt -l .); \
	if [[ -n $$unformatted ]]; then printf 'not in the format of gofmt:\n%s\n' "$$unformatted" >&2; exit 1; fi
	go mod verify
	go mod tidy -diff
	go vet ./...
	GOOS=windows go build ./...
	GOOS=windows go vet ./...
	go run $(STATICCHECK) ./...
	go run -exec 'env GOOS=windows' $(STATICCHECK) ./...
	.ci/govulncheck

bench: tools peers ## measures postroom beside other programs (ARGS='-write docs/benchmarks.md' keeps the table)
	@.ci/need mbsync=isync getmail=getmail6 fetchmail=fetchmail
	go run ./internal/bench $(ARGS)

microbench: ## runs the benchmarks of the packages
	go test -run '^$$' -bench . -benchmem ./...

fuzz: ## runs every fuzz target for FUZZTIME (1m)
	@packages=$$(go list ./...); \
	for package in $$packages; do \
		tests=$$(go test -list '^Fuzz' $$package); \
		for target in $$(sed -n '/^Fuzz/p' <<<"$$tests"); do \
			(set -x; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$package); \
		done; \
	done

# Counted in inputs, as a run that ends by time fails now and then, when the end
# meets an input under way: about a minute each on two cores.
fuzz-mail: ## runs the fuzz targets that read mail, TNEF and filters for a minute each
	@while read -r package target inputs; do \
		(set -x; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime "$$inputs" -fuzzminimizetime 100x ./ingest/$$package </dev/null); \
	done <<<$$'message FuzzRead 800000x\nmessage FuzzDecode 1100000x\nmessage/tnef FuzzOpen 1800000x\ndocument FuzzMake 180000x\ndocument FuzzGlob 500000x'

simulate: SEEDS ?= 1000
simulate: ## lets the engine live through SEEDS (1000) worlds full of faults, from seed START (random) on
	go test ./ingest -count 1 -timeout 0 -run '^TestSimulation$$' -seeds $(SEEDS) -first-seed $(START)

simulate-graph: SEEDS ?= 200
simulate-graph: ## plays SEEDS (200) plans of Graph's faults to the driver, a quarter as many to the engine with it
	go test ./sources/exchange -count 1 -timeout 0 -run '^TestFaults$$' -args -seeds $(SEEDS) -first-seed $(START)
	go test ./cmd/postroom -count 1 -timeout 0 -run '^TestLivesInExchangeOnline$$' \
		-args -seeds $$(( ($(SEEDS) + 3) / 4 )) -first-seed $(START)

test-crash: tools ## kills the program KILLS (200) times while it files from Dovecot, and from a stand-in for Graph
	go test ./cmd/postroom -count 1 -timeout 0 -run '^TestKilledAtAnyMoment' -args -kills $(KILLS)

tools: ## installs the programs that tests run against, where they are missing (Debian)
	@.ci/need /usr/lib/dovecot/imap=dovecot-imapd /usr/lib/dovecot/pop3=dovecot-pop3d python3=python3
	@.ci/deb .cache/courier courier-imap courier-pop courier-base courier-authlib

peers:
	@.ci/need node=nodejs npm=npm strace=strace
	@.ci/npm internal/bench/testdata/peers .cache/peers

clean: ## removes what was built
	rm -rf bin dist
