# The commands of this project. They need Python 3.11 or newer, git and make; `make` lists them.
# ARGS goes on to the command: make run ARGS="--port 9000", make test ARGS="-k refunds".

.DEFAULT_GOAL := help
.PHONY: help run demo test prove bench check schema lock clean .venv
.SUFFIXES:
MAKEFLAGS += --no-print-directory

LOCKS := requirements.lock requirements-dev.lock
PYTHONS := python3.13 python3.12 python3.11 python3 python
PY := .venv/bin/python
COMPILE := .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z.]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

# The launcher ends the server when make is killed, even by SIGKILL.
run: .venv ## set up and start everything; Ctrl-C stops it
	@exec $(PY) -IS services/embedded/launcher.py $$PPID 15 -1 shared same . $(CURDIR)/$(PY) server.py $(ARGS)

demo: .venv ## walk through payments and a subscription, against what `make run` started
	@$(PY) manage.py demo $(ARGS)

test: .venv ## run the tests; they start all that they need
	@$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

prove: export CANCELED_GUESTS ?= 2000
prove: export TEST_SOAK ?= 100
prove: .venv ## the tests that need size, in their full size: CANCELED_GUESTS=2000, TEST_SOAK=100 games of each kind
	@$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile tests/e2e/test_canceled_activity.py \
		tests/services/test_state_machine.py tests/services/test_subscription_machine.py \
		tests/services/test_money_machine.py $(ARGS)

bench: .venv ## what a payment, a webhook and a live update cost, beside the least that they can
	@$(PY) -m benchmarks $(ARGS)

check: .venv ## style, types, layers, and whether schema.graphql is what the code says
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	! grep -nE '^ *(from|import) stripe\b' server.py manage.py settings.py
	! grep -nE '^ *(from|import) (server|manage|commands|resolvers|schema|services|models|sandbox)\b' settings.py
	$(PY) manage.py schema --check

schema: .venv ## write schema.graphql from the code
	$(PY) manage.py schema > schema.graphql.new
	mv schema.graphql.new schema.graphql

.venv: ## make the environment and nothing more; anew where a lock has changed
	@cat $(LOCKS) | cmp -s - .venv/installed.lock || $(MAKE) .venv/installed.lock

# Written last, so that a half-made environment is not taken for whole. The system's certificates are those that
# people's proxies and mirrors have; where there are none, pip brings its own.
.PHONY: .venv/installed.lock
.venv/installed.lock:
	@rm -f $@
	@if ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || ! $(PY) -m pip --version > /dev/null 2>&1; then \
		for python in $(PYTHONS); do \
			"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && break; python=; \
		done; \
		test -n "$$python" || { echo "Paydesk needs Python 3.11 or newer; none of $(PYTHONS) is." >&2; exit 1; }; \
		rm -rf .venv; \
		echo "Making .venv with $$($$python --version) ..."; \
		"$$python" -m venv .venv || { \
			rm -rf .venv; \
			echo "Python's venv module does not work; on Debian and Ubuntu, apt install python3-venv." >&2; exit 1; }; \
	fi
	@sed -n '/^uv==/,/^[^ ]/{/^uv==/p;/^  *--hash/p;}' requirements-dev.lock > .venv/uv.lock
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock
	@.venv/bin/uv pip sync -q --compile-bytecode --python $(PY) --system-certs --require-hashes $(LOCKS) \
		|| { echo "uv could not install; trying pip, which takes longer ..."; \
		$(PY) -m pip install -q --disable-pip-version-check --require-hashes $(LOCKS:%=-r %); }
	@cat $(LOCKS) > $@

lock: .venv ## pin the packages of requirements*.in anew; ARGS=--upgrade takes newer ones
	$(COMPILE) $(ARGS) -o requirements.lock requirements.in
	$(COMPILE) $(ARGS) -o requirements-dev.lock requirements-dev.in

clean: ## remove the environment and all caches; data in .data stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	find . -name __pycache__ -prune -exec rm -rf {} +
