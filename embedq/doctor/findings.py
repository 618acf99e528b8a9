"""What a check says: a finding, or that all is well."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """Jobs do not run, or are in danger."""
    WARNING = "warning"
    """It will hurt, or already does a little."""
    NOTE = "note"
    """Worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. Its texts may hold names from the database.

    Attributes:
        code: names the kind of finding, for scripts; it stays the same from version to version.
        advice: what to do.
        details: examples, one a line.
    """

    code: str
    severity: Severity
    problem: str
    advice: str
    details: tuple[str, ...] = ()


@dataclass(slots=True)
class Section:
    """What was looked at under one heading.

    Attributes:
        fine: what is in order, in a few words each.
    """

    title: str
    fine: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def error(self, code: str, problem: str, advice: str, details: tuple[str, ...] = ()) -> None:
        """Note what keeps jobs from running, or endangers them."""
        self._add(Severity.ERROR, code, problem, advice, details)

    def warning(self, code: str, problem: str, advice: str, details: tuple[str, ...] = ()) -> None:
        """Note what will hurt."""
        self._add(Severity.WARNING, code, problem, advice, details)

    def note(self, code: str, problem: str, advice: str, details: tuple[str, ...] = ()) -> None:
        """Note what is worth knowing."""
        self._add(Severity.NOTE, code, problem, advice, details)

    def _add(self, severity: Severity, code: str, problem: str, advice: str, details: tuple[str, ...]) -> None:
        self.findings.append(Finding(code=code, severity=severity, problem=problem, advice=advice, details=details))
