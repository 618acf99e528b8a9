"""`embedq doctor`: problems of a queue, and what to do about them."""

from __future__ import annotations

import textwrap

import click

from embedq.cli.invocation import (
    ExitCode,
    Invocation,
    bold,
    dim,
    pass_invocation,
    say,
    shared_options,
    width,
)
from embedq.cli.text import clip, safe
from embedq.display.json_values import as_json
from embedq.display.units import counted
from embedq.doctor.examination import MAX_WAIT_SECONDS, examine
from embedq.doctor.findings import Section, Severity
from embedq.version import VERSION

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
    help="How long a job may be due before there is a warning.",
)
@shared_options
@pass_invocation
def doctor(invocation: Invocation, max_wait: float) -> None:
    """Find problems of a queue, with advice.

    Checks the database, the processes that run jobs, the clocks, the jobs,
    pauses, limits and the recurring jobs. It changes nothing. The exit
    code is 1 if there is an error or a warning; notes do not count.
    """
    # A network file system is not an error here but a finding.
    app = invocation.open(allow_network_filesystem=True)
    if not invocation.json:
        say(f"embedq {VERSION} on {safe(app.settings.database)}")
        say()
    sections = []
    for section in examine(app, max_wait=max_wait):
        sections.append(section)
        if not invocation.json:
            _show(section)
    counts = {
        severity: sum(finding.severity is severity for section in sections for finding in section.findings)
        for severity in Severity
    }
    if invocation.json:
        invocation.emit(
            {
                "version": VERSION,
                "url": app.settings.database,
                "checked": {section.title: section.fine for section in sections},
                "findings": [
                    {**as_json(finding), "section": section.title}
                    for section in sections
                    for finding in section.findings
                ],
                **{f"{severity.value}s": count for severity, count in counts.items()},
            }
        )
    else:
        say()
        found = [counted(count, severity.value) for severity, count in counts.items() if count]
        say(bold(", ".join(found)) if found else "no problems found")
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
    """Wrap a text to the width beside the headings; safe to print."""
    room = width() - len(INDENT) - narrower
    return textwrap.wrap(safe(text), room, break_long_words=False, break_on_hyphens=False) or [""]
