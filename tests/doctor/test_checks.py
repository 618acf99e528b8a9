"""The table of checks: each is documented, and its texts use only facts that it is given."""

from __future__ import annotations

import re
from pathlib import Path

from embedq.doctor import checks
from embedq.doctor.findings import Check

CHECKS = [value for value in vars(checks).values() if isinstance(value, Check)]
PAGE = Path(__file__).parents[2] / "docs" / "operating.md"


def test_every_finding_is_in_the_documentation_and_the_other_way_round() -> None:
    _, _, table = PAGE.read_text(encoding="utf-8").partition("| code | what it means |\n|---|---|\n")
    rows = table.partition("\n\n")[0].splitlines()
    documented = {code for row in rows for code in re.findall(r"`([a-z-]+)`", row.split("|")[1])}
    assert {check.code for check in CHECKS} == documented


def test_every_check_is_used_and_names_its_source() -> None:
    names = [name for name, value in vars(checks).items() if isinstance(value, Check)]
    code = "".join(path.read_text(encoding="utf-8") for path in Path(checks.__file__).parent.glob("*.py"))
    assert [name for name in names if f"checks.{name}" not in code] == []
    assert all(check.reads and check.problem and check.advice for check in CHECKS)
