"""Tags for values that JSON has no form for: any value becomes one that JSON can write, or is refused with advice.

One table has the tag of each exact type. It grows by the types that occur: enums, dataclasses
and named tuples, which come back as what they were, and other subclasses of plain types, which come back as the plain
type. The reader of each tag is in decoding.py: add to both.
"""

from __future__ import annotations

import dataclasses
import math
from binascii import b2a_base64
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum, Flag
from functools import cache
from json import JSONEncoder
from typing import Any

from embedq.serializers.advice import instead_of, is_mapped
from embedq.serializers.tags import KEY, ParentResult
from embedq.tasks.functions import name_of

# Converts a value, with its depth, to one that JSON can write.
Tagger = Callable[[Any, int], Any]

MAX_DEPTH = 100

# Python refuses to read a decimal number with more digits than its limit, which may be as low as 640.
_LONGEST_DECIMAL_BITS = 2000

encode = JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode


class Refusal(Exception):
    """A value cannot be stored.

    Attributes:
        reason: what is wrong with it.
        instead: what to pass in its place; None if only an id would do.
    """

    def __init__(self, reason: str, instead: str | None = None, container: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.instead = instead
        self._container = container
        self._steps: list[str] = []

    @property
    def path(self) -> str:
        """The position of the value, as far as it is known: `args[1]['a'][2]`."""
        return "".join(reversed(self._steps))

    def passes(self, container: Any, step: str) -> None:
        """Add a container to the path, in which `step` leads to the value."""
        if container is self._container:
            # The one that was too deep is also further out.
            self.reason = f"this {type(container).__qualname__} contains itself"
            self._steps.clear()
        else:
            self._steps.append(step)


def tag_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return what JSON can write in place of `[args, kwargs]`.

    Raises:
        Refusal: an argument has no stored form.
    """
    names = list(kwargs)
    tagged_args = _tag_each(args, args, -1, "args[{}]".format)
    tagged_names = _tag_each(kwargs, names, -1, lambda index: repr(names[index]))
    tagged_values = _tag_each(kwargs, kwargs.values(), -1, lambda index: repr(names[index]))
    return [tagged_args, _mapping(tagged_names, tagged_values)]


def tag_value(value: Any) -> Any:
    """Return what JSON can write in place of `value`.

    Raises:
        Refusal: it, or something in it, has no stored form.
    """
    return _tag(value, 0)


def _tag(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return value if _is_unicode(value) else _tagged("str", _base64(value.encode("utf-8", "surrogatepass")))
    if kind is int:
        return value if value.bit_length() <= _LONGEST_DECIMAL_BITS else _tagged("int", hex(value))
    if kind is float:
        return value if math.isfinite(value) else _tagged("float", repr(value))
    if value is None or kind is bool:
        return value
    tagger = _taggers.get(kind) or _tagger_of(kind)
    return tagger(value, depth)


def _tagged(tag: str, body: Any) -> dict[str, Any]:
    return {KEY: [tag, body]}


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _base64(data: bytes | bytearray) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


def _tag_each(container: Any, items: Iterable[Any], depth: int, step: Callable[[int], str]) -> list[Any]:
    """Tag the items of a container; `step` returns the path step to an item, by its number."""
    if depth >= MAX_DEPTH:
        raise Refusal(f"it is nested more than {MAX_DEPTH} levels deep", container=container)
    tagged: list[Any] = []
    try:
        for item in items:
            tagged.append(_tag(item, depth + 1))
    except Refusal as refusal:
        refusal.passes(container, step(len(tagged)))
        raise
    return tagged


def _mapping(keys: list[Any], values: list[Any]) -> Any:
    if KEY not in keys and all(type(key) is str for key in keys):
        return dict(zip(keys, values, strict=True))
    return _tagged("dict", [list(pair) for pair in zip(keys, values, strict=True)])


def _tag_dict(value: dict[Any, Any], depth: int) -> Any:
    keys = list(value)
    tagged_keys = _tag_each(value, keys, depth, lambda index: f" (the key {keys[index]!r:.100})")
    return _mapping(tagged_keys, _tag_each(value, value.values(), depth, lambda index: f"[{keys[index]!r:.100}]"))


def _tag_sequence(value: Iterable[Any], depth: int) -> list[Any]:
    return _tag_each(value, value, depth, "[{}]".format)


def plain_tagger(kind: type) -> Tagger | None:
    """Return how instances of a subclass of a plain type, such as Django's SafeString, are tagged: as that type. None
    for any other type.
    """
    for base, tagger in _PLAIN.items():
        # Those defined in C, such as os.stat_result, have fields besides their items.
        if issubclass(kind, base) and not hasattr(kind, "n_unnamed_fields"):
            return tagger
    from uuid import UUID

    # As asyncpg's.
    if issubclass(kind, UUID):
        return _library_taggers()[UUID]
    # Of NumPy's numbers only float64 extends one of Python's.
    if any(base.__module__ == "numpy" and base.__name__ in ("number", "bool", "bool_") for base in kind.__mro__):
        return _tag_numpy_number
    return None


def _tag_numpy_number(value: Any, depth: int) -> Any:
    number = value.item()
    if type(number) not in (bool, int, float):
        raise Refusal(f"{type(value).__qualname__} is not storable", "str() of it")
    return _tag(number, depth)


def _tag_dict_subclass(value: Any, depth: int) -> Any:
    """In its own order, as an OrderedDict has one."""
    given = dict(value.items())
    _require_same(value, given, {key: dict.__getitem__(value, key) for key in dict.__iter__(value)}, "dict() of it")
    keys = list(given)
    tagged_keys = _tag_each(value, keys, depth, lambda index: f" (the key {keys[index]!r:.100})")
    return _mapping(tagged_keys, _tag_each(value, given.values(), depth, lambda index: f"[{keys[index]!r:.100}]"))


def _tag_list_subclass(value: Any, depth: int) -> list[Any]:
    given = list(iter(value))
    _require_same(value, given, list(list.__iter__(value)), "list() of it")
    return _tag_each(value, given, depth, "[{}]".format)


def _require_same(value: Any, given: Any, contained: Any, instead: str) -> None:
    """Refuse a container that returns other values than it contains, as a MultiDict does: some would be lost."""
    if given != contained:
        if callable(getattr(type(value), "lists", None)):
            instead = "dict(value.lists()), which has all values of each key"
        raise Refusal(f"{type(value).__qualname__} returns other values than it contains", instead)


def _tag_set(value: Iterable[Any], depth: int) -> list[Any]:
    # In a fixed order, so that equal sets have equal texts in every process.
    return sorted(_tag_each(value, value, depth, lambda index: " (an item of the set)"), key=encode)


def _moment_tagger(name: str) -> Tagger:
    def tag(value: datetime | time, depth: int) -> Any:
        zone = value.tzinfo
        if not value.fold and (zone is None or _is_plain_offset(zone)):
            return _tagged(name, value.isoformat())
        try:
            tagged_zone = _tag(zone, depth)
        except Refusal:
            raise Refusal(
                f"the time zone of a {name} is a {type(zone).__module__}.{type(zone).__qualname__}",
                "one with a zoneinfo.ZoneInfo, or in UTC: moment.astimezone(datetime.UTC)",
            ) from None
        return _tagged(name, [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, tagged_zone])

    return tag


def _is_plain_offset(zone: tzinfo) -> bool:
    """Whether ISO 8601 can express it completely."""
    # CPython reads an offset of less than a second as UTC.
    return type(zone) is timezone and len(args := _timezone_args(zone)) == 1 and not args[0].microseconds


def _timezone_args(zone: timezone) -> tuple[Any, ...]:
    """Return the arguments of an equal timezone: its offset, and its name if it was given one."""
    return zone.__getinitargs__()  # type: ignore[attr-defined, no-any-return]


def _tag_zone(value: Any, depth: int) -> Any:
    if value.key is None:
        raise Refusal("a ZoneInfo that was read from a file has no key", 'one by its key: ZoneInfo("Asia/Tokyo")')
    return _tagged("zone", value.key)


# By exact type. It grows by the types that occur; only those with an importable name are added, so it stays small.
_taggers: dict[type, Tagger] = {
    list: _tag_sequence,
    dict: _tag_dict,
    tuple: lambda value, depth: _tagged("tuple", _tag_sequence(value, depth)),
    set: lambda value, depth: _tagged("set", _tag_set(value, depth)),
    frozenset: lambda value, depth: _tagged("frozenset", _tag_set(value, depth)),
    bytes: lambda value, depth: _tagged("bytes", _base64(value)),
    bytearray: lambda value, depth: _tagged("bytearray", _base64(value)),
    datetime: _moment_tagger("datetime"),
    time: _moment_tagger("time"),
    date: lambda value, depth: _tagged("date", value.isoformat()),
    timedelta: lambda value, depth: _tagged("timedelta", [value.days, value.seconds, value.microseconds]),
    timezone: lambda value, depth: _tagged("timezone", _tag_sequence(_timezone_args(value), depth)),
    ParentResult: lambda value, depth: _tagged("parent_result", None),
}


# By the plain type that a class extends.
_PLAIN: dict[type, Tagger] = {
    # The plain type's own methods, not str(), which a subclass may override.
    str: lambda value, depth: _tag(str.__str__(value), depth),
    int: lambda value, depth: _tag(int.__int__(value), depth),
    float: lambda value, depth: _tag(float.__float__(value), depth),
    dict: _tag_dict_subclass,
    list: _tag_list_subclass,
    tuple: lambda value, depth: _tagged("tuple", _tag_sequence(value, depth)),
    set: lambda value, depth: _tagged("set", _tag_set(value, depth)),
    frozenset: lambda value, depth: _tagged("frozenset", _tag_set(value, depth)),
    bytes: lambda value, depth: _tagged("bytes", _base64(value)),
    bytearray: lambda value, depth: _tagged("bytearray", _base64(value)),
}


@cache
def _library_taggers() -> dict[type, Tagger]:
    """Add the types whose modules are imported only for the first value that needs them: together they take 15 ms."""
    from decimal import Decimal
    from pathlib import Path, PurePosixPath, PureWindowsPath
    from uuid import UUID
    from zoneinfo import ZoneInfo

    return {
        UUID: lambda value, depth: _tagged("uuid", str(value)),
        Decimal: lambda value, depth: _tagged("decimal", str(value)),
        ZoneInfo: _tag_zone,
        type(Path()): lambda value, depth: _tagged("path", _tag(str(value), depth)),
        PurePosixPath: lambda value, depth: _tagged("posixpath", _tag(str(value), depth)),
        PureWindowsPath: lambda value, depth: _tagged("windowspath", _tag(str(value), depth)),
    }


def _tagger_of(kind: Any) -> Tagger:
    """Return how instances of a type that is not in the table yet are tagged.

    It depends on the type and never on the instance: a proxy's `__class__` may be another, or raise.
    """
    tagger = _tagger_of_its_own(kind)
    if tagger is not None:
        _taggers[kind] = tagger
        return tagger
    tagger = plain_tagger(kind)
    if tagger is None:
        raise Refusal(f"{kind.__qualname__} is not storable", instead_of(kind))
    # A class that is created at each call must not stay in the table.
    if name_of(kind) is not None:
        _taggers[kind] = tagger
    return tagger


def _tagger_of_its_own(kind: Any) -> Tagger | None:
    """Return how instances of a type are tagged that are read back as that type; None if they are not."""
    known = _library_taggers().get(kind)
    if known is not None:
        return known
    if kind.__module__ == "freezegun.api" and kind.__base__ in _taggers:
        # The replacements of datetime and date in a test that freezes the time.
        return _taggers[kind.__base__]
    if issubclass(kind, Enum):
        return _enum_tagger(kind, _type_name(kind))
    if issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple):
        return _named_tuple_tagger(_type_name(kind))
    if hasattr(kind, "__dataclass_fields__") and not is_mapped(kind):
        _require_storable_dataclass(kind)
        return _dataclass_tagger(_type_name(kind), [field.name for field in dataclasses.fields(kind) if field.init])
    return None


def _type_name(kind: type) -> str:
    name = name_of(kind)
    if name is None:
        raise Refusal(
            f"the class {kind.__qualname__} cannot be found by its name",
            "an instance of a class that is defined at the top level of a module",
        )
    return name


def _enum_tagger(kind: Any, name: str) -> Tagger:
    def tag(value: Any, depth: int) -> Any:
        if kind.__members__.get(value._name_) is value:
            return _tagged("enum", [name, value._name_])
        # Several flags at once have no name of their own.
        if isinstance(value, Flag):
            return _tagged("enum", [name, value._value_])
        raise Refusal(f"{value!r} is not a member of {kind.__qualname__}", "a member")

    return tag


def _named_tuple_tagger(name: str) -> Tagger:
    def tag(value: Any, depth: int) -> Any:
        return _tagged("namedtuple", [name, _tag_each(value, value, depth, lambda index: f".{value._fields[index]}")])

    return tag


def _dataclass_tagger(name: str, fields: list[str]) -> Tagger:
    def tag(value: Any, depth: int) -> Any:
        try:
            values = [getattr(value, field) for field in fields]
        except AttributeError as error:
            raise Refusal(f"a field is not set: {error}", "one with all its fields") from None
        tagged = _tag_each(value, values, depth, lambda index: f".{fields[index]}")
        return _tagged("dataclass", [name, dict(zip(fields, tagged, strict=True))])

    return tag


def _require_storable_dataclass(kind: Any) -> None:
    """Refuse dataclasses that have more than their fields."""
    name = kind.__qualname__
    if "__dataclass_fields__" not in vars(kind):
        raise Refusal(f"{name} extends a dataclass, but is not one itself", "one that is decorated with @dataclass")
    if not kind.__dataclass_params__.init:
        raise Refusal(f"the dataclass {name} has no generated __init__ to make it again")
    if issubclass(kind, str | bytes | bytearray | int | float | list | dict | tuple | set | frozenset | BaseException):
        raise Refusal(f"the dataclass {name} has more than its fields", "a dataclass that extends nothing")
    for field in kind.__dataclass_fields__.values():
        is_init_only = field._field_type is dataclasses._FIELD_INITVAR  # type: ignore[attr-defined]
        no_default = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if is_init_only and no_default:
            raise Refusal(f"the dataclass {name} does not keep its InitVar {field.name!r}")
