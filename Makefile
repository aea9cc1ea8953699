# Two commands are enough for a stranger: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: setup demo run test lint format bench torture-firestore torture-kill torture-send torture-regions torture-moves fault-table quiet-years lease-faults lock clean help
.DEFAULT_GOAL := help

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

$(VENV)/.run: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or later is needed: install it, or say PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: 3.11 or later is needed (PYTHON=/path/to/python3)" >&2; exit 1; }
	@echo "setup: making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	@echo "setup: installing what runs (locked, hashes checked) ..."
	@$(PIP) install -qq --require-hashes -r requirements.lock
	@echo "setup: installing tandem and wa-emulator into $(BIN) ..."
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	@echo "setup: installing what tests and lints (locked, hashes checked) ..."
	@$(PIP) install -qq --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.run ## make .venv, in which tandem and wa-emulator are commands

demo: $(VENV)/.run ## three accounts kept online through faults, against the emulator on this machine
	@$(BIN)/tandem demo --accounts 3 --rate 20 --duration 60 --chaos

run: $(VENV)/.run ## the daemon against the real WhatsApp: scan the QR on http://127.0.0.1:5002/
	@$(BIN)/tandem run

lint: $(VENV)/.dev ## ruff, mypy strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## put the code into its one format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Groups of tests that run beside one another, since those with real processes mostly wait; what is timed comes when the quick
# tests, which want a core, are through. `rest` is what no group names.
faults := tests/unit tests/property tests/architecture tests/simulation tests/integration/faults \
          tests/integration/wa_emulator tests/integration/whatsapp
losses := tests/crash tests/integration/cluster
rest   := tests $(patsubst %,--ignore=%,$(faults) $(losses))
GROUPS := faults losses rest
.PHONY: $(GROUPS:%=test-%)

test: lint ## lint, then every test
	@echo "tests: $(GROUPS), beside one another; each shows what it did when it has ended"
	@$(MAKE) --no-print-directory --keep-going --output-sync=target --jobs=$(words $(GROUPS)) $(GROUPS:%=test-%)

$(GROUPS:%=test-%): test-%: $(VENV)/.dev
	@$(BIN)/pytest $($*)

bench: $(VENV)/.dev ## ratios, measured side by side in one run
	@$(BIN)/pytest tests/bench -m bench -s

fault-table: $(VENV)/.dev ## write the table of faults in ARCHITECTURE.md, from the policy
	@PYTHONPATH=tests $(BIN)/python -m support.fault_document

KILLS ?= 500
torture-firestore: $(VENV)/.dev ## the daemon killed KILLS times over a bad network to Firestore
	@TORTURE_KILLS=$(KILLS) $(BIN)/pytest -s tests/crash/torture/test_torture_firestore.py

torture-kill: $(VENV)/.dev ## daemon and all hosts killed in the same instant, KILLS times: what that loses
	@TORTURE_KILLS=$(KILLS) $(BIN)/pytest -s tests/crash/torture/test_torture_kill.py

torture-send: $(VENV)/.dev ## 1,000 messages at 50 a second over 5 accounts while slots are killed: lost, doubled, late
	@BURST_MESSAGES=1000 $(BIN)/pytest -s tests/crash/outbox/test_outbox_burst.py

torture-regions: $(VENV)/.dev ## two regions, KILLS times one of them killed whole: missing, doubled
	@TORTURE_KILLS=$(KILLS) $(BIN)/pytest -s tests/crash/torture/test_torture_regions.py

MOVES ?= 100
RATE ?= 20
torture-moves: $(VENV)/.dev ## accounts moved MOVES times between regions under RATE sends a second: lost, doubled, late
	@TORTURE_MOVES=$(MOVES) TORTURE_RATE=$(RATE) $(BIN)/pytest -s tests/crash/torture/test_torture_moves.py

YEARS ?= 100
quiet-years: $(VENV)/.dev ## YEARS quiet account-years: proactive reconnects and failovers for nothing
	@PYTHONPATH=tests $(BIN)/python -m simulation.quiet_years --years $(YEARS)

SEEDS ?= 10000
lease-faults: $(VENV)/.dev ## SEEDS storms over three instances on the virtual clock: do two ever run one account?
	@PYTHONPATH=tests $(BIN)/python -m simulation.lease_faults --seeds $(SEEDS)

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --group build pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## remove what was made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
