"""The layers of docs/architecture.md: imports point down, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "embedq"

# From the bottom up. A module may import from its own layer (in no circle) and from those below.
LAYERS: list[set[str]] = [
    {
        "arguments", "by_value", "clock", "config", "context", "cron_expression", "errors", "functions", "guard",
        "handle", "hosting", "interrupts", "job", "job_process", "liveness", "middleware", "misfire", "offload",
        "options", "readable", "redaction", "retry", "schedule", "serializers", "signing", "stored_retry", "task",
        "version", "wakeup", "wording",
    },
    {"storage"},
    {"worker", "maintenance"},
    {
        "action_runner", "actions", "app", "commit_hooks", "control", "doctor", "drafting", "engine", "enqueueing",
        "held", "monitor", "moving", "preflight",
        "recurring", "runtime", "shutdown", "transactions",
    },
    {"__init__"},
    {"dashboard", "testing"},
    {"cli", "__main__", "contrib"},
]  # fmt: skip
STRANGERS = [("worker", "maintenance"), ("maintenance", "worker")]
# The only packages the core may import besides the standard library. click and tabulate are the command line's.
CORE_PACKAGES = {"cloudpickle", "croniter", "filelock", "sqlite_utils", "tenacity"}
CLI_PACKAGES = {"click", "tabulate"}
# Web frameworks and drivers of servers, each for its own folder. Of the extras `backends` says which one is missing.
DRIVERS = {
    "contrib.django": {"asgiref", "django", "django_tasks"},
    "contrib.fastapi": {"fastapi"}, "contrib.flask": {"flask", "werkzeug"},
    "dashboard": {"django", "flask", "jinja2", "markupsafe", "starlette", "werkzeug"}, "cli.dashboard": {"uvicorn"},
    "contrib.litestar": {"litestar"}, "contrib.starlette": {"starlette"},
    "storage.postgresql": {"psycopg"}, "storage.mysql": {"pymysql"}, "storage.backends": {"psycopg", "pymysql"},
}  # fmt: skip


def module_files() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path
    return found


def imports_of(path: Path) -> Iterator[str]:
    """Every imported module, those inside functions too; not those that only the type checker sees."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            unseen.update(child for statement in node.body for child in ast.walk(statement))
    for node in ast.walk(tree):
        if node in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(files: dict[str, Path], name: str) -> set[str]:
    found = set()
    for imported in imports_of(files[name]):
        if imported == "embedq":
            continue
        if imported.startswith("embedq.") and imported.removeprefix("embedq.") in files:
            found.add(imported.removeprefix("embedq."))
    # `from embedq.storage import jobs` names the package too; it is the module that is meant.
    return {one for one in found - {name} if not any(other.startswith(f"{one}.") for other in found)}


def layer_of(name: str) -> int:
    top = name.split(".")[0]
    for level, names in enumerate(LAYERS):
        if top in names:
            return level
    raise AssertionError(f"embedq/{top} is in no layer; add it to LAYERS where it belongs, and to docs/architecture.md")


def test_imports_point_down() -> None:
    files = module_files()
    upward = [
        f"{name} imports {imported}"
        for name in files
        for imported in own_imports(files, name)
        if layer_of(imported) > layer_of(name)
    ]
    assert not upward, upward


def test_the_halves_of_the_engine_do_not_know_each_other() -> None:
    files = module_files()
    met = [
        f"{name} imports {imported}"
        for name in files
        for imported in own_imports(files, name)
        if (name.split(".")[0], imported.split(".")[0]) in STRANGERS
    ]
    assert not met, met


def test_no_import_goes_in_a_circle() -> None:
    files = module_files()
    graph = {name: own_imports(files, name) for name in files}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " imports ".join((*path[path.index(name) :], name))
        if name not in done:
            for imported in graph[name]:
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_core_stands_on_its_few_packages() -> None:
    import sys

    for name, path in module_files().items():
        allowed = CORE_PACKAGES | (CLI_PACKAGES if layer_of(name) == len(LAYERS) - 1 else set())
        for folder, drivers in DRIVERS.items():
            allowed = allowed | (drivers if name.startswith(folder) else set())
        foreign = {imported.split(".")[0] for imported in imports_of(path)} - set(sys.stdlib_module_names) - {"embedq"}
        assert foreign <= allowed, f"{name} imports {sorted(foreign - allowed)}"


def test_sql_is_named_and_every_name_is_used() -> None:
    from embedq.storage import named_sql

    source = "\n".join(path.read_text(encoding="utf-8") for path in (PACKAGE / "storage").rglob("*.py"))
    named = {folder: set(named_sql.read(PACKAGE / "storage" / folder)) for folder in ("sqlite", "postgresql", "mysql")}
    lone = {"insert_job_as", "insert_plain_as", "job_ids", "take_job_ids", "job_is_there", "tell_jobs"}
    assert named["postgresql"] == named["sqlite"] | lone
    assert named["mysql"] == named["sqlite"] | {"inserted_ids"}
    # count_<state> is composed from the state; {name} is a part of a composed query.
    unused = [
        name
        for name in named["sqlite"]
        if f'"{name}"' not in source and f"{{{name}}}" not in source and not name.startswith("count_")
    ]
    assert not unused, unused
