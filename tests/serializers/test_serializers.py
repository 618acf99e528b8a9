"""Arguments and results: what goes in comes out, equal in type and value, or is refused with advice."""

import asyncio
import concurrent.futures
import copy
import dataclasses
import gc
import io
import json
import logging
import os
import pickle
import socket
import sqlite3
import string
import subprocess
import sys
import threading
import types
import weakref
from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum, auto
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy
import pytest
from django.utils.datastructures import MultiValueDict
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from werkzeug.datastructures import MultiDict

from embedq.errors import EnqueueError, ParkError, PayloadTooLargeError, UnknownTypeError, UnstorableArgumentError
from embedq.serializers import MAX_DEPTH, PARENT_RESULT, dumps_call, dumps_value, loads_call, loads_value
from tests.support import ROOT

LIMIT = 10_000_000
HERE = __name__


class Colour(Enum):
    RED = object()
    BLUE = (1, 2)
    AZURE = (1, 2)  # noqa: PIE796 - another name for it


class Size(IntEnum):
    SMALL = 1


class Plan(StrEnum):
    FREE = "free"


class Access(Flag):
    READ = auto()
    WRITE = auto()
    RUN = auto()
    BOTH = READ | WRITE


class Mode(IntFlag):
    A = 1
    B = 2


class Shop:
    class Day(Enum):
        MONDAY = 1

    @dataclass
    class Order:
        id: int


@dataclass
class Point:
    x: Any
    y: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    name: str
    address: Any = None
    tags: tuple[Any, ...] = ()
    shown: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "shown", self.name.upper())


class Pair(NamedTuple):
    left: Any
    right: Any = 0


Triple = namedtuple("Triple", "a b c")


@dataclass
class Picky:
    count: int

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count is negative")


class User:
    pass


def dumps(*args: Any, limit: Any = LIMIT, **kwargs: Any) -> Any:
    return dumps_call(args, kwargs, limit=limit, name="shop.mail:send")


def there_and_back(value: Any) -> Any:
    text = dumps(value, key=value)
    json.loads(text, parse_constant=pytest.fail)
    text.encode()
    args, kwargs = loads_call(text)
    [back] = args
    assert exact(kwargs) == exact({"key": back})
    assert exact(loads_value(dumps_value(value, limit=LIMIT))) == exact(back)
    return back


def exact(value: Any) -> Any:
    """The value as something that is equal only where type and value are the same, all the way down."""
    kind = type(value)
    if kind is float or kind is Decimal:
        return kind, repr(value)
    if kind in (list, tuple, Pair, Triple):
        return kind, [exact(item) for item in value]
    if kind in (set, frozenset):
        return kind, sorted(repr(exact(item)) for item in value)
    if kind is dict:
        return kind, [(exact(key), exact(item)) for key, item in value.items()]
    if kind in (datetime, time):
        zone = value.tzinfo
        name = (zone.key if type(zone) is ZoneInfo else zone.__getinitargs__()) if zone else None
        return kind, value.replace(tzinfo=None).isoformat(), value.fold, type(zone), name
    if kind in (Point, Customer):
        return kind, [exact(getattr(value, field.name)) for field in dataclasses.fields(kind)]
    return kind, value


# --- round trips


def opaque(strategy: Any) -> Any:
    """The same values under a short name: Hypothesis prints what it retries, and warns when that is 30 kB."""

    @st.composite
    def drawn(draw: Any) -> Any:
        return draw(strategy)

    return drawn()


zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))),
    st.builds(timezone, st.just(timedelta(hours=2)), st.sampled_from(["EET", "", "ü"])),
    st.sampled_from(["Europe/Paris", "America/New_York", "Asia/Kathmandu", "UTC"]).map(ZoneInfo),
)
text = st.text(st.characters(exclude_categories=())) | st.text(string.printable) | st.just("$")
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers().map(lambda number: number * 10**699),
    st.floats(),
    text,
    st.binary(),
    st.dates(),
    st.timedeltas(),
    st.datetimes(timezones=zones, allow_imaginary=True),
    st.times(timezones=zones.filter(lambda zone: not isinstance(zone, ZoneInfo))),
    st.uuids(),
    st.decimals(),
    st.sampled_from([*Colour, *Size, *Plan, *Access, *Mode, Shop.Day.MONDAY, Colour.AZURE]),
    st.sampled_from([Access.READ | Access.RUN, Access(0), ~Access.READ, Mode.A | Mode.B, Mode(0), Mode(64), Mode(-1)]),
    text.filter(lambda name: "\0" not in name).map(PurePosixPath),
    text.filter(lambda name: "\0" not in name).map(PureWindowsPath),
    text.filter(lambda name: "\0" not in name).map(Path),
    zones.filter(bool),
)


def can_be_a_key(value: Any) -> Any:
    """Not a NaN: two are never equal, and some have no hash."""
    return not (isinstance(value, float | Decimal) and "nan" in str(value).lower())


def key_containers(inner: Any) -> Any:
    return st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Pair, inner, inner),
        st.builds(Customer, name=st.text(), address=inner),
    )


def containers(inner: Any) -> Any:
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(opaque(text), inner, max_size=4),
        st.dictionaries(keys, inner, max_size=3),
        st.sets(keys, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Customer, name=st.text(), address=inner, tags=st.lists(inner, max_size=2).map(tuple)),
        st.builds(Pair, inner, inner),
        st.builds(Triple, inner, inner, inner),
    )


keys = opaque(
    st.recursive(
        opaque(scalars.filter(can_be_a_key)), lambda inner: opaque(key_containers(opaque(inner))), max_leaves=4
    )
)
values = st.recursive(
    opaque(scalars | st.binary().map(bytearray)), lambda inner: opaque(containers(opaque(inner))), max_leaves=8
)


@settings(max_examples=300, deadline=None)
@given(values)
def test_every_storable_value_comes_back_equal_in_type_and_value(value: Any) -> None:
    assert exact(there_and_back(value)) == exact(value)


@settings(deadline=None)
@given(st.lists(scalars, max_size=4), st.dictionaries(text, scalars, max_size=4))
def test_calls_come_back(args: Any, kwargs: Any) -> None:
    back = loads_call(dumps_call(tuple(args), kwargs, limit=LIMIT, name="f"))
    assert (exact(back[0]), exact(back[1])) == (exact(args), exact(kwargs))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_json_has_is_written_as_json(value: Any) -> None:
    if "$" not in repr(value):
        assert json.loads(dumps_value(value, limit=LIMIT)) == value


@pytest.mark.parametrize(
    "value",
    [
        {"$": 1},
        {"$": ["date", "2027-01-31"]},
        {"$": ["parent_result", None]},
        {"$": ["no such tag", None], "more": 1},
        {"a": {"$": {"$": [{"$": None}]}}},
        [{"$": (1, 2)}],
        {1: "int", "1": "str", (1,): "tuple", None: "none", 2.5: "float", frozenset({1}): "set"},
        {Size.SMALL: 1},
        {"\ud800": 1, "$": 2},
        ["parent_result", None],
        (["parent_result", None], '{"$":["parent_result",null]}'),
        '{"$":["date","2027-01-31"]}',
        "\ud83d\ude00",  # two surrogates, which JSON would join
        "\x00\x7f\u2028\U0001f600é",
        10**5000,
        -(16**4000),
        [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324],
        [[], {}, (), set(), frozenset(), b"", bytearray()],
        [True, 1, 1.0],
        Decimal("-0E+3"),
        Decimal("sNaN12"),
        datetime(2027, 10, 31, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")),
        datetime(2027, 10, 31, 2, 30, fold=1),  # noqa: DTZ001
        datetime(2027, 1, 1, tzinfo=timezone(timedelta(microseconds=1))),
        time(2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")),
        datetime.max.replace(tzinfo=UTC),
        date.min,
        timedelta.min,
        Point(Point(Point(1))),
        Shop.Order(3),
        Path("/tmp/\udcff"),
        Path(),
        UUID(int=0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_corner_cases_come_back(value: Any) -> None:
    assert exact(there_and_back(value)) == exact(value)


def test_what_is_single_stays_single() -> None:
    for value in (Colour.RED, Access.READ, ZoneInfo("Asia/Tokyo"), UTC):
        assert there_and_back(value) is value


def test_simple_calls_are_short() -> None:
    assert dumps(1, "welcome", template="x") == '[[1,"welcome"],{"template":"x"}]'
    assert dumps() == "[[],{}]"
    assert dumps("é") == '[["é"],{}]'
    assert dumps(date(2027, 1, 31)) == '[[{"$":["date","2027-01-31"]}],{}]'
    assert dumps(Size.SMALL) == '[[{"$":["enum",["HERE:Size","SMALL"]]}],{}]'.replace("HERE", HERE)
    assert dumps_value(None, limit=0 + 4) == "null"


def test_equal_sets_have_equal_texts_in_every_process() -> None:
    script = "from embedq.serializers import *\nprint(dumps_value({'a', 'b', 'c', 'd', 1, None, (2, 'x')}, limit=1000))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


def test_a_test_with_a_frozen_clock_can_enqueue() -> None:
    real = datetime(2027, 1, 1, tzinfo=UTC)
    freezegun = pytest.importorskip("freezegun")
    with freezegun.freeze_time("2027-01-01"):
        import datetime as frozen

        moment = frozen.datetime.now(UTC)
        assert type(moment) is not type(real)
        assert exact(loads_value(dumps_value(moment, limit=LIMIT))) == exact(real)
        assert exact(loads_value(dumps_value([real, moment.date()], limit=LIMIT))) == exact([real, real.date()])
    assert there_and_back(real) == real


# --- the parent's result


def test_the_parents_result_takes_its_place_wherever_it_stands() -> None:
    stored = dumps(PARENT_RESULT, [1, {"a": (PARENT_RESULT,)}], Point(PARENT_RESULT), key=PARENT_RESULT)
    args, kwargs = loads_call(stored, parent_result=lambda: [7])
    assert args == [[7], [1, {"a": ([7],)}], Point([7])]
    assert kwargs == {"key": [7]}
    assert args[0] is not kwargs["key"]
    assert loads_call(dumps(1, date(2027, 1, 1)), parent_result=pytest.fail)[0] == [1, date(2027, 1, 1)]


def test_the_parents_result_needs_a_parent() -> None:
    with pytest.raises(ValueError, match=r"embedq\.PARENT_RESULT is an argument of a job that is not a continuation"):
        loads_call(dumps(PARENT_RESULT))
    with pytest.raises(UnstorableArgumentError, match="is an argument and not a result"):
        dumps_value({"a": [PARENT_RESULT]}, limit=LIMIT)


def test_what_the_parents_result_raises_is_raised() -> None:
    def gone() -> None:
        raise LookupError("pruned")

    with pytest.raises(LookupError, match="pruned"):
        loads_call(dumps((PARENT_RESULT,)), parent_result=gone)


def test_the_parents_result_is_one_object_everywhere() -> None:
    assert repr(PARENT_RESULT) == "embedq.PARENT_RESULT"
    assert pickle.loads(pickle.dumps(PARENT_RESULT)) is PARENT_RESULT
    assert copy.deepcopy([PARENT_RESULT])[0] is PARENT_RESULT


# --- refusals


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        ((User(),), {}, "argument args[0] of shop.mail:send: "),
        ((1, [{"a": [0, 1, User()]}]), {}, "argument args[1][0]['a'][2] of"),
        ((), {"user": User()}, "argument 'user' of shop.mail:send: "),
        ((), {"user": {"a": (1, User())}}, "argument 'user'['a'][1] of"),
        ((Point(1, [User()]),), {}, "argument args[0].y[0] of"),
        ((Pair(1, User()),), {}, "argument args[0].right of"),
        (({User()},), {}, "argument args[0] (an item of the set) of"),
        (({User: 1},), {}, f"argument args[0] (the key <class '{HERE}.User'>) of"),
        (({(1, 2): User()},), {}, "argument args[0][(1, 2)] of"),
        ((), {"$": User()}, "argument '$' of"),
    ],
)
def test_what_cannot_be_stored_is_named_with_its_path(args: Any, kwargs: Any, path: Any) -> None:
    with pytest.raises(UnstorableArgumentError) as caught:
        dumps_call(args, kwargs, limit=LIMIT, name="shop.mail:send")
    assert str(caught.value).startswith(path)


def test_the_usual_mistake_has_the_usual_advice() -> None:
    with pytest.raises(UnstorableArgumentError) as caught:
        dumps(user=User())
    assert str(caught.value) == (
        "argument 'user' of shop.mail:send: User is not storable; pass an id and load it in the job"
    )
    with pytest.raises(UnstorableArgumentError) as caught:
        dumps_value({"a": [User()]}, limit=LIMIT)
    assert str(caught.value) == "the result['a'][0]: User is not storable; return plain values, or an id"


class HttpRequest:
    pass


class FlaskRequest(HttpRequest):
    pass


class AsyncSession:
    pass


class Article:
    __mapper__ = "an SQLAlchemy model has one"


@dataclass
class MappedArticle:
    id: int
    __mapper__ = "an SQLAlchemy model that is a dataclass too"


class Label(str):
    pass


class SubInt(int):
    pass


class Dotted(dict[str, Any]):
    def __getattr__(self, name: Any) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]


class Shouting(str):
    def __str__(self) -> str:
        return "SHOUTED"


class Halved(list[int]):
    """As Django's ErrorList: it is a list that shows something else than it holds."""

    def __iter__(self) -> Any:
        return iter([1])


class UnboundProxy:
    """As werkzeug's LocalProxy outside of a request."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("working outside of request context")

    def __getattr__(self, name: Any) -> None:
        raise RuntimeError("working outside of request context")


async def coroutine() -> None:
    pass


def generator() -> Iterator[int]:
    yield 1


class MovingZone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)


# Values that no annotated program makes.
make_enum: Any = Enum
make_dataclass: Any = dataclass
make_namedtuple: Any = namedtuple
make_zone: Any = MovingZone


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (Article(), "Article is not storable; pass its id and load it in the job, where it is fresh"),
        (MappedArticle(1), "pass its id and load it in the job"),
        (io.StringIO(), "StringIO is not storable; pass its path and open it in the job"),
        (FlaskRequest(), "pass the values that the job needs from it"),
        (AsyncSession(), "pass what it takes to connect, and connect in the job"),
        (generator(), "generator is not storable; pass list"),
        (map(str, []), "pass list"),
        ({}.keys(), "pass list"),
        (range(3), "pass list"),
        (deque(), "pass list"),
        (threading.Lock(), "a lock lives in one process"),
        (threading.RLock(), "a lock lives in one process"),
        (threading.Condition(), "a lock lives in one process"),
        (threading.Event(), "an event lives in one process"),
        (logging.getLogger("x"), "pass its name"),
        (len, "pass its name"),
        (generator, "pass its name"),
        (User, "type is not storable; pass its name"),
        (json, "pass its name"),
        (ValueError("x"), "pass str"),
        (memoryview(b""), "pass bytes"),
        (concurrent.futures.Future(), r"pass its result\(\)"),
        (types.MappingProxyType({}), r"pass dict\(\) of it"),
        (UserDict(), r"UserDict is not storable; pass dict\(\) of it"),
        (os.stat(__file__), r"stat_result is not storable; pass tuple\(\) of it"),
        (MultiDict([("a", 1), ("a", 2)]), r"returns other values than it contains; pass dict\(value.lists\(\)\)"),
        (MultiValueDict({"a": [1, 2]}), r"pass dict\(value.lists\(\)\)"),
        (Halved([1, 2]), r"Halved returns other values than it contains; pass list\(\) of it"),
        (gettext_lazy("x"), r"pass str\(\) of it, in the language that is active"),
        (numpy.array([1]), r"pass its tolist\(\)"),
        (numpy.complex128(1), r"complex128 is not storable; pass str\(\) of it"),
        (numpy.longdouble(1), r"longdouble is not storable; pass str\(\) of it"),
        (Fraction(1, 2), "pass an id"),
        (1j, "pass an id"),
        (object(), "pass an id"),
        (
            datetime(2027, 1, 1, tzinfo=make_zone()),
            rf"zone of a datetime is a {HERE}.MovingZone; .*astimezone",
        ),
        (time(1, tzinfo=make_zone()), "zone of a time is"),
        (make_enum("Local", "A").A, "cannot be found by its name"),
        (make_dataclass(type("Local", (), {}))(), "cannot be found by its name"),
        (make_namedtuple("Local", "a")(1), "cannot be found by its name"),
    ],
)
def test_common_mistakes_have_advice_of_their_own(value: Any, advice: Any) -> None:
    for nested in (value, [value], {"a": value}):
        with pytest.raises(UnstorableArgumentError, match=advice):
            dumps(nested)


def _moved(order: OrderedDict[str, int]) -> OrderedDict[str, int]:
    order.move_to_end("a")
    return order


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Label("é"), "é"),
        (Label("\ud800"), "\ud800"),
        (Shouting("quiet"), "quiet"),
        (mark_safe("<b>"), "<b>"),
        (Markup("<b>"), "<b>"),
        (SubInt(7), 7),
        (SubInt(1 << 2001), 1 << 2001),
        (type("Weight", (float,), {})(1.5), 1.5),
        (numpy.float64(1.5), 1.5),
        (numpy.int64(7), 7),
        (numpy.bool_(True), True),
        (numpy.str_("x"), "x"),
        (_moved(OrderedDict(a=1, b=2)), {"b": 2, "a": 1}),
        (defaultdict(list, {"a": [Label("b")]}), {"a": ["b"]}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (Dotted({"$": SubInt(1)}), {"$": 1}),
        ({Label("key"): 1, SubInt(2): 3}, {"key": 1, 2: 3}),
        (MultiDict(), {}),
        (type("Names", (list,), {})(["a"]), ["a"]),
        (type("Pair", (tuple,), {})((1, 2)), (1, 2)),
        (type("Ids", (set,), {})({1}), {1}),
        (type("Ids", (frozenset,), {})({1}), frozenset({1})),
        (type("Digest", (bytes,), {})(b"x"), b"x"),
        (type("Buffer", (bytearray,), {})(b"x"), bytearray(b"x")),
        (type("OtherUUID", (UUID,), {})(int=5), UUID(int=5)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_extends_a_plain_type_comes_back_as_the_plain_value(value: Any, plain: Any) -> None:
    for stored, expected in ((value, plain), ([value], [plain]), ({"a": value}, {"a": plain})):
        assert exact(there_and_back(stored)) == exact(expected)
        assert exact(loads_value(dumps_value(stored, limit=LIMIT))) == exact(expected)


def test_classes_that_are_made_anew_each_time_do_not_stay() -> None:
    made = weakref.ref(kind := type("Passing", (str,), {}))
    dumps(kind("x"))
    del kind
    gc.collect()
    assert made() is None


def test_a_proxy_is_refused_without_being_resolved() -> None:
    with pytest.raises(UnstorableArgumentError, match="UnboundProxy is not storable; pass an id"):
        dumps(UnboundProxy())


def test_things_that_must_be_closed_have_advice_too(tmp_path: Path) -> None:
    pending = coroutine()
    loop = asyncio.new_event_loop()
    opened: list[tuple[Any, str]] = [(open(tmp_path / "x", "w"), "its path"), (socket.socket(), "connect in the job")]  # noqa: SIM115
    opened += [(sqlite3.connect(":memory:"), "connect in the job"), (pending, "what it returns, awaited")]
    try:
        with pytest.raises(UnstorableArgumentError, match="what it gives, awaited"):
            dumps(loop.create_future())
        for value, advice in opened:
            with pytest.raises(UnstorableArgumentError, match=advice):
                dumps(value)
    finally:
        loop.close()
        for value, _ in opened:
            value.close()


class Undecorated(Point):
    pass


@dataclass(init=False)
class OwnInit:
    x: int


@dataclass
class NeedsMore:
    x: int
    database: dataclasses.InitVar[Any]


@dataclass
class Bag(dict[str, int]):
    x: int = 0


def test_a_dataclass_that_is_more_or_less_than_its_fields_is_refused() -> None:
    unset = Shop.Order(1)
    del unset.id
    for value, message in (
        (Undecorated(1), "Undecorated extends a dataclass, but is not one itself"),
        (OwnInit(), "no generated __init__"),
        (NeedsMore(1, None), "does not keep its InitVar 'database'"),
        (Bag(), "Bag has more than its fields"),
        (unset, "a field is not set"),
    ):
        with pytest.raises(UnstorableArgumentError, match=message):
            dumps(value)


def test_what_contains_itself_is_refused() -> None:
    loop: list[Any] = [1]
    loop.append({"a": (loop,)})
    with pytest.raises(
        UnstorableArgumentError,
        match=r"argument args\[0\](\[1\]|\[1\]\['a'\])? of .*: this (list|dict|tuple) contains itself",
    ):
        dumps(loop)
    point = Point(1)
    point.y = [point]
    with pytest.raises(UnstorableArgumentError, match=r"argument 'p'.* contains itself"):
        dumps(p=point)


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: (inner,), Point])
def test_depth_has_a_limit_and_up_to_it_all_is_well(wrap: Any) -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = wrap(value)
    assert there_and_back(value) == value
    for call in (
        lambda: dumps(wrap(value)),
        lambda: dumps(a=wrap(value)),
        lambda: dumps_value(wrap(value), limit=LIMIT),
    ):
        with pytest.raises(UnstorableArgumentError, match=f"nested more than {MAX_DEPTH} levels"):
            call()


def test_depth_is_refused_cleanly_on_a_nearly_full_stack() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = Point(value)

    def deeper(levels: Any) -> Any:
        return deeper(levels - 1) if levels else dumps(value)

    outcomes = set()
    for levels in range(100, sys.getrecursionlimit(), 20):
        try:
            deeper(levels)
        except (UnstorableArgumentError, RecursionError) as error:
            outcomes.add(str(error).partition(": ")[2].partition(";")[0])
        else:
            outcomes.add("stored")
    # The last: where not even the call of dumps fits.
    assert outcomes == {"stored", "it is nested too deep for what is left of the stack", ""}


def test_what_is_too_large_is_refused_with_sizes() -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        dumps(1, image="x" * 2000, limit=1000)
    assert str(caught.value) == (
        "the arguments of shop.mail:send take 2,018 bytes, most of it 'image', over the limit of 1,000; "
        "put large data in a file or a table and pass its path or id, or raise max_payload_bytes"
    )
    with pytest.raises(PayloadTooLargeError, match=r"the result takes 1,002 bytes, over"):
        dumps_value("x" * 1000, limit=1000)


def test_the_limit_counts_bytes() -> None:
    assert dumps("é" * 10, limit=29)
    with pytest.raises(PayloadTooLargeError, match="take 29 bytes"):
        dumps("é" * 10, limit=28)
    with pytest.raises(PayloadTooLargeError):
        dumps(b"x" * 10, limit=27)


def test_refusals_are_enqueue_errors() -> None:
    assert issubclass(UnstorableArgumentError, EnqueueError)
    assert issubclass(PayloadTooLargeError, EnqueueError)


# --- hostile and foreign text


def tag(name: Any, body: Any) -> Any:
    return json.dumps({"$": [name, body]})


@pytest.mark.parametrize("kind", ["enum", "dataclass", "namedtuple"])
@pytest.mark.parametrize(
    "name",
    [
        *(
            "os:system",
            "os:environ",
            "os:_Environ",
            "subprocess:Popen",
            "builtins:exec",
            "builtins:tuple",
            "builtins:dict",
        ),
        *(f"{HERE}:User", f"{HERE}:dumps", f"{HERE}:Label", "pathlib:Path", "enum:Enum"),
        *("no_such_module:X", "antigravity:X", f"{HERE}:", ":", "", f"{HERE}:Shop.Day.MONDAY.value"),
        *(f"{HERE}:Undecorated", "time:struct_time", "os:stat_result"),
    ],
)
def test_only_known_kinds_of_types_are_taken(kind: Any, name: Any) -> None:
    for body in ({}, [], "A", 1, {"x": 1}, ["echo hacked"]):
        with pytest.raises((UnknownTypeError, ValueError)):
            loads_value(tag(kind, [name, body]))
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("kind", "reason"), [("enum", "not an enum"), ("dataclass", "not a dataclass"), ("namedtuple", "not a named tuple")]
)
@pytest.mark.parametrize(
    "name",
    [
        *("os:system", "os:environ", "builtins:exec", "builtins:dict", "os:stat_result", "builtins:tuple"),
        *(f"{HERE}:User", f"{HERE}:dumps", f"{HERE}:Label", f"{HERE}:Undecorated"),
    ],
)
def test_what_is_imported_and_of_another_kind_is_refused_for_that(kind: Any, name: Any, reason: Any) -> None:
    """The reason shows that it was found: a name that is not there would be refused as well."""
    with pytest.raises(UnknownTypeError, match=f"cannot be read here: it is {reason}") as caught:
        loads_value(tag(kind, [name, {}]))
    assert caught.value.needs == f"type {name}"


def test_a_type_that_is_not_imported_is_named_and_not_imported() -> None:
    with pytest.raises(UnknownTypeError, match=r"'wave:Wave_read' cannot be read here: it is not imported") as caught:
        loads_value(tag("dataclass", ["wave:Wave_read", {}]))
    assert caught.value.needs == "type wave:Wave_read"
    assert isinstance(caught.value, ParkError)
    assert "wave" not in sys.modules


def test_a_module_that_would_import_on_access_is_not_accessed(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("lazy_types")
    module.__getattr__ = pytest.fail
    monkeypatch.setitem(sys.modules, "lazy_types", module)
    with pytest.raises(UnknownTypeError):
        loads_value(tag("dataclass", ["lazy_types:Thing", {}]))


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("enum", [f"{HERE}:Colour", "GREEN"], "it has no member 'GREEN'"),
        ("enum", [f"{HERE}:Colour", 1], "it has no member 1"),
        ("enum", [f"{HERE}:Access", 4096], "invalid value 4096"),
        ("enum", [f"{HERE}:Point", "x"], "it is not an enum"),
        ("dataclass", [f"{HERE}:Point", {"x": 1, "z": 2}], "it has no field 'z'"),
        ("dataclass", [f"{HERE}:Point", {"y": 1}], "missing 1 required positional argument: 'x'"),
        ("dataclass", [f"{HERE}:Customer", {"name": "a", "shown": "B"}], "it has no field 'shown'"),
        ("dataclass", [f"{HERE}:Picky", {"count": -1}], "ValueError: count is negative"),
        ("dataclass", [f"{HERE}:Picky", {"count": "x"}], "TypeError"),
        ("namedtuple", [f"{HERE}:Pair", [1]], "1 values were stored and it has 2 fields"),
    ],
)
def test_a_type_that_has_changed_states_how(kind: Any, body: Any, reason: Any) -> None:
    with pytest.raises(UnknownTypeError, match=reason) as caught:
        loads_value(tag(kind, body))
    assert caught.value.needs == f"type {body[0]}"


def test_what_a_newer_version_wrote_is_kept_for_it() -> None:
    with pytest.raises(UnknownTypeError, match="no stored type 'complex' here; a newer embedq wrote it") as caught:
        loads_value(tag("complex", [1, 2]))
    assert caught.value.needs == "stored type complex"
    with pytest.raises(UnknownTypeError, match="no time zone 'Mars/Olympus' here") as caught:
        loads_value(tag("zone", "Mars/Olympus"))
    assert caught.value.needs == "time zone Mars/Olympus"


TAGS = [
    *("str", "int", "float", "dict", "tuple", "set", "frozenset", "bytes", "bytearray", "datetime", "time", "date"),
    *("timedelta", "timezone", "zone", "uuid", "decimal", "path", "posixpath", "windowspath", "enum", "namedtuple"),
    *("dataclass", "parent_result", "unknown"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(f"{HERE}:Point"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3) | st.just("$"), inner, max_size=3)
        | st.tuples(st.sampled_from(TAGS), inner).map(lambda pair: {"$": list(pair)})
    ),
    max_leaves=10,
)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(TAGS), json_values)
def test_malformed_tags_are_value_errors_or_wait_for_another_process(name: Any, body: Any) -> None:
    try:
        loads_value(tag(name, body))
    except (ValueError, ParkError):
        pass


@pytest.mark.parametrize("name", [name for name in TAGS if name not in ("unknown", "parent_result")])
@pytest.mark.parametrize(
    "body", [None, 1, 1e400, {}, {"a": 1}, "!", "é", [1], [None, None], [[], {}], [1, 2, 3, 4], [["a"]]]
)
def test_no_tag_takes_just_any_body(name: Any, body: Any) -> None:
    try:
        value = loads_value(tag(name, body).replace("Infinity", "1e400"))
    except (ValueError, UnknownTypeError):
        return
    # What it did take, it can write.
    assert exact(there_and_back(value)) == exact(value)


@pytest.mark.parametrize(
    "stored",
    [
        *("", " ", "{", "[1", "nul", "[[],{}] x", "[[],{}]]", "1" * 5000, "[" * 100_000, '{"$":' * 100_000),
        *(
            '{"$":1}',
            '{"$":[]}',
            '{"$":["date"]}',
            '{"$":["date","2027-01-31"],"a":1}',
            '{"$":[1,2]}',
            '{"$":["a",1,2]}',
        ),
    ],
)
def test_text_that_is_not_ours_is_a_value_error(stored: Any) -> None:
    with pytest.raises(ValueError):
        loads_value(stored)


@pytest.mark.parametrize(
    "stored",
    [
        *("null", "[]", "[[]]", "[[],[]]", "[{},{}]", "[[],{},1]"),
        *('{"$":["tuple",[[],{}]]}', '[[],{"$":["dict",[[1,2]]]}]', '[{"$":["tuple",[]]},{}]'),
    ],
)
def test_arguments_must_be_two(stored: Any) -> None:
    with pytest.raises(ValueError, match="not a list of two"):
        loads_call(stored)


def test_a_tag_is_spelled_in_one_way_and_any_other_is_data() -> None:
    assert loads_value('{"\\u0024":["date","2027-01-31"]}') == {"$": ["date", "2027-01-31"]}


# --- types of the running script


def test_types_of_a_script_are_stored_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import sys\n"
        "from dataclasses import dataclass\n"
        "from embedq.serializers import *\n"
        "@dataclass\n"
        "class Order:\n"
        "    id: int\n"
        "if __name__ == '__main__':\n"
        "    text = dumps_call((Order(1),), {}, limit=1000, name='x')\n"
        "    import shop\n"
        "    assert dumps_call((shop.Order(1),), {}, limit=1000, name='x') == text\n"
        "    assert type(loads_call(text)[0][0]) is Order\n"
        "    print(text)\n"
    )
    done = subprocess.run(
        [sys.executable, "shop.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == '[[{"$":["dataclass",["shop:Order",{"id":1}]]}],{}]'
