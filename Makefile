# For contributors; see CONTRIBUTING.md. Each target works in the virtual environment that is active.

# The tests that are fast and need no server: what most changes break first.
QUICK = tests/conformance tests/engine tests/tasks tests/display tests/maintenance tests/app/test_app.py \
	tests/cli/test_commands.py tests/scheduling/test_misfire.py tests/storage/test_state_machine.py \
	tests/storage/test_group_commit.py tests/worker/test_parked_jobs.py tests/worker/test_resolving.py \
	tests/worker/test_unreadable_jobs.py tests/test_architecture.py

.PHONY: check lint quick gate layers

check: lint quick  ## lint, format, types, layers, and the quick tests on SQLite

lint:
	ruff check .
	ruff format --check embedq tests examples benchmarks
	mypy

quick:
	EMBEDQ_TEST_DATABASES=sqlite python -m pytest $(QUICK)

gate:  ## what CI runs
	.ci/run

layers:  ## write the diagram of the layers into docs/architecture.md
	python -m tests.layers
