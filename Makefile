# Every target sets up what it needs in .venv. `make demo` and `make up` are where to begin.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
WORKERS ?= 4

# Sizes of the slow proofs: which seeds `make simulate` lives through, how many jobs `make chaos` submits, how many
# requests `make contract` makes, how often `make bench` measures each figure.
SEEDS ?= 1..20000
JOBS ?= 200
REQUESTS ?= 20000
RUNS ?= 5

# It has an environment of its own, since it brings another `hcl2` than the tests'. `make lint CHECKOV=` goes without.
CHECKOV ?= 3.3.30
CHECKOV_READY := $(if $(CHECKOV),$(VENV)/checkov/.ready-$(CHECKOV))

.PHONY: demo up test verify simulate exhaustive mutants chaos contract bench bench-compare bench-tenants lint format clean

# The recipes of demo and up are single plain commands: make runs them without a shell between, so that a SIGTERM to
# make alone reaches them.
demo: $(READY)
	@$(VENV)/bin/jennah demo

up: $(READY)
	@$(VENV)/bin/jennah up

test: $(READY)
	$(VENV)/bin/pytest -n $(WORKERS) --dist worksteal

# Plans of Terraform need nothing else, and come side by side.
PLANS := tests/verify/test_planted_plans.py tests/verify/test_wrong_variables.py

# The slow proofs, bounded: on seeds that were never lived through before, and on real processes.
verify: $(READY)
	$(VENV)/bin/python -m tests.simulation --fresh 20000
	$(VENV)/bin/python -m tests.simulation.exhaustive
	$(VENV)/bin/pytest tests/verify $(PLANS:%=--ignore=%)
	$(VENV)/bin/pytest -n $(WORKERS) --dist worksteal $(PLANS)
	$(VENV)/bin/python -m tests.contract --requests 1000
	SPECIFICATIONS=10000 SPECIFICATIONS_RECEIVED=200 $(VENV)/bin/pytest --timeout 1800 \
	    tests/unit/test_batch_spec.py tests/integration/test_specifications.py

simulate: $(READY)
	@$(VENV)/bin/python -m tests.simulation $(SEEDS)

exhaustive: $(READY)
	@$(VENV)/bin/python -m tests.simulation.exhaustive --pairs

mutants: $(READY)
	@$(VENV)/bin/python -m tests.mutants

chaos: $(READY)
	@$(VENV)/bin/python -m tests.chaos --jobs $(JOBS)

contract: $(READY)
	@$(VENV)/bin/python -m tests.contract --requests $(REQUESTS)

# What a tenant notices of another's flood, and submissions of open streams: about 8 minutes on a machine that does nothing else.
bench-tenants: $(READY)
	@$(VENV)/bin/python -m tests.benchmarks.noisy_neighbour
	@$(VENV)/bin/python -m tests.benchmarks.streams

# Every figure beside its floor, or ONLY=lifecycles; FULL=1 is the large size. docs/benchmarks.md says what they are.
bench: $(VENV)/.bench
	@$(VENV)/bin/python -m tests.benchmarks $(ONLY) --runs $(RUNS) $(if $(filter-out 0 no false,$(FULL)),--full) \
	    --json .local/bench.json --plot .local/bench.svg

# The same figures (or ONLY=cold-start) here and in an earlier commit, in turns: BASE=HEAD~10.
bench-compare: $(READY)
	@$(VENV)/bin/python -m tests.benchmarks.compare "$(BASE)" $(ONLY) --runs $(RUNS)

lint: $(READY) $(CHECKOV_READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	@if command -v terraform >/dev/null; then terraform -chdir=terraform fmt -check -recursive; \
	else echo "terraform is not installed: the format of terraform/ is not checked"; fi
	$(if $(CHECKOV),$(VENV)/checkov/bin/checkov -d terraform --framework terraform --compact --quiet --skip-download)

format: $(READY)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	@if command -v terraform >/dev/null; then terraform -chdir=terraform fmt -recursive; fi

.PHONY: package deploy

# The source archive of the functions; UNCOMMITTED=1 takes what differs from the commit, too.
package: $(READY)
	@$(VENV)/bin/python -I jennah/operations/package.py $(if $(UNCOMMITTED),--uncommitted)

# Shows what would change in PROJECT; APPLY=1 changes it. MIGRATE=no leaves the schema, for an older release.
deploy: $(READY)
	@$(VENV)/bin/python -m jennah.operations.deploy --project "$(PROJECT)" $(if $(filter-out 0 no false,$(APPLY)),--apply) \
	    $(if $(filter no,$(MIGRATE)),--no-migration) $(if $(UNCOMMITTED),--uncommitted)

clean:
	rm -rf $(VENV) .local build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# One make at a time: the shell of the last command holds the lock by its descriptor 9, however it ends.
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo >&2 \
	    "There is no $(PYTHON): install Python 3.11 to 3.13, or name yours: make PYTHON=/path/to/python3."; exit 1; }
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit( \
	    "Jennah needs Python 3.11 to 3.13 and $(PYTHON) is %d.%d: run make PYTHON=python3.11, for example." % sys.version_info[:2])'
	@mkdir -p $(VENV)
	@set -e; exec 9>$(VENV)/.lock; $(PYTHON) -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'; \
	if [ $@ -nt pyproject.toml ] && [ $@ -nt constraints.txt ]; then exit; fi; \
	echo "Setting up $(VENV) (about half a minute, once) ..."; \
	$(PYTHON) -m venv $(VENV); \
	$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	touch $@

$(VENV)/.bench: $(READY)
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

$(VENV)/checkov/.ready-%: $(READY)
	@echo "Setting up checkov $* (about a minute, once) ..."
	@$(PYTHON) -m venv --clear $(VENV)/checkov
	@$(VENV)/checkov/bin/python -m pip install -qq --disable-pip-version-check checkov==$* || { echo >&2 \
	    "checkov can't be installed: is there a network? make lint CHECKOV= goes without it."; exit 1; }
	@touch $@
