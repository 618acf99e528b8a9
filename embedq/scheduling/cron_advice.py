"""How to write what looks like the schedule of another program: of a crontab, of Quartz, AWS or systemd, or words.

    advice("@every 5m", reads)  # -> "an interval is no cron expression; write every(minutes=5)"

A refused text is taken through `_STEPS`: each removes or rewrites one thing that it knows, and notes what. What comes
out is suggested only if it can be read, so no suggestion is itself refused. None of it runs for a text that is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from embedq.scheduling.cron_fields import MONTHS, NUMBERED_WEEKDAY, WEEKDAYS
from embedq.scheduling.cron_phrases import interval_of, phrase_of

_MOST_STEPS = 6
_ZONE = r"(?:[A-Z][A-Za-z_]+(?:/[A-Za-z0-9_+-]+)+|UTC|GMT|Z|[A-Z]{3,4})"


class _Step(NamedTuple):
    """One thing that was recognised: what the text becomes, the zone that it named, and what to report of it."""

    text: str
    note: str
    zone: str | None = None


def advice(text: str, reads: Callable[[str], bool]) -> str | None:
    """Return how to write `text`, for an error message; None if it looks like nothing known.

    Args:
        reads: whether a cron expression can be read.
    """
    notes: list[str] = []
    zone: str | None = None
    now = text
    for _ in range(_MOST_STEPS):
        if notes and reads(now):
            return f"{'; '.join(notes)}; write {_cron(now, zone)}"
        if interval := interval_of(now):
            return f"{'; '.join([*notes, 'an interval is no cron expression'])}; write {interval}"
        step = next((step for look in _STEPS if (step := look(now, reads)) is not None), None)
        if step is None:
            break
        now, zone = step.text, step.zone or zone
        notes.append(step.note)
    return "; ".join(notes) or None


def _cron(text: str, zone: str | None) -> str:
    if zone in (None, "UTC", "GMT", "Z"):
        return repr(text)
    return f"Cron({text!r}, timezone={zone!r})"


# -- around the expression ---------------------------------------------------------------------------------------------


def _label(text: str, reads: Callable[[str], bool]) -> _Step | None:
    if found := re.fullmatch(r"-?\s*(?:cron|schedule|cron_?expression|oncalendar)\s*[:=]\s*(.+)", text, re.IGNORECASE):
        return _Step(found[1], "give the expression alone, without a label")
    return None


def _quotes(text: str, reads: Callable[[str], bool]) -> _Step | None:
    if found := re.fullmatch(r"""(["'`])(.+)\1[,;]?""", text):
        return _Step(found[2].strip(), "there are quotes inside the text")
    return None


def _variable(text: str, reads: Callable[[str], bool]) -> _Step | None:
    if found := re.fullmatch(r"(?:CRON_)?TZ=(\S+)\s+(.+)", text):
        return _Step(found[2], "the time zone is an argument", found[1].strip("\"'"))
    return None


def _zone_beside(text: str, reads: Callable[[str], bool]) -> _Step | None:
    """A zone after the expression, or before it."""
    for pattern in (rf"(?P<rest>.+?)\s+\(?(?P<zone>{_ZONE})\)?", rf"(?P<zone>{_ZONE})\s+(?P<rest>.+)"):
        found = re.fullmatch(pattern, text)
        if found and len(found["rest"].split()) >= 2 and not _is_name(found["zone"]):
            if "/" in found["zone"] or found["zone"] in ("UTC", "GMT", "Z"):
                return _Step(found["rest"], "the time zone is an argument", found["zone"])
            if reads(found["rest"]):
                return _Step(
                    found["rest"],
                    f"{found['zone']} looks like a time zone, which is an argument: timezone='Europe/Berlin' "
                    "(an IANA name)",
                )
    return None


def _is_name(word: str) -> bool:
    return any(name.startswith(word.lower()) for name in (*WEEKDAYS, *MONTHS))


def _comment(text: str, reads: Callable[[str], bool]) -> _Step | None:
    if found := re.fullmatch(r"(\S.*?)\s+(?:#|//|--|=|→|\().*", text):
        return _Step(found[1], "a comment is no part of an expression")
    return None


def _command(text: str, reads: Callable[[str], bool]) -> _Step | None:
    parts = text.split()
    for fields in (1, 5):
        # A word of the command that is no field: a path, a program, a user.
        if (
            len(parts) > fields
            and re.match(r"[A-Za-z./~$]", parts[fields])
            and reads(first := " ".join(parts[:fields]))
        ):
            return _Step(first, "a line of a crontab ends in a command; here it is the function of the recurring job")
    return None


# -- other programs' forms ---------------------------------------------------------------------------------------------


def _reboot(text: str, reads: Callable[[str], bool]) -> _Step | None:
    if re.match(r"@(reboot|start(up)?)\b", text, re.IGNORECASE):
        return _Step("", "a schedule knows no start; enqueue the job where the application starts")
    return None


def _aws(text: str, reads: Callable[[str], bool]) -> _Step | None:
    """`cron(0 10 * * ? *)`, and its six fields alone: minute first, a year last, weekdays from 1 = SUN."""
    found = re.fullmatch(r"cron\((.+)\)", text.strip(), re.IGNORECASE)
    parts = (found[1] if found else text).split()
    if len(parts) == 6 and (found or "?" in (parts[2], parts[4])) and re.fullmatch(r"\*|\?|[\d,/*-]+", parts[5]):
        if parts[5] not in ("*", "?"):
            return _Step("", "this is the form of AWS with a year, and a schedule has no end; leave the year out")
        parts[4] = from_sunday_is_one(parts[4])
        here = " ".join(parts[:5]).replace("?", "*")
        return _Step(here, "this is the form of AWS, with a year last")
    if found:
        return _Step(found[1], "give the expression alone, without cron(...)")
    return None


def _quartz_weekday(text: str, reads: Callable[[str], bool]) -> _Step | None:
    """Quartz counts weekdays from 1 = SUN, Spring as cron: beside a `?` a number may be either."""
    parts = text.split()
    if len(parts) not in (5, 6, 7) or "?" not in parts:
        return None
    at = 4 if len(parts) == 5 else 5
    if "?" in parts[:at] and NUMBERED_WEEKDAY.search(parts[at]):
        plain = [part.replace("?", "*") for part in parts[:6]]
        quartz = " ".join([*plain[:at], from_sunday_is_one(parts[at])])
        spring = " ".join([*plain[:at], _named(parts[at], 0)])
        if reads(quartz) and reads(spring):
            return _Step(
                "",
                f"beside a ? the weekday {parts[at]} has two meanings; write {quartz!r} if it counts from 1 = Sunday "
                f"(Quartz, AWS), {spring!r} if from 0 = Sunday (cron, Spring)",
            )
    return None


def from_sunday_is_one(part: str) -> str:
    """Return a weekday field whose numbers count from 1 = Sunday with names instead."""
    return _named(part, 1)


def _named(part: str, sunday: int) -> str:
    """Replace weekday numbers by names; a step's and a #'s number stay."""
    return NUMBERED_WEEKDAY.sub(lambda found: WEEKDAYS[(int(found[0]) - sunday) % 7][:3], part)


def _celery(text: str, reads: Callable[[str], bool]) -> _Step | None:
    found = re.fullmatch(r"crontab\((.*)\)", text)
    if found is None:
        return None
    given = dict(re.findall(r"(\w+)\s*=\s*[\"']?([^\"',]+(?:,[^\"'=]+)?)[\"']?(?=,|\s*$)", found[1]))
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    return _Step(" ".join(given.get(name, "*").strip() for name in names), "this is the form of Celery")


def _phrase(text: str, reads: Callable[[str], bool]) -> _Step | None:
    found = phrase_of(text)
    return None if found is None else _Step(found[0], "words are no cron expression", found[1])


# -- slips -------------------------------------------------------------------------------------------------------------


def _typography(text: str, reads: Callable[[str], bool]) -> _Step | None:
    plain = (
        re.sub(r"[\u2010-\u2015\u2212]", "-", text).replace("\\*", "*").replace("\u2217", "*").replace("\u00d7", "*")
    )
    return _Step(plain, "write - and * as plain characters, without a backslash") if plain != text else None


def _spaces(text: str, reads: Callable[[str], bool]) -> _Step | None:
    closed = re.sub(
        r"\s*,\s*(?=[\w*])|(?<=[\w*])\s*([-/])\s*(?=\d)|(?<=/)\s+", lambda f: f[1] or ("," if "," in f[0] else ""), text
    )
    if closed != text and reads(closed):
        return _Step(closed, "a list, a range or a step is written without spaces")
    return None


def _characters(text: str, reads: Callable[[str], bool]) -> _Step | None:
    for pattern, better, note in (
        (r"(?<!\S)/(\d+)", r"*/\1", "a step needs what it divides"),
        (r"(?<!\S)\*(\d+)(?!\S)", r"*/\1", "a step is written with /"),
        (r"(\w)\.\.(\w)", r"\1-\2", "a range is written with -"),
        (r"(?<!\S)(\d*)~(\d*)(?!\S)", _hashed, "instead of a random value, H is one hashed from the schedule's name"),
        (r"(?<!\S)[rR](?=[\s/(]|$)", "H", "R picks another time in every process; use H, which is the same in all"),
        (r";", ",", "a list is written with commas"),
        (r",(?=\s|$)|(?<!\S),|,(?=,)", "", "a comma stands between two values"),
    ):
        changed = re.sub(pattern, better, text)
        if changed != text and reads(changed):
            return _Step(changed, note)
    return None


def _hashed(found: re.Match[str]) -> str:
    return f"H({found[1]}-{found[2]})" if found[1] and found[2] else "H"


def _year(text: str, reads: Callable[[str], bool]) -> _Step | None:
    parts = text.split()
    if len(parts) in (6, 7) and re.fullmatch(r"(19|20)\d\d.*", parts[-1]):
        rest = " ".join(parts[:-1])
        if reads(rest):
            return _Step(rest, "a year field is not supported, as a schedule has no end: leave it out, and remove the "
                         "recurring job when it is over")  # fmt: skip
    return None


_STEPS: tuple[Callable[[str, Callable[[str], bool]], _Step | None], ...] = (
    _label, _quotes, _variable, _reboot, _aws, _celery, _quartz_weekday, _year, _phrase, _zone_beside, _typography,
    _spaces, _characters, _comment, _command,
)  # fmt: skip
