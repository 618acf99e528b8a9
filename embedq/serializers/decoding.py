"""Reading: text, which may have been altered, back into arguments and results.

Nothing is imported and no pickle is read. A tag becomes its value as soon as everything inside it has been read.
"""

from __future__ import annotations

import dataclasses
import math
from binascii import a2b_base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum, EnumType, Flag
from importlib import import_module
from json import JSONDecoder
from typing import Any, NoReturn

from embedq.errors import UnknownTypeError
from embedq.serializers.tags import KEY, PARENT_RESULT
from embedq.tasks.functions import find_imported

# Converts the body of a tag, in which everything has been read, to the value.
Reader = Callable[[Any], Any]

_KEY_TEXT = f'"{KEY}"'
_TEXT = frozenset({str})


def loads_call(text: str, *, parent_result: Callable[[], Any] | None = None) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments that `dumps_call` wrote: positional ones, and those by name.

    Args:
        parent_result: returns the value for PARENT_RESULT, called once for each; its errors pass through.
    Raises:
        UnknownTypeError: a type is not imported here, is no longer the same, or was written by a newer embedq.
        ValueError: the text is not what `dumps_call` writes, or holds PARENT_RESULT and there is no parent.
    """
    call = _loads(text, parent_result)
    if type(call) is list and len(call) == 2:
        args, kwargs = call
        if type(args) is list and type(kwargs) is dict and _TEXT.issuperset(map(type, kwargs)):
            return args, kwargs
    raise ValueError("the stored arguments are not a list of two, positional and by name")


def loads_value(text: str) -> Any:
    """Return the result that `dumps_value` wrote.

    Raises:
        UnknownTypeError, ValueError: as for `loads_call`.
    """
    return _loads(text, None)


def can_read_tag(tag: str) -> bool:
    """Whether this version of embedq has the tag."""
    return tag in _READERS


def can_read_zone(key: str) -> bool:
    """Whether this process has the time zone."""
    try:
        _read_zone(key)
    except (UnknownTypeError, ValueError):
        return False
    return True


def _loads(text: str, parent_result: Callable[[], Any] | None) -> Any:
    # A tag's key is always written like this. If it is not in the text, no object has to be checked.
    if _KEY_TEXT not in text:
        decoder = _plain_decoder
    elif parent_result is None:
        decoder = _orphan_decoder
    else:
        decoder = JSONDecoder(object_hook=lambda found: _untag(found, parent_result))
    try:
        value, end = decoder.raw_decode(text)
    except RecursionError:
        raise ValueError("the stored text is nested too deep") from None
    if end != len(text):
        raise ValueError(f"the stored text continues after its end, at character {end}")
    return value


def wants_parent_result(text: str) -> bool:
    """Whether PARENT_RESULT is anywhere in a call that `dumps_call` wrote."""
    return f'{{"{KEY}":["parent_result",null]}}' in text


def _no_parent() -> NoReturn:
    raise ValueError(f"{PARENT_RESULT!r} is an argument of a job that is not a continuation")


def _untag(found: dict[str, Any], parent_result: Callable[[], Any] = _no_parent) -> Any:
    """Return the value of a JSON object in which everything has been read."""
    if KEY not in found:
        return found
    content = found[KEY]
    if len(found) != 1 or type(content) is not list or len(content) != 2 or type(content[0]) is not str:
        raise ValueError(f"a stored object with the key {KEY!r} is not a tag")
    tag, body = content
    if tag == "parent_result":
        return parent_result()
    read = _READERS.get(tag)
    if read is None:
        raise UnknownTypeError(
            f"no stored type {tag!r} here; a newer embedq wrote it", needs=f"stored type {tag[:100]}"
        )
    try:
        return read(body)
    except UnknownTypeError:
        raise
    except Exception as error:
        raise ValueError(f"a stored {tag} is malformed: {type(error).__qualname__}: {error}") from error


_plain_decoder = JSONDecoder()
_orphan_decoder = JSONDecoder(object_hook=_untag)


def _require(body: Any, kind: type) -> Any:
    if type(body) is not kind:
        raise ValueError(f"{kind.__name__} expected, not {type(body).__name__}")
    return body


def _moment_reader(kind: Any) -> Reader:
    def read(body: Any) -> Any:
        if type(body) is str:
            return kind.fromisoformat(body)
        moment, fold, zone = _require(body, list)
        return kind.fromisoformat(moment).replace(tzinfo=zone, fold=fold)

    return read


def _read_timedelta(body: Any) -> timedelta:
    days, seconds, microseconds = _require(body, list)
    return timedelta(days, seconds, microseconds)


def _read_zone(body: Any) -> tzinfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(_require(body, str))
    except ZoneInfoNotFoundError:
        raise UnknownTypeError(
            f"no time zone {body!r} here; install the package tzdata", needs=f"time zone {body[:100]}"
        ) from None


def _library_reader(module: str, name: str) -> Reader:
    """Return a reader for a type that is made from text; its module is imported for the first value."""

    def read(body: Any) -> Any:
        return getattr(import_module(module), name)(_require(body, str))

    return read


def _read_enum(body: Any) -> Enum:
    name, member = body
    kind = _imported_type(name)
    if not isinstance(kind, EnumType):
        raise _unknown_type(name, "it is not an enum")
    if type(member) is str and member in kind.__members__:
        return kind.__members__[member]
    # Only flags, whose values are numbers: unsigned text must not call another enum's `_missing_`.
    if type(member) is int and issubclass(kind, Flag):
        try:
            return kind(member)
        except ValueError as error:
            raise _unknown_type(name, str(error)) from None
    raise _unknown_type(name, f"it has no member {member!r}")


def _read_named_tuple(body: Any) -> Any:
    name, values = body
    kind = _imported_type(name)
    fields = getattr(kind, "_fields", None) if isinstance(kind, type) and issubclass(kind, tuple) else None
    if not isinstance(fields, tuple):
        raise _unknown_type(name, "it is not a named tuple")
    if len(_require(values, list)) != len(fields):
        raise _unknown_type(name, f"{len(values)} values were stored and it has {len(fields)} fields")
    return tuple.__new__(kind, values)


def _read_dataclass(body: Any) -> Any:
    name, values = body
    kind = _imported_type(name)
    if not isinstance(kind, type) or "__dataclass_fields__" not in vars(kind):
        raise _unknown_type(name, "it is not a dataclass")
    fields = {field.name for field in dataclasses.fields(kind) if field.init}
    unknown = _require(values, dict).keys() - fields
    if unknown:
        raise _unknown_type(name, f"it has no field {min(unknown)!r}")
    try:
        return kind(**values)
    except Exception as error:
        raise _unknown_type(name, f"{type(error).__qualname__}: {error}") from error


def _imported_type(name: Any) -> Any:
    found = find_imported(_require(name, str))
    if found is None:
        raise _unknown_type(name, "it is not imported")
    return found


def _unknown_type(name: str, reason: str) -> UnknownTypeError:
    return UnknownTypeError(
        f"an argument of type {name!r} cannot be read here: {reason}; "
        "import the module that defines it before embedq.start(), in the version that stored it",
        needs=f"type {name[:200]}",
    )


_READERS: dict[str, Reader] = {
    "str": lambda body: a2b_base64(body, strict_mode=True).decode("utf-8", "surrogatepass"),
    "int": lambda body: int(_require(body, str), 16),
    "float": lambda body: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[body],
    "dict": lambda body: dict(_require(body, list)),
    "tuple": lambda body: tuple(_require(body, list)),
    "set": lambda body: set(_require(body, list)),
    "frozenset": lambda body: frozenset(_require(body, list)),
    "bytes": lambda body: a2b_base64(body, strict_mode=True),
    "bytearray": lambda body: bytearray(a2b_base64(body, strict_mode=True)),
    "datetime": _moment_reader(datetime),
    "time": _moment_reader(time),
    "date": date.fromisoformat,
    "timedelta": _read_timedelta,
    "timezone": lambda body: timezone(*_require(body, list)),
    "zone": _read_zone,
    "uuid": _library_reader("uuid", "UUID"),
    "decimal": _library_reader("decimal", "Decimal"),
    "path": _library_reader("pathlib", "Path"),
    "posixpath": _library_reader("pathlib", "PurePosixPath"),
    "windowspath": _library_reader("pathlib", "PureWindowsPath"),
    "enum": _read_enum,
    "namedtuple": _read_named_tuple,
    "dataclass": _read_dataclass,
}
