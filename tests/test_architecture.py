"""The layers (tests/layers.py): imports point down, and never in a circle."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from tests.layers import ARCHITECTURE, level_of, written

PACKAGE = Path(__file__).parent.parent / "embedq"

# Folders inside a room that do not know each other.
APART = ["storage.sqlite", "storage.postgresql", "storage.mysql"]
GROUND = {"__init__.py", "__main__.py", "clock.py", "config.py", "errors.py", "job.py", "py.typed", "version.py"}
# The only packages the core may import besides the standard library. click and tabulate are the command line's; every
# type checker brings `typing_extensions`, which nothing imports at run time.
CORE_PACKAGES = {"cloudpickle", "filelock", "sqlite_utils", "tenacity", "typing_extensions"}
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


@functools.cache
def imports_of(path: Path) -> tuple[str, ...]:
    """Every imported module, those inside functions and those for the type checker too."""
    return tuple(_imports_of(path))


def _imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(files: dict[str, Path], name: str) -> set[str]:
    imported = {one for one in imports_of(files[name]) if one.partition(".")[0] == "embedq"}
    found = {one.removeprefix("embedq.") for one in imported} & files.keys()
    # `from embedq import enqueue`: a function of the package itself. `import embedq` names it before it is there.
    if any(one.count(".") == 1 and one.removeprefix("embedq.") not in files for one in imported):
        found.add("__init__")
    # `from embedq.storage import jobs` names the package too; it is the module that is meant.
    return {one for one in found - {name} if not any(other.startswith(f"{one}.") for other in found)}


def test_imports_point_down() -> None:
    files = module_files()
    wrong = [
        f"{name} imports {imported}"
        for name in files
        for imported in own_imports(files, name)
        if name.partition(".")[0] != imported.partition(".")[0] and level_of(imported) <= level_of(name)
    ]
    assert not wrong, wrong


def test_the_databases_do_not_know_each_other() -> None:
    files = module_files()

    def database(name: str) -> str | None:
        return next((one for one in APART if f"{name}.".startswith(f"{one}.")), None)

    met = [
        f"{name} imports {imported}"
        for name in files
        for imported in own_imports(files, name)
        if None not in (database(name), database(imported)) and database(name) != database(imported)
    ]
    assert not met, met


def test_only_the_ground_stands_at_the_root() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == GROUND


def test_every_folder_states_its_purpose_its_imports_and_where_to_start() -> None:
    silent = []
    for path in sorted(PACKAGE.rglob("__init__.py")):
        # Django makes these two folders a command line's.
        if path.parent == PACKAGE or "management" in path.parts:
            continue
        told = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
        if not ("May import" in told and "Start reading" in told):
            silent.append(str(path.relative_to(PACKAGE)))
    assert not silent, silent


def test_the_page_draws_the_layers_as_they_are() -> None:
    page = ARCHITECTURE.read_text(encoding="utf-8")
    assert written(page) == page, "run: python -m tests.layers"


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
        allowed = CORE_PACKAGES | (CLI_PACKAGES if name.partition(".")[0] in ("cli", "contrib") else set())
        for folder, drivers in DRIVERS.items():
            allowed = allowed | (drivers if name.startswith(folder) else set())
        foreign = {imported.split(".")[0] for imported in imports_of(path)} - set(sys.stdlib_module_names) - {"embedq"}
        assert foreign <= allowed, f"{name} imports {sorted(foreign - allowed)}"


def test_every_log_call_goes_through_a_logger_that_never_raises() -> None:
    # Where no call is made: levels are set and handlers are added, which are the application's own matter.
    setting_up = {"observability.log", "worker.processes.child", "worker.processes.pool", "cli.worker", "cli.demo"}
    calls = {"getLogger", "debug", "info", "warning", "error", "exception", "critical", "log", "basicConfig"}
    raw = [
        f"{name}:{node.lineno} logging.{node.attr}"
        for name, path in module_files().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "logging"
        if node.attr in calls and name not in setting_up
    ]
    assert not raw, f"take the logger from embedq.observability.log: {raw}"
    assert not [name for name, path in module_files().items() if "from logging import" in path.read_text("utf-8")]


# Files of applications, which are spoken of too.
THEIRS = {"env.py", "manage.py", "settings.py", "shop.py", "urls.py"}


def test_files_that_are_spoken_of_are_there() -> None:
    """A path may be told from the package, from its own folder, or from one around that."""
    gone = []
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.sql")]):
        around = [folder for folder in path.parents if PACKAGE.parent in (folder, *folder.parents)]
        for told in re.findall(r"(?<![\w./])(?:\w+/)*\w+\.py\b", path.read_text(encoding="utf-8")):
            if told not in THEIRS and not any((folder / told).exists() for folder in around):
                gone.append(f"{path.relative_to(PACKAGE)} speaks of {told}")
    for page in sorted((PACKAGE.parent / "docs").glob("*.md")):
        for told in re.findall(r"\]\((\.\./(?:embedq|tests)[^)#]*)\)", page.read_text(encoding="utf-8")):
            if not (page.parent / told).exists():
                gone.append(f"{page.name} links to {told}")
    assert not gone, gone
