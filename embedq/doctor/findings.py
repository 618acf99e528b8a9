"""Findings of the doctor: a check describes a kind of problem, a finding is one case of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """The severity of a finding."""

    ERROR = "error"
    """Jobs do not run, or are in danger."""
    WARNING = "warning"
    """A problem that will grow, or that already has effects."""
    NOTE = "note"
    """Worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A row of the table in `checks`.

    Attributes:
        code: identifies the kind of finding, for scripts; it does not change between versions.
        reads: the source of the facts.
        problem, advice: the texts of a finding, with `{names}` for its facts.
    """

    code: str
    severity: Severity
    reads: str
    problem: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem. Its texts may contain names from the database.

    Attributes:
        code: of the check.
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
    """The results under one heading.

    Attributes:
        fine: what is in order, in a few words each.
    """

    title: str
    fine: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(
        self, check: Check, *, severity: Severity | None = None, details: tuple[str, ...] = (), **facts: object
    ) -> None:
        """Add a finding of a check, with its usual severity unless another one is given."""
        self.findings.append(
            Finding(
                code=check.code,
                severity=severity or check.severity,
                problem=check.problem.format_map(facts),
                advice=check.advice.format_map(facts),
                details=details,
            )
        )
