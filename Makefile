# Everything runs through scripts/check, so that each target says what it ran and ends in "N passed, N failed".
# With CI=true a skipped test counts as failed.

FUZZTIME ?= 10m

.PHONY: build test quick fuzz deps format vet staticcheck unit bench js e2e

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

format vet staticcheck unit bench js e2e:
	go run ./scripts/check $@

deps:
	@scripts/deps.sh
