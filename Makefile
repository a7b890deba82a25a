# The front door. Every target does what it needs first: the Python environment from uv.lock, the
# supervisor's build, a Docker engine that answers, images. `make help` is the place to start.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Targets share the environment and the engine; each tool uses all processors itself.
.NOTPARALLEL:

PYTHON := .venv/bin/python
PYTEST := .venv/bin/pytest
FUZZ_SECONDS ?= 60
# For pytest: make test ARGS="-k truncated -x", make test ARGS=tests/contract/test_kill.py
ARGS ?=

.PHONY: help
help:
	@echo "fumehood: sandbox sessions on your Docker engine"
	@echo
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Start with 'make demo', then 'make test'. Nothing has to be installed first: on Debian"
	@echo "and Ubuntu, as root, even the engine is. Everything stays in .venv, .uv, .build and the"
	@echo "engine. More pytest options: make test ARGS='-k truncated -x'"

##@ See it

.PHONY: demo
demo: venv supervisor engine ## run real sandbox sessions and say what happens (the first time: minutes)
	@image=$$(scripts/images.sh demo); \
	    echo "  sessions run in $$image"; \
	    FUMEHOOD_IMAGE=$$image $(PYTHON) examples/quickstart.py

.PHONY: bench
bench: venv supervisor engine images ## measure against the engine's own API; prints one table
	@$(PYTHON) -m benchmarks $(ARGS)

.PHONY: bench-many
bench-many: venv supervisor engine images ## what many sessions cost that are alive at once (as root; ARGS="--sessions=500")
	@$(PYTHON) -m benchmarks.many $(ARGS)

.PHONY: bench-peers
bench-peers: venv supervisor engine images ## measure the other sandboxes by turns and write docs/benchmarks.md (ARGS=--quick)
	@PYTHONPATH=scripts $(PYTHON) -m benchmarks.peers $(ARGS)

##@ Check it

.PHONY: test
test: tools-test venv supervisor engine images ## all Python tests, on the real engine, in processes side by side
	@$(PYTHON) scripts/run_tests.py $(ARGS)

.PHONY: test-unit
test-unit: tools-test venv supervisor ## the tests that need no engine
	@$(PYTHON) scripts/run_tests.py --no-engine $(ARGS)

.PHONY: test-hostile
test-hostile: tools-test venv supervisor engine images ## all attacks from inside a session (the report: .build/reports)
	@$(PYTHON) scripts/run_tests.py --whole=hostile --reports=.build/reports $(ARGS)

.PHONY: test-second-engine
test-second-engine: tools-test venv supervisor engine images ## contract, hostile and fault suites on Docker 26.1 (Debian, as root; nothing is installed)
	@scripts/second_engine.sh $(PYTHON) scripts/run_tests.py --whole=contract,hostile,faults $(ARGS)

.PHONY: test-second-runtime
test-second-runtime: tools-test venv supervisor engine images ## the hostile suite's quick part in sessions of crun
	@FUMEHOOD_RUNTIME=crun FUMEHOOD_ENGINE_RELEASE=installed scripts/second_engine.sh $(PYTHON) scripts/run_tests.py --whole=hostile -m "not slow" $(ARGS)

.PHONY: test-faults
test-faults: tools-test venv supervisor engine images ## all faults of clients, engines and disks, on an engine of their own (as root)
	@$(PYTHON) scripts/run_tests.py --whole=faults --reports=.build/reports $(ARGS)

.PHONY: conformance
conformance: venv supervisor engine images ## the suites of agent frameworks, each in its own environment (ARGS="--quick", ARGS=inspect_ai)
	@PYTHONPATH=. $(PYTHON) scripts/conformance.py $(ARGS)

.PHONY: soak
soak: tools-test venv supervisor engine images ## 2,000 sessions, 200 alive at once, clients killed at random (as root; ARGS="--sessions=200 --seed=7")
	@PYTHONPATH=tests $(PYTHON) -m soak $(ARGS)

.PHONY: promises
promises: tools-test venv supervisor engine images ## run both suites and put what held into SECURITY.md (a quarter of an hour; as root)
	@# What does not hold is listed there: it must not keep the list from being written.
	-@$(PYTHON) scripts/run_tests.py --whole=hostile,faults --reports=.build/reports
	@$(PYTHON) scripts/promises.py --write

.PHONY: test-supervisor
test-supervisor: tools-supervisor venv ## the C tests, with sanitizers, static analysis and a fuzzer (FUZZ_SECONDS=60)
	@# Side by side; the sources' analysis fills the time in which a fuzzer would keep one core only.
	$(MAKE) -C supervisor -j$$(nproc) --output-sync=target test test-sanitize analyze fuzz FUZZ_SECONDS=$(FUZZ_SECONDS)
	@# A copy where the tests' other users can reach it, wherever this checkout is.
	place=$$(mktemp -d) && chmod 755 "$$place" && trap 'rm -rf "$$place"' EXIT && \
		cp supervisor/build/sanitized/supervisor "$$place" && \
		FUMEHOOD_SUPERVISOR="$$place/supervisor" $(PYTEST) tests/supervisor

.PHONY: fuzz-client
fuzz-client: venv ## fuzz the client's reader, guided by coverage (Linux on x86_64; FUZZ_SECONDS=60)
	@mkdir -p .build/fuzz-client
	$(PYTHON) tests/fuzz/fuzz_client.py -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 \
		-print_final_stats=1 -artifact_prefix=.build/fuzz-client- .build/fuzz-client

.PHONY: coverage-supervisor
coverage-supervisor: tools-supervisor venv ## which lines of the supervisor the C tests and tests/supervisor run (as root)
	rm -rf supervisor/build/covered
	$(MAKE) -C supervisor build/covered/supervisor build/covered/unit
	@# Counted are those that begin as another user too: the first run makes the counters' file.
	(umask 0; supervisor/build/covered/supervisor no-such-way 2>/dev/null || true)
	supervisor/build/covered/unit
	place=$$(mktemp -d) && chmod 755 "$$place" && trap 'rm -rf "$$place"' EXIT && \
		cp supervisor/build/covered/supervisor "$$place" && \
		FUMEHOOD_SUPERVISOR="$$place/supervisor" $(PYTEST) tests/supervisor
	$(MAKE) -C supervisor coverage-report

.PHONY: lint
lint: venv ## ruff, mypy, pyright, import-linter, shellcheck, generated files
	@scripts/lint.sh

.PHONY: format
format: venv ## let ruff format the Python and fix what it can
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

##@ Make its parts

.PHONY: venv
venv: ## .venv from uv.lock (installs uv when it is missing)
	@scripts/venv.sh

.PHONY: supervisor
supervisor: venv ## the static binaries that run in sessions, for linux/amd64 and linux/arm64
	@$(PYTHON) hatch_build.py

.PHONY: engine
engine: ## a Docker engine that answers
	@scripts/engine.sh

.PHONY: engine-stop
engine-stop: ## end the engine that 'make engine' started
	@scripts/engine.sh --stop

.PHONY: tools-test tools-supervisor
tools-test tools-supervisor: tools-%:
	@scripts/tools.sh $*

.PHONY: images
images: venv engine ## the images of the tests, from Debian packages
	@scripts/images.sh

.PHONY: dist
dist: venv ## the wheel and the sdist, in dist/
	@PATH="$$PATH:.uv/bin" uv build --out-dir dist --clear

.PHONY: changelog
changelog: venv ## what the next release's changelog would say
	@.venv/bin/towncrier build --draft --version $$($(PYTHON) -c 'import fumehood._version as v; print(v.__version__)')

##@ Tidy up

.PHONY: clean
clean: ## remove what was built; .venv, images and the engine stay
	rm -rf dist .build/images src/fumehood/_supervisor/bin src/fumehood/cli/bin .mypy_cache .ruff_cache .pytest_cache \
	    .hypothesis .import_linter_cache
	if [[ -f supervisor/Makefile ]]; then $(MAKE) -C supervisor clean; fi
	find src tests scripts benchmarks examples protocol -name __pycache__ -prune -exec rm -rf {} +

.PHONY: clean-all
clean-all: clean ## also remove .venv, .uv and the images (not the engine)
	rm -rf .venv .uv
	docker image rm fumehood/test-python-nonroot fumehood/test-python fumehood/test-busybox \
	    fumehood/test-scratch || true
