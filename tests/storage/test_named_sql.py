"""The SQL files: every database has every statement, each says what it is for, and what headers say is used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from embedq.storage import named_sql
from embedq.storage.columns import COPIED
from embedq.storage.mysql.dialect import dialect as mysql_dialect
from embedq.storage.postgresql.dialect import dialect as postgresql_dialect
from embedq.storage.sqlite.dialect import dialect as sqlite_dialect

STORAGE = Path(named_sql.__file__).parent
DIALECTS = {"sqlite": sqlite_dialect, "postgresql": postgresql_dialect, "mysql": mysql_dialect}
# What only one database needs.
OWN = {
    "sqlite": {"insert_large"},
    "postgresql": {
        *("insert_job_as", "insert_plain_as", "job_ids", "take_job_ids", "job_is_there", "tell_jobs"),
        *("next_job_ids", "insert_keyed"),
    },
    "mysql": {"inserted_ids", "insert_unkeyed", "take_keys", "refused_keys"},
}
# What MySQL writes differently wherever the others use it.
NOT_MYSQL = ("elements", "batch", "counter_key", "children_of_job")
# Names that are composed: of a state, of a table that is copied, of another statement.
COMPOSED = re.compile(rf"count_\w+|(?:copied|copy|empty)_(?:{'|'.join(COPIED)})|insert_(?:job|plain)_as")


def entries(folder: str) -> dict[str, tuple[str, str]]:
    """The statements and parts in the SQL files of a folder: of each the kind, and what stands below its name."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted((STORAGE / folder).glob("*.sql")):
        if not path.name.startswith("schema_"):
            _, *rest = named_sql._ENTRY.split(path.read_text(encoding="utf-8"))
            found |= {name: (kind, body) for kind, name, body in zip(rest[::3], rest[1::3], rest[2::3], strict=True)}
    return found


def texts(folder: str) -> dict[str, str]:
    return named_sql.read(STORAGE / folder, DIALECTS[folder])


def test_every_database_has_every_statement() -> None:
    statements = {}
    for folder in DIALECTS:
        parts = {name for name, (kind, _) in entries(folder).items() if kind == "part"}
        statements[folder] = texts(folder).keys() - parts - OWN[folder]
    assert statements["sqlite"] == statements["postgresql"] == statements["mysql"]


def test_every_database_fills_in_the_same_parts() -> None:
    parts = {folder: {name for name, (kind, _) in entries(folder).items() if kind == "part"} for folder in DIALECTS}
    assert parts["sqlite"] == parts["postgresql"] == parts["mysql"] | set(NOT_MYSQL)


def test_every_statement_and_part_is_used() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in STORAGE.rglob("*.py"))
    sql = "\n".join(path.read_text(encoding="utf-8") for path in STORAGE.rglob("*.sql"))
    for folder in DIALECTS:
        for name in texts(folder).keys() | entries(folder).keys():
            used = f'"{name}"' in source or re.search(rf"\{{{name}(?::[^{{}}]*)?\}}", source + sql)
            assert used or COMPOSED.fullmatch(name) or "<table>" in name, f"{folder}: nothing uses {name}"


def test_every_statement_states_what_it_is_for() -> None:
    for folder in ("sql", *DIALECTS):
        for name, (kind, body) in entries(folder).items():
            said = named_sql._HEADER.sub("", body)
            assert kind == "part" or re.match(r"\s*-- \S", said), f"{folder}: {name} does not say what it is for"


@pytest.mark.parametrize("folder", DIALECTS)
def test_nothing_of_the_shared_dialect_is_left(folder: str) -> None:
    for name, text in texts(folder).items():
        assert not re.search(r"[{}]|<\w+>|\[text\]", text), f"{name} has a part that was not filled in: {text}"
        assert folder == "mysql" or not re.search(r"\$\d+\[", text), name
        assert folder == "postgresql" or "::" not in text, name


def test_every_header_is_on_a_statement() -> None:
    for header in named_sql.HEADERS:
        assert named_sql.marked(header), header
    assert set(named_sql.marked("notify").values()) == {"jobs", "cancel", "new"}
