"""`embedq doctor`: what is wrong with a queue, and what to do about it."""

from __future__ import annotations

import textwrap

import click

from embedq.cli.session import (
    ExitCode,
    Session,
    bold,
    dim,
    pass_session,
    say,
    shared_options,
    width,
)
from embedq.cli.text import clip, safe
from embedq.doctor.examination import MAX_WAIT_SECONDS, examine
from embedq.doctor.findings import Finding, Section, Severity
from embedq.version import VERSION
from embedq.wording import counted

_MARKS = {Severity.ERROR: ("✗", "red"), Severity.WARNING: ("!", "yellow"), Severity.NOTE: ("·", "cyan")}
LABEL = 16
INDENT = " " * (LABEL + 2)


@click.command()
@click.option(
    "--max-wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=MAX_WAIT_SECONDS,
    show_default=True,
    help="How long a job may be due before that is worth a warning.",
)
@shared_options
@pass_session
def doctor(session: Session, max_wait: float) -> None:
    """Look for what is wrong, and say what to do about it.

    The database, the processes that run jobs, the clocks, the jobs and the
    recurring jobs. It changes nothing. The exit code is 1 when there is an
    error or a warning; notes do not count.
    """
    # That a file is on a network disk is a finding here, where it is reported with the rest.
    app = session.open(allow_network_filesystem=True)
    if not session.json:
        say(f"embedq {VERSION} on {safe(app.settings.database)}")
        say()
    sections = []
    for section in examine(app, max_wait=max_wait):
        sections.append(section)
        if not session.json:
            _show(section)
    counts = {
        severity: sum(finding.severity is severity for section in sections for finding in section.findings)
        for severity in Severity
    }
    if session.json:
        session.emit(
            {
                "version": VERSION,
                "url": app.settings.database,
                "checked": {section.title: section.fine for section in sections},
                "findings": [_document(section, finding) for section in sections for finding in section.findings],
                **{f"{severity.value}s": count for severity, count in counts.items()},
            }
        )
    else:
        say()
        found = [counted(count, severity.value) for severity, count in counts.items() if count]
        say(bold(", ".join(found)) if found else "nothing is wrong")
    if counts[Severity.ERROR] or counts[Severity.WARNING]:
        click.get_current_context().exit(ExitCode.FAILED)


def _show(section: Section) -> None:
    for number, text in enumerate(section.fine):
        label = section.title if number == 0 else ""
        say(f"{click.style('✓', fg='green')} {label.ljust(LABEL)}{safe(text)}")
    for number, finding in enumerate(section.findings):
        mark, colour = _MARKS[finding.severity]
        label = section.title if number == 0 and not section.fine else ""
        first, *rest = _lines(finding.problem)
        say(f"{click.style(mark, fg=colour)} {label.ljust(LABEL)}{first}")
        for line in rest:
            say(INDENT + line)
        for detail in finding.details:
            say(INDENT + dim(clip(safe(detail), width() - len(INDENT))))
        first, *rest = _lines(finding.advice, narrower=2)
        say(f"{INDENT}→ {first}")
        for line in rest:
            say(f"{INDENT}  {line}")


def _lines(text: str, *, narrower: int = 0) -> list[str]:
    """The text on as many lines as it takes beside the headings; safe to print."""
    room = width() - len(INDENT) - narrower
    return textwrap.wrap(safe(text), room, break_long_words=False, break_on_hyphens=False) or [""]


def _document(section: Section, finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "section": section.title,
        "problem": finding.problem,
        "advice": finding.advice,
        "details": list(finding.details),
    }
