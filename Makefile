# Everything runs through scripts/check, so that each target says what it ran and ends in "N passed, N failed".
# With CI=true a skipped test counts as failed.

FUZZTIME ?= 10m

.PHONY: build test quick fuzz deps format vet staticcheck unit bench js e2e chaos lab

build:
	CGO_ENABLED=0 go build -trimpath -o bin/hawser ./cmd/hawser

# test runs all there is, with real programs; on Debian as root it installs those that are missing.
test: deps
	go run ./scripts/check format vet staticcheck unit bench js fuzz e2e

# quick is test without the programs, the browser and the fuzzing.
quick:
	go run ./scripts/check format vet staticcheck unit

# fuzz runs every fuzz target for FUZZTIME, ten minutes unless told otherwise: make fuzz FUZZTIME=1m
fuzz:
	go run ./scripts/check -fuzztime $(FUZZTIME) fuzz

# chaos lets clients publish and follow through a bad network for a minute, while the server is killed.
chaos:
	HAWSER_CHAOS=60s go test -count=1 -v -run TestChaos ./e2e

# lab breaks the network in every way that docs/network-lab.md tells of, and writes that table anew.
lab: deps
	npm --prefix e2e ci --no-audit --no-fund
	HAWSER_LAB=$(CURDIR)/docs/network-lab.md go test -count=1 -v -parallel 3 -run TestNetworkLab ./e2e

format vet staticcheck unit bench js e2e:
	go run ./scripts/check $@

deps:
	@scripts/deps.sh
