"""Schedules in words, as intervals, and as systemd writes them, where one expression of ours means the same."""

from __future__ import annotations

import re

from embedq.scheduling.cron_fields import WEEKDAYS

_UNITS = {
    "ms": "ms", "s": "seconds", "sec": "seconds", "second": "seconds", "m": "minutes", "min": "minutes",
    "minute": "minutes", "h": "hours", "hr": "hours", "hour": "hours", "d": "days", "day": "days", "w": "weeks",
    "week": "weeks",
}  # fmt: skip
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[a-z]+?)s?(?![a-z])")
_ISO = re.compile(r"(?:r\d*/)?p(?:(\d+)d)?(?:t(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?)?")
_TIME = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*(am|pm|a\.m\.|p\.m\.)?")
_OFTEN = {
    "hourly": "0 * * * *", "every hour": "0 * * * *", "every minute": "* * * * *", "daily": "0 0 * * *",
    "every day": "0 0 * * *", "nightly": "0 0 * * *", "every night": "0 0 * * *", "midnight": "0 0 * * *",
    "every midnight": "0 0 * * *", "noon": "0 12 * * *", "weekly": "0 0 * * 0", "every week": "0 0 * * 0",
    "monthly": "0 0 1 * *", "every month": "0 0 1 * *", "quarterly": "0 0 1 1/3 *", "every quarter": "0 0 1 1/3 *",
    "yearly": "0 0 1 1 *", "annually": "0 0 1 1 *", "every year": "0 0 1 1 *",
}  # fmt: skip
_SYSTEMD = re.compile(
    r"(?:(?P<days>[a-z.,]+)\s+)?(?:(?:\*-)?(?P<month>\*|\d+)-(?P<day>\*|\d+)\s+)?"
    r"(?P<hour>\*|[\d,]+|\d+/\d+):(?P<minute>\*|[\d,]+|\d+/\d+)(?::0?0)?(?:\s+(?P<zone>UTC|[A-Z]\w+/[\w/]+))?",
    re.IGNORECASE,
)
_SAID = re.compile(
    r"(?:@?(?P<when>(?:every|each|on|daily|nightly|weekdays|[a-z]+days?)\b.*?)\s*)?"
    r"(?:(?:\bat|@)\s*)?(?P<time>\d[\d:]*\s*(?:am|pm|a\.m\.|p\.m\.)?|midnight|noon)?"
)


def interval_of(text: str) -> str | None:
    """Return the call of `every` for an interval: `@every 1h30m`, `every 5 minutes`, `rate(2 hours)`, `PT5M`, `5m`."""
    plain = text.strip().lower()
    plain = re.sub(r"^(@every|@|every|each)\s*|^rate\((.+)\)$", lambda found: found[2] or "", plain).strip()
    if (iso := _ISO.fullmatch(plain)) and any(iso.groups()):
        return _call(dict(zip(("days", "hours", "minutes", "seconds"), map(_number, iso.groups()), strict=True)))
    if not plain or _AMOUNT.sub("", plain).strip(" ,"):
        return None
    amounts: dict[str, float] = {}
    for number, unit in _AMOUNT.findall(plain):
        name, factor = _UNITS.get(unit), 1.0
        if name is None:
            return None
        if name in ("ms", "weeks"):
            name, factor = ("seconds", 0.001) if name == "ms" else ("days", 7)
        amounts[name] = amounts.get(name, 0) + float(number) * factor
    return _call(amounts)


def _number(text: str | None) -> float:
    return float(text or 0)


def _call(amounts: dict[str, float]) -> str | None:
    given = ", ".join(f"{name}={amount:g}" for name, amount in amounts.items() if amount)
    return f"every({given})" if given else None


def phrase_of(text: str) -> tuple[str, str | None] | None:
    """Return the expression, and the zone if one is named: `every monday at 9am`, `10:30`, `Mon..Fri *-*-* 09:00`."""
    plain = " ".join(text.lower().split())
    if plain.removeprefix("@") in _OFTEN:
        return _OFTEN[plain.removeprefix("@")], None
    if (systemd := _SYSTEMD.fullmatch(text.strip())) and (found := _from_systemd(systemd)):
        return found
    said = _SAID.fullmatch(plain)
    if said is None or (said["when"] is None and not (said["time"] and not said["time"].isdigit())):
        return None
    days, clock = _weekdays(said["when"] or "every day"), _clock(said["time"] or "midnight")
    return None if days is None or clock is None else (f"{clock} * * {days}", None)


def _clock(text: str) -> str | None:
    """Return the minute and the hour of `9am`, `10:30`, `noon`."""
    if text in ("midnight", "noon"):
        return "0 0" if text == "midnight" else "0 12"
    found = _TIME.fullmatch(text.strip())
    if found is None or found[3] not in (None, "00"):
        return None
    hour, half = int(found[1]), (found[4] or "").replace(".", "")
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    return f"{int(found[2] or 0)} {hour}"


def _weekdays(text: str) -> str | None:
    days = []
    for word in re.sub(r"\b(every|each|on|and|at)\b|,", " ", text).split():
        single = word.removesuffix("s") if word.endswith("days") else word
        if single in ("day", "daily", "nightly", "night"):
            days.append("*")
        elif single == "weekday":
            days.append("mon-fri")
        elif single == "weekend":
            days.append("sat,sun")
        elif len(single) >= 3 and any(name.startswith(single) for name in WEEKDAYS):
            days.append(single[:3])
        else:
            return None
    return None if not days or ("*" in days and len(days) > 1) else ",".join(days)


def _from_systemd(found: re.Match[str]) -> tuple[str, str | None] | None:
    days = (found["days"] or "*").lower().replace("..", "-")
    if days != "*" and not all(
        len(day) >= 3 and any(name.startswith(day) for name in WEEKDAYS) for day in re.split(r"[,-]", days)
    ):
        return None
    minute, hour, day, month = (
        ",".join(re.sub(r"^0+(?=\d)", "", value) for value in (found[name] or "*").split(","))
        for name in ("minute", "hour", "day", "month")
    )
    return f"{minute} {hour} {day} {month} {days}", found["zone"]
