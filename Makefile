# Seawall's tasks. `make` alone lists them; .ci/run chains those that must pass.

GO       ?= go
BIN      := $(CURDIR)/.bin
MODULE   := github.com/seawall-wal/seawall
TAGS     := invariants

# Versions of the tools. Tools are installed into .bin, which git ignores: a
# `tool` line in go.mod would put their dependencies among ours.
GOLANGCI_VERSION := 2.15.0

# What users may set on the command line.
TESTFLAGS ?=
FUZZTIME  ?= 30s
BENCH     ?= .
BENCHTIME ?= 1s
BENCH_DIR ?= $(BIN)
OUT       ?= $(BIN)/bench.json
BUDGET    ?= 10m
SEED      ?=
STATES    ?=

# The crash campaigns of `make crashtest`: a new one is a word here. The last three need root.
CAMPAIGNS ?= model kill truncate power fault fault:broken-disk

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
export PATH := $(BIN):$(PATH)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the command into .bin/seawall
	@mkdir -p $(BIN)
	$(GO) build -o $(BIN)/seawall ./cmd/seawall

.PHONY: install
install: ## install the command where `go install` puts it
	$(GO) install ./cmd/seawall

.PHONY: deps
deps: linter packages known ## install what the other targets need, in pinned versions

# The linter is taken from .bin or PATH where it is there in the right version.
# Else it is built once for this Go and kept in the user's cache, for all clones.
LINTER_CACHE = $${XDG_CACHE_HOME:-$$HOME/.cache}/seawall/golangci-lint-$(GOLANGCI_VERSION)-$$($(GO) env GOVERSION)

.PHONY: linter
linter:
	@[ "$$(golangci-lint version --short 2>/dev/null)" != "$(GOLANGCI_VERSION)" ] || exit 0; \
	cache="$(LINTER_CACHE)"; mkdir -p $(BIN); \
	if [ "$$("$$cache/golangci-lint" version --short 2>/dev/null)" != "$(GOLANGCI_VERSION)" ]; then \
	    echo "building golangci-lint $(GOLANGCI_VERSION) into $$cache"; \
	    GOFLAGS= GOBIN="$$cache" $(GO) install \
	        github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(GOLANGCI_VERSION); \
	fi; \
	ln -sf "$$cache/golangci-lint" $(BIN)/golangci-lint

# The tests that need root need these packages, and those of the completion the
# shells. The race detector needs a C compiler. The last three have their power cut.
# A server is not started (RUNLEVEL) where it is installed.
.PHONY: packages
packages:
	@[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0; \
	missing=; \
	while read -r program package; do \
	    PATH=$$PATH:/usr/sbin:/sbin command -v "$$program" >/dev/null || missing+=" $$package"; \
	done <<< $$'mkfs.xfs xfsprogs\nmkfs.btrfs btrfs-progs\nmkfs.ext4 e2fsprogs\nstrace strace\nrsync rsync\ntar tar\nzsh zsh\nfish fish\ngcc gcc libc6-dev\nsqlite3 sqlite3\ngit git\nredis-server redis-server'; \
	[ -n "$$missing" ] || exit 0; \
	echo "installing$$missing"; \
	export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
	apt-get update -qq; \
	apt-get install -qq -y --no-install-recommends $$missing >/dev/null

# Programs of others whose power is cut, each a module of its own: what they require is not
# among our dependencies.
KNOWN := crashtest/powerloss/testdata

.PHONY: known
known: $(addprefix $(BIN)/known-,goleveldb-old goleveldb-new diskv)

$(BIN)/known-goleveldb-old: $(wildcard $(KNOWN)/goleveldb/*)
	@mkdir -p $(BIN)
	cd $(KNOWN)/goleveldb && GOFLAGS= $(GO) build -modfile old.mod -o $@ .

$(BIN)/known-goleveldb-new: $(wildcard $(KNOWN)/goleveldb/*)
	@mkdir -p $(BIN)
	cd $(KNOWN)/goleveldb && GOFLAGS= $(GO) build -o $@ .

$(BIN)/known-diskv: $(wildcard $(KNOWN)/diskv/*)
	@mkdir -p $(BIN)
	cd $(KNOWN)/diskv && GOFLAGS= $(GO) build -o $@ .

.PHONY: demo
demo: build ## show the main job on real text: append, kill -9, verify, dump, damage
	@sh cmd/seawall/demo.sh $(BIN)/seawall

# Packages are tested at once, each on one processor: a log that is mapped and
# unmapped all the time has the processors of its process interrupt each other.
# The time-out ends what hangs, and is no measure of speed.
.PHONY: test
test: ## run all tests, with the assertions of the tag `invariants` on
	$(GO) test -tags $(TAGS) -cpu 1 -timeout 30m $(TESTFLAGS) ./...

.PHONY: crashtest
crashtest: build ## crash the log for BUDGET or STATES, each of CAMPAIGNS, from SEED
	@.ci/crashtest $(BIN)/seawall '$(BUDGET)' '$(STATES)' '$(SEED)' $(CAMPAIGNS)

.PHONY: selftest
selftest: build ## show that the crash lab finds logs that are wrong, and only those
	@env -u TMPDIR $(BIN)/seawall crash selftest # in memory

# Left out under the race detector: what starts hundreds of processes, or judges
# thousands of states one after another. It is ten times as slow there, and has no
# two goroutines that could race. `make race RACE_SKIP=` runs everything.
RACE_SKIP ?= TestScripts TestReadmeCommands TestFewDescriptors TestPermissionsMissing \
    TestCompletionBash TestClosedPipes TestDumpEndsEarly TestExperimentDisksInterrupted TestBrokenDisks TestBrokenBelieved TestExamineFlips TestFiles TestMapped TestPOSIX TestPOSIXWeakened TestStates TestVerdict TestClosedDirectory TestOpenKeepsTheFrontItFound TestSQLite TestReplace TestWords TestKnown TestPromise TestSecondCut TestGit TestGoleveldb TestDiskv TestRedis TestPowerCuts TestSparse TestCrashPowerInterrupted TestFaultsOfDisk TestExact TestReplay TestLog TestPairedLog TestChecked TestPlanted TestPlantedDeep \
    TestExactCampaign TestTokens TestKeep TestMended TestCounter \
    TestCounterKilled TestCounterPowerCut TestMomentIsCrash TestReadDirect TestFullDisks TestTruncatedUnderLook \
    TestMachine TestCutExhaustively TestCrashThenTheSameAgain TestCutThenTheSameAgain \
    TestCrashDuringRecovery TestCrashDuringRecoveryOfACut TestFailedSyncIsNotRetriedInTheModel \
    TestCrashInTemporarySegments TestRecycledSegmentsBoundTheDirectory TestEveryCutPoint \
    TestEverySectorZeroed TestOpenReturnsWhatIsDurable TestTrimReturnsWhatIsDurable \
    TestCopiesOfManyMoments TestOpenBelievesTheDevice TestCrashRandom \
    TestNoNameBehindOneThatIsNotDurable TestAppendReopenRead TestCrash.*AtEveryEvent.* \
    TestCrashHoldsBackOne TestForce TestChangesDuringLooks TestLooksDuringChanges \
    TestDeathThenPowerLoss TestOlderSegmentTorn TestHeads TestEveryBitFlipped FuzzRecover TestDirectory TestFrameDamage \
    TestExactDeaths TestBusyTokens TestFoundAgain TestTruncated TestWrongLogs TestSameLives TestAccepting TestSameOnAnyCores TestOldFaults TestPlantedDeath TestCompletionInShells TestNamesThatComeLate \
    TestCrashWhileASegmentIsUsedAgain TestReopenedLogKeepsLittle TestManySegmentsOpen \
    TestAppendedSegmentsKeepLittle TestInspectExtendedFile TestMemoryPeak TestWindow TestWindowOfASearch \
    TestWindowOfOneWord TestWindowOfFewFrames TestWindowWithoutHead TestSearchFindsTheFirst
empty :=
RACE_SKIP_RE = $(subst $(empty) $(empty),|,$(strip $(RACE_SKIP)))

# The race detector lets every process sleep for a second before it ends.
.PHONY: race
race: ## run the tests of what runs at once under the race detector
	GORACE=atexit_sleep_ms=0 CGO_ENABLED=1 $(GO) test -race -tags $(TAGS) $(if $(RACE_SKIP_RE),-skip '^($(RACE_SKIP_RE))$$') -timeout 60m $(TESTFLAGS) ./...

.PHONY: nightly
nightly: ## run what chance and long budgets may find: seeds are new each time, BUDGET for each part
	@.ci/nightly '$(BUDGET)'

# Both runs vet too: files with and without the tag are seen.
.PHONY: lint
lint: linter ## lint, and show what is not formatted
	golangci-lint run --allow-parallel-runners ./...
	golangci-lint run --allow-parallel-runners --build-tags $(TAGS) ./...
	golangci-lint fmt --diff

# One JSON object a line, and the ratios on the terminal. It takes half a minute.
.PHONY: bench
bench: build ## measure the log beside raw limits in BENCH_DIR, write JSON to OUT
	@: >'$(OUT)'; while read -r mode; do \
	    $(BIN)/seawall bench '$(BENCH_DIR)' --json $$mode </dev/null | tee -a '$(OUT)' | \
	        sed -E 's/.*"summary":"([^"]*)".*/\1/'; \
	done <<< $$'--sync manual --size 100\n--sync manual --size 1KiB\n--sync each\n--sync each --writers 64'; \
	echo 'all of it: $(OUT)'

.PHONY: bench-go
bench-go: ## run the Go benchmarks that match BENCH, each for BENCHTIME
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem $(TESTFLAGS) ./...

# go test fuzzes one target at a time, and must be told which. Up to Go 1.26 it
# may fail with a bare `context deadline exceeded` when the time is over
# (golang/go#75804): that is no finding. A count, as in FUZZTIME=10000x, is safe.
.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@targets=$$($(GO) test -tags $(TAGS) -list '^Fuzz' ./... | \
	    awk '/^Fuzz/ {name[n++] = $$1} /^ok/ {for (i = 0; i < n; i++) print $$2, name[i]; n = 0}'); \
	mkdir -p $(BIN); log=$(BIN)/fuzz.log; \
	[ -n "$$targets" ] || { echo "fuzz: no fuzz target found" >&2; exit 1; }; \
	while read -r package name; do \
	    echo "fuzz: $$name in $$package for $(FUZZTIME)"; \
	    if $(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$package" \
	        </dev/null 2>&1 | tee "$$log"; then continue; fi; \
	    if grep -qE 'Failing input|panic' "$$log" || \
	        ! grep -qx ' *context deadline exceeded' "$$log"; then exit 1; fi; \
	    echo "fuzz: the time was over, nothing was found"; \
	done <<< "$$targets"

.PHONY: cover
cover: ## measure which statements the tests reach, over all packages
	@mkdir -p $(BIN)
	$(GO) test -tags $(TAGS) -timeout 10m -coverpkg ./... -coverprofile $(BIN)/cover.out $(TESTFLAGS) ./...
	$(GO) tool cover -html $(BIN)/cover.out -o $(BIN)/cover.html
	@$(GO) tool cover -func $(BIN)/cover.out | tail -n 1
	@echo "line by line: .bin/cover.html"

.PHONY: crosscheck
crosscheck: ## build and vet for arm64; check that other systems are refused in one line
	GOOS=linux GOARCH=arm64 $(GO) build ./...
	GOOS=linux GOARCH=arm64 $(GO) vet ./...
	GOOS=linux GOARCH=arm64 $(GO) vet -tags $(TAGS) ./...
	GOOS=linux GOARCH=arm64 $(GO) test -tags $(TAGS) -c -o /dev/null ./...
	@if said=$$(GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/seawall 2>&1); then \
	    echo "crosscheck: the command builds for darwin, where it cannot work" >&2; exit 1; \
	fi; \
	said=$$(grep -v '^#' <<< "$$said" || true); \
	if [ "$$(wc -l <<< "$$said")" != 1 ] || ! grep -qi linux <<< "$$said"; then \
	    printf 'crosscheck: not one line that names Linux when built for darwin:\n%s\n' "$$said" >&2; exit 1; \
	fi; \
	echo "darwin is refused: $$said"

.PHONY: clean
clean: ## remove what was built and installed into .bin
	rm -rf $(BIN)
