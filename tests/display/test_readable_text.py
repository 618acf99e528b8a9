"""What people are shown of stored calls, texts and times: readable, on one line, and harmless to a terminal."""

from __future__ import annotations

import collections
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, Flag
from pathlib import PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedq import PARENT_RESULT
from embedq.cli.text import absolute, clip, columns, duration, relative, safe, safe_lines, span
from embedq.display.calls import UNREADABLE, parsed, readable_call, readable_value
from embedq.serializers import dumps_call

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class Colour(Enum):
    RED = 1


class Rights(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Address:
    street: str
    number: int


Point = collections.namedtuple("Point", "x y")


def call(*args: Any, **kwargs: Any) -> str:
    return readable_call("mail:send", dumps_call(args, kwargs, limit=10**6, name="send"), limit=1000)


def test_a_call_reads_as_it_was_written() -> None:
    assert call(1, template="x") == 'mail:send(1, template="x")'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (True, "True"),
        (-1.5, "-1.5"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ('say "hi"\\\n', r'"say \"hi\"\\\n"'),
        ("naïve 日本", '"naïve 日本"'),
        ("\x1b[2J\u202e\ud800", r'"\x1b[2J\u202e\ud800"'),
        ([1, [2]], "[1, [2]]"),
        ((), "()"),
        ((1,), "(1,)"),
        ((1, 2), "(1, 2)"),
        ({1}, "{1}"),
        (set(), "set()"),
        (frozenset({1}), "frozenset({1})"),
        ({"a": 1}, '{"a": 1}'),
        ({1: "a", "$": 2}, '{1: "a", "$": 2}'),
        (b"ab\x00", r"b'ab\x00'"),
        (b"x" * 100, f"b'{'x' * 24}'… 100 bytes"),
        (date(2026, 6, 1), 'date("2026-06-01")'),
        (NOW, 'datetime("2026-06-01T12:00:00+00:00")'),
        (
            NOW.astimezone(ZoneInfo("Asia/Tokyo")),
            'datetime("2026-06-01T21:00:00", 0, ZoneInfo("Asia/Tokyo"))',
        ),
        (timedelta(days=1, seconds=5), "timedelta(days=1, seconds=5)"),
        (timedelta(), "timedelta()"),
        (uuid.UUID(int=1), 'UUID("00000000-0000-0000-0000-000000000001")'),
        (Decimal("1.50"), 'Decimal("1.50")'),
        (PurePosixPath("/srv"), 'PurePosixPath("/srv")'),
        (Colour.RED, "Colour.RED"),
        (Rights.READ | Rights.WRITE, "Rights(3)"),
        (Address("Main", 1), 'Address(street="Main", number=1)'),
        (Point(1, 2), "Point(1, 2)"),
        (PARENT_RESULT, "PARENT_RESULT"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_every_stored_type_reads_like_python(value: Any, shown: str) -> None:
    assert call(value) == f"mail:send({shown})"


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ('{"$":["dataclass",["gone.module:Order",{"id":7}]]}', "Order(id=7)"),
        ('{"$":["int","0xff"]}', 'int("0xff")'),
        ('{"$":["newer",{"a":1}]}', 'newer({"a": 1})'),
        ('{"$":["\\u001b[2J",[1]]}', r"\x1b[2J(1)"),
        ('{"$":["bytes","not base64"]}', f"bytes({UNREADABLE})"),
        ('{"$":["str","/w=="]}', f"str({UNREADABLE})"),
        ('{"$":["dict",[1]]}', "dict(1)"),
        ('{"$":["enum",1]}', "enum(1)"),
        ('{"$":1}', '{"$": 1}'),
        ("{", UNREADABLE),
        ("NaN", UNREADABLE),
        ("1e999", UNREADABLE),
        ("[" * 100_000, UNREADABLE),
        ("[" * 900 + "]" * 900, UNREADABLE),
    ],
    ids=lambda text: str(text)[:30],
)
def test_unknown_and_invalid_calls_are_shown_as_far_as_possible(stored: str, shown: str) -> None:
    assert readable_value(stored, limit=1000) == shown


@pytest.mark.parametrize("arguments", ["", "{}", "[1]", "[[],[]]", "[[1],{}"])
def test_arguments_that_are_none_leave_the_name(arguments: str) -> None:
    assert readable_call("mail:send", arguments, limit=100) == f"mail:send({UNREADABLE})"


def test_a_long_call_is_cut() -> None:
    shown = readable_call("f", json.dumps([["x" * 1_000_000], {}]), limit=50)
    assert shown == 'f("' + "x" * 47 + "…"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.just("$"), inner, max_size=3)
        | st.builds(lambda tag, body: {"$": [tag, body]}, st.sampled_from(["dict", "bytes", "enum", "tuple"]), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_is_stored_is_shown_on_one_harmless_line(value: Any) -> None:
    assert readable_value(json.dumps(value), limit=10_000).isprintable()


@given(st.text())
def test_safe_text_is_printable_and_printable_text_stays_as_it_is(text: str) -> None:
    assert safe(text).isprintable()
    assert not text.isprintable() or safe(text) == text


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_clipped_text_fits(text: str, width: int) -> None:
    clipped = clip(safe(text), width)
    assert columns(clipped) <= width
    assert clipped == safe(text) or clipped.endswith("…")


def test_wide_and_combining_letters_are_counted_as_a_terminal_does() -> None:
    assert (columns("日本"), columns("e\u0301")) == (4, 1)
    assert clip("日本語", 5) == "日本…"
    assert len(clip("e" + "\u0301" * 10_000, 5)) < 30


def test_lines_end_where_any_system_ends_them() -> None:
    assert safe_lines("a\r\nb\tc\x07\n") == ["a", "b   c\\x07", ""]


@pytest.mark.parametrize(
    ("seconds", "long", "short"),
    [
        (0, "<1 ms", "0 s"),
        (0.0123, "12 ms", "0 s"),
        (0.9999, "1.0 s", "1 s"),
        (1.25, "1.2 s", "1 s"),
        (59.4, "59 s", "59 s"),
        (59.7, "1 min 0 s", "1 min"),
        (3599.9, "1 h 0 min", "1 h"),
        (3700, "1 h 1 min", "1 h"),
        (90_000, "1 d 1 h", "1 d"),
    ],
)
def test_durations_are_shown_in_the_units_of_their_size(seconds: float, long: str, short: str) -> None:
    assert (duration(seconds), span(seconds)) == (long, short)


def test_moments_are_shown_relative_to_now() -> None:
    assert relative(NOW - timedelta(minutes=3), NOW) == "3 min ago"
    assert relative(NOW + timedelta(seconds=42), NOW) == "in 42 s"
    assert relative(NOW + timedelta(milliseconds=300), NOW) == "now"


def test_the_last_moment_of_the_calendar_can_be_shown() -> None:
    assert absolute(datetime.max.replace(tzinfo=UTC)).startswith("9999-12-31")


def test_what_can_be_read_can_be_written_as_json_again() -> None:
    for text in ("[" * 300 + "]" * 300, '{"a":1e300}', '"\\ud800"'):
        assert json.loads(json.dumps(parsed(text), indent=2, allow_nan=False)) == json.loads(text)
