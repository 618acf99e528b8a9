"""SQL stands apart from Python: files of statements, each below its name, its behaviour, its purpose and its reason.

    -- name: promote_due
    -- notify: jobs
    -- Make ready the scheduled and retrying jobs that are due: scheduled, retrying -> ready.
    UPDATE {by_id:jobs} SET state = 'ready' …;

A statement that means the same on every database stands once, in `sql/`, in PostgreSQL's dialect: `$1` for parameters,
`$1[]` and `$1[text]` behind IN for a JSON list of numbers or texts, `::bigint` where PostgreSQL needs a type, FOR
UPDATE where rows are locked. Each database rewrites that in its own dialect (sqlite/dialect.py and the like) and fills
in the parts that it finds by an index of its own (`parts.sql`). What it must write differently, or has alone, stands in
`overrides.sql`.

`{name}` stands for the part of that name, `{name:argument}` for one that has the argument where it has `<so>`. Parts
that follow from `columns.py` are the same everywhere:

    {columns:ROW}  the names of its columns         {stored:ROW}  the same, for reading whole rows of a table
    {values:ROW}   a parameter for each             {fields:ROW}  the elements of a JSON list in the column `value`
    {alike:TEXT}   a new job's parameters, with this in the place of its payload
    {claimed:FLAG} the fields of a claimed job; what may be large only where the flag is set
    {snapshot:whole}, {snapshot:slim}  a job as people see it, with and without what may be large

`<table>` in a name makes a statement for each table that is copied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from embedq.storage.columns import COPIED, LARGE, ONLY_WHETHER, ROWS, SNAPSHOT
from embedq.storage.rows import PAYLOAD, ClaimedJob

SHARED = Path(__file__).parent / "sql"
# What a statement's header may contain besides its name and the sentences about it.
#   notify: jobs | cancel | new   after it has changed something, other processes have jobs to look for, or requests to
#                                 cancel; "new": if the new job is one that they may start
#   exact                         its parameters are stored as they are, or refused: a name must not become another one
#   bulk                          its one parameter is a JSON list of any length, with free text in it
HEADERS = ("notify", "exact", "bulk")
_ENTRY = re.compile(r"^-- (name|part): (\S+)\n", re.MULTILINE)
_HEADER = re.compile(rf"^-- ({'|'.join(HEADERS)})(?:: (.+))?$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)
_PART = re.compile(r"\{(\w+)(?::([^{}]*))?\}")
_ARGUMENT = re.compile(r"<\w+>")
_CASTS = {int: "::bigint", float: "::double precision", str: ""}


class _Entry(NamedTuple):
    """A statement, or a part of statements.

    Attributes:
        kind: "name" or "part".
    """

    kind: str
    text: str
    headers: Mapping[str, str]


def read(folder: Path, dialect: Callable[[str], str]) -> dict[str, str]:
    """Compile every statement for a database; the text of each statement and part, by name.

    Args:
        folder: where its `parts.sql` and `overrides.sql` are.
        dialect: rewrites a statement from the shared dialect.
    """
    own, shared = _entries(folder), _entries(SHARED)
    for name in own.keys() & shared.keys():
        assert own[name].kind == shared[name].kind, f"{name} is a part in one place and a statement in another"
    parts = {name: entry.text for name, entry in (shared | own).items()}
    return {name: dialect(_filled(text, parts)) for name, text in parts.items() if not _ARGUMENT.search(text)}


def marked(header: str) -> dict[str, str]:
    """The statements with this header, and its text: the same for every database, however each writes them."""
    assert header in HEADERS
    return {name: entry.headers[header] for name, entry in _entries(SHARED).items() if header in entry.headers}


@cache
def _entries(folder: Path) -> dict[str, _Entry]:
    found: dict[str, _Entry] = {}
    for file in sorted(folder.glob("*.sql")):
        if file.name.startswith("schema_"):
            continue
        _, *found_here = _ENTRY.split(file.read_text(encoding="utf-8"))
        for kind, name, body in zip(found_here[::3], found_here[1::3], found_here[2::3], strict=True):
            each = COPIED if "<table>" in name else ("<table>",)
            for table in each:
                entry = _entry(kind, body.replace("<table>", table))
                full_name = name.replace("<table>", table)
                assert full_name not in found, f"{full_name} is defined twice in {folder.name}"
                found[full_name] = entry
    return found


def _entry(kind: str, body: str) -> _Entry:
    # Comments are for readers; the server need not parse them each time a connection prepares the statement.
    text = _COMMENT.sub("", body).strip().rstrip(";")
    return _Entry(kind, text, dict(_HEADER.findall(body)))


def _filled(text: str, parts: Mapping[str, str]) -> str:
    """The text with all its parts, and theirs."""
    while (filled := _PART.sub(lambda found: _part(parts, found[1], found[2] or ""), text)) != text:
        text = filled
    return text


def _part(parts: Mapping[str, str], name: str, argument: str) -> str:
    lists = _LISTS.get(name)
    return _ARGUMENT.sub(lambda _: argument, parts[name]) if lists is None else lists(argument)


def _row(name: str) -> Mapping[str, type]:
    return ROWS[name] if name in ROWS else COPIED[name]


def _stored(row: str) -> str:
    # A job's large arguments may stand apart from its row.
    apart = ("payload", "code") if row == "jobs" else ()
    return ", ".join(f"{{{name}}}" if name in apart else name for name in _row(row))


def _values(row: str) -> str:
    return ", ".join(f"${number}" for number in range(1, len(_row(row)) + 1))


def _fields(row: str) -> str:
    casts = [_CASTS[kind] for kind in _row(row).values()]
    return ", ".join(
        f"(value ->> {number}){cast}" if cast else f"value ->> {number}" for number, cast in enumerate(casts)
    )


def _alike(payload: str) -> str:
    kinds = [kind for name, kind in ROWS["new_job"].items() if name != "payload"]
    given = [f"${number}{_CASTS[kind]}" for number, kind in enumerate(kinds, 1)]
    return ", ".join([*given[:PAYLOAD], payload, *given[PAYLOAD:]])


def _claimed(flag: str) -> str:
    taken = {"claim": "claim + 1", "attempt": "attempt + 1"}
    taken["payload"] = f"CASE WHEN {{flag:{flag}}} THEN {{payload}} ELSE '' END"
    taken["code"] = f"CASE WHEN {{flag:{flag}}} THEN {{code}} END"
    for name in ("options", "tags"):
        taken[name] = f"CASE WHEN {{flag:{flag}}} THEN {name} END"
    return ", ".join(taken.get(name, name) for name in ClaimedJob._fields)


def _snapshot(size: str) -> str:
    shown = {name: f"{name} IS NOT NULL" for name in ONLY_WHETHER}
    shown |= {"payload": "{payload}", "code": "{code}"} if size == "whole" else LARGE
    return ", ".join(shown.get(name, name) for name in SNAPSHOT)


_LISTS: Mapping[str, Callable[[str], str]] = {
    "columns": lambda row: ", ".join(_row(row)),
    "stored": _stored,
    "values": _values,
    "fields": _fields,
    "alike": _alike,
    "claimed": _claimed,
    "snapshot": _snapshot,
}
