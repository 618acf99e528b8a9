"""Arguments and results as JSON text.

What JSON has is written as it is. The standard library's other plain types are written as an object with the one key
`$`: `{"$":["date","2027-01-31"]}`. A real dict that holds this key, or keys that are not text, is written as pairs:
`{"$":["dict",[["$",1]]]}`. So every object with the key `$` is a tag, and reading needs one pass, from the inside out.

    dumps_call, loads_call      the arguments of a call: [args, kwargs]
    dumps_value, loads_value    a result
    PARENT_RESULT               stands for the result of the job that this one continues

What is read equals what was written, in type and value, and what could not be so is refused when it is written. (Of a
dataclass the fields of its `__init__` are kept; of NaN the sign is not.)

Reading is safe for text that anybody may have altered: it imports nothing, and of what is imported it takes only enums,
dataclasses and named tuples. (A dataclass is made by calling it, so its `__post_init__` runs.) It raises `ParkError`
for what another process may be able to read, and `ValueError` for what none can.
"""

from __future__ import annotations

import dataclasses
import math
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum, EnumType, Flag
from functools import cache
from json import JSONDecoder, JSONEncoder
from types import NoneType
from typing import Any

from embedq.errors import PayloadTooLargeError, UnknownTypeError, UnstorableArgumentError
from embedq.functions import find_imported, name_of

Encoder = Callable[[Any, int], Any]

MAX_DEPTH = 100

_KEY = "$"
_KEY_TEXT = '"$"'
# Python refuses to read a decimal number with more digits than its limit, which may be as low as 640.
_LONGEST_DECIMAL_BITS = 2000


class _ParentResult:
    """The type of PARENT_RESULT."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "embedq.PARENT_RESULT"

    def __reduce__(self) -> str:
        return "PARENT_RESULT"


PARENT_RESULT: Any = _ParentResult()
"""As an argument of a continuation: becomes what the parent job returned, when the continuation starts."""


# --- the public face --------------------------------------------------------------------------------------------------


def dumps_call(args: tuple[Any, ...], kwargs: dict[str, Any], *, limit: int, name: str) -> str:
    """The arguments of a call as JSON text.

    Args:
        limit: the most bytes that the text may have.
        name: the function, for messages.
    Raises:
        UnstorableArgumentError: an argument has no stored form; the message has its path and says what to pass.
        PayloadTooLargeError: the text is longer than `limit`.
    """
    text = None
    if (_SCALARS.issuperset(map(type, args)) or all(_is_plain(arg, MAX_DEPTH) for arg in args)) and (
        not kwargs or _is_plain(kwargs, MAX_DEPTH + 1)
    ):
        text = _plain_text([args, kwargs])
    if text is None:
        try:
            text = _tagged_text(lambda: [_tag_each(args, args, -1, "args[{}]".format), _tag_kwargs(kwargs)])
        except _UnstorableError as problem:
            raise problem.public("argument ", f" of {name}", "pass", "an id and load it in the job") from None
    if _size(text) > limit:
        raise _too_large(text, limit, f"the arguments of {name}", args, kwargs)
    return text


def loads_call(text: str, *, parent_result: Callable[[], Any] | None = None) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that `dumps_call` wrote: positional ones, and those by name.

    Args:
        parent_result: gives what takes the place of PARENT_RESULT, once for each; its errors pass through.
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


def dumps_value(value: Any, *, limit: int) -> str:
    """A result as JSON text. PARENT_RESULT is refused.

    Raises:
        UnstorableArgumentError, PayloadTooLargeError: as for `dumps_call`.
    """
    if value is None:
        return "null"
    text = _plain_text(value) if _is_plain(value, MAX_DEPTH) else None
    if text is None:
        try:
            text = _tagged_text(lambda: _tag(value, 0))
        except _UnstorableError as problem:
            raise problem.public("the result", "", "return", "plain values, or an id") from None
        # Nothing else is written so: in a string the quotes have backslashes, and a real dict with this key is pairs.
        if '{"$":["parent_result",null]}' in text:
            raise UnstorableArgumentError(f"{PARENT_RESULT!r} is an argument and not a result; return a value")
    if _size(text) > limit:
        raise _too_large(text, limit, "the result", (), {})
    return text


def loads_value(text: str) -> Any:
    """The result that `dumps_value` wrote.

    Raises:
        UnknownTypeError, ValueError: as for `loads_call`.
    """
    return _loads(text, None)


def _too_large(text: str, limit: int, what: str, args: Sequence[Any], kwargs: dict[str, Any]) -> PayloadTooLargeError:
    sizes = [(len(_encode(_tag(arg, 0))), f"args[{index}]") for index, arg in enumerate(args)]
    sizes += [(len(_encode(_tag(arg, 0))), repr(key)) for key, arg in kwargs.items()]
    largest = f", most of it {max(sizes)[1]}" if len(sizes) > 1 else ""
    return PayloadTooLargeError(
        f"{what} take {_size(text):,} bytes{largest}, over the limit of {limit:,}; "
        "put large data in a file or a table and pass its path or id, or raise max_payload_bytes"
    )


# --- writing ----------------------------------------------------------------------------------------------------------

_SCALARS = frozenset({str, int, bool, NoneType, float})
_TEXT = frozenset({str})

_encode = JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode


def _is_plain(value: Any, depth: int) -> bool:
    """Whether JSON has it all, by type. Numbers and text that JSON or the database cannot hold show when written."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is dict:
        if _KEY in value or not _TEXT.issuperset(map(type, value)):
            return False
        value = value.values()
    elif kind is not list:
        return False
    return depth > 0 and (_SCALARS.issuperset(map(type, value)) or all(_is_plain(item, depth - 1) for item in value))


def _plain_text(value: Any) -> str | None:
    try:
        text = _encode(value)
        if not text.isascii():
            text.encode()
    except ValueError:
        # NaN and infinity, an integer with thousands of digits, a lone surrogate: these need tags.
        return None
    return text


def _tagged_text(tag: Callable[[], Any]) -> str:
    try:
        return _encode(tag())
    except RecursionError:
        raise _UnstorableError("it is nested too deep for what is left of the stack", None) from None


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class _UnstorableError(Exception):
    """What is wrong, and the path to it, which grows as the exception passes through the containers."""

    def __init__(self, reason: str, instead: str | None, container: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.instead = instead
        self.steps: list[str] = []
        self._container = container

    def passes(self, container: Any, step: str) -> None:
        if container is self._container:
            # Too deep, and this is the container that was too deep.
            self.reason = f"this {type(container).__qualname__} contains itself"
            self.steps.clear()
        else:
            self.steps.append(step)

    def public(self, before: str, after: str, verb: str, instead: str) -> UnstorableArgumentError:
        path = "".join(reversed(self.steps))
        return UnstorableArgumentError(f"{before}{path}{after}: {self.reason}; {verb} {self.instead or instead}")


def _tag(value: Any, depth: int) -> Any:
    """What JSON can write in place of `value`."""
    kind = type(value)
    if kind is str:
        return value if _is_unicode(value) else _tagged("str", _base64(value.encode("utf-8", "surrogatepass")))
    if kind is int:
        return value if value.bit_length() <= _LONGEST_DECIMAL_BITS else _tagged("int", hex(value))
    if kind is float:
        return value if math.isfinite(value) else _tagged("float", repr(value))
    if value is None or kind is bool:
        return value
    encoder = _encoders.get(kind)
    if encoder is None:
        encoder = _encoders[kind] = _encoder_of(kind)
    return encoder(value, depth)


def _tagged(tag: str, body: Any) -> dict[str, Any]:
    return {_KEY: [tag, body]}


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
    """Tag the items of a container; `step` says how one is reached, by its number."""
    if depth >= MAX_DEPTH:
        raise _UnstorableError(f"it is nested more than {MAX_DEPTH} levels deep", None, container)
    tagged: list[Any] = []
    try:
        for item in items:
            tagged.append(_tag(item, depth + 1))
    except _UnstorableError as problem:
        problem.passes(container, step(len(tagged)))
        raise
    return tagged


def _tag_kwargs(kwargs: dict[str, Any]) -> Any:
    names = list(kwargs)
    tagged_names = _tag_each(kwargs, names, -1, lambda index: repr(names[index]))
    return _mapping(tagged_names, _tag_each(kwargs, kwargs.values(), -1, lambda index: repr(names[index])))


def _mapping(keys: list[Any], values: list[Any]) -> Any:
    if _KEY not in keys and _TEXT.issuperset(map(type, keys)):
        return dict(zip(keys, values, strict=True))
    return _tagged("dict", [list(pair) for pair in zip(keys, values, strict=True)])


def _tag_dict(value: dict[Any, Any], depth: int) -> Any:
    keys = list(value)
    tagged_keys = _tag_each(value, keys, depth, lambda index: f" (the key {keys[index]!r:.100})")
    return _mapping(tagged_keys, _tag_each(value, value.values(), depth, lambda index: f"[{keys[index]!r:.100}]"))


def _tag_sequence(value: Iterable[Any], depth: int) -> list[Any]:
    return _tag_each(value, value, depth, "[{}]".format)


def _tag_set(value: Iterable[Any], depth: int) -> list[Any]:
    # In an order of its own, so that equal sets have equal texts in every process.
    return sorted(_tag_each(value, value, depth, lambda index: " (an item of the set)"), key=_encode)


def _tag_moment(tag: str) -> Encoder:
    def encode(value: datetime | time, depth: int) -> Any:
        zone = value.tzinfo
        if not value.fold and (zone is None or _is_plain_offset(zone)):
            return _tagged(tag, value.isoformat())
        try:
            tagged_zone = _tag(zone, depth)
        except _UnstorableError:
            raise _UnstorableError(
                f"the time zone of a {tag} is a {type(zone).__module__}.{type(zone).__qualname__}",
                "one with a zoneinfo.ZoneInfo, or in UTC: moment.astimezone(datetime.UTC)",
            ) from None
        return _tagged(tag, [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, tagged_zone])

    return encode


def _is_plain_offset(zone: tzinfo) -> bool:
    """Whether ISO 8601 has all of it."""
    # CPython reads an offset of less than a second as UTC.
    return type(zone) is timezone and len(args := _timezone_args(zone)) == 1 and not args[0].microseconds


def _timezone_args(zone: timezone) -> tuple[Any, ...]:
    """What makes an equal timezone: its offset, and its name if it was given one."""
    return zone.__getinitargs__()  # type: ignore[attr-defined, no-any-return]


def _tag_zone(value: Any, depth: int) -> Any:
    if value.key is None:
        raise _UnstorableError(
            "a ZoneInfo that was read from a file has no key", 'one by its key: ZoneInfo("Asia/Tokyo")'
        )
    return _tagged("zone", value.key)


# By exact type. It grows by the types that are met; only those that are found by name get in, so it stays small.
_encoders: dict[type, Encoder] = {
    list: _tag_sequence,
    dict: _tag_dict,
    tuple: lambda value, depth: _tagged("tuple", _tag_sequence(value, depth)),
    set: lambda value, depth: _tagged("set", _tag_set(value, depth)),
    frozenset: lambda value, depth: _tagged("frozenset", _tag_set(value, depth)),
    bytes: lambda value, depth: _tagged("bytes", _base64(value)),
    bytearray: lambda value, depth: _tagged("bytearray", _base64(value)),
    datetime: _tag_moment("datetime"),
    time: _tag_moment("time"),
    date: lambda value, depth: _tagged("date", value.isoformat()),
    timedelta: lambda value, depth: _tagged("timedelta", [value.days, value.seconds, value.microseconds]),
    timezone: lambda value, depth: _tagged("timezone", _tag_sequence(_timezone_args(value), depth)),
    _ParentResult: lambda value, depth: _tagged("parent_result", None),
}


@cache
def _library_encoders() -> dict[type, Encoder]:
    """Those whose modules are not imported before the first value that needs a look: together they take 15 ms."""
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


def _encoder_of(kind: Any) -> Encoder:
    """How instances of a type are tagged.

    It is asked of the type and never of the instance: a proxy's `__class__` may be another, or raise.
    """
    known = _library_encoders().get(kind)
    if known is not None:
        return known
    if kind.__module__ == "freezegun.api" and kind.__base__ in _encoders:
        # What a test that stops the clock has in place of datetime and date.
        return _encoders[kind.__base__]
    if issubclass(kind, Enum):
        return _enum_encoder(kind, _type_name(kind))
    if issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple):
        return _named_tuple_encoder(_type_name(kind))
    if hasattr(kind, "__dataclass_fields__") and not _is_mapped(kind):
        _require_storable_dataclass(kind)
        return _dataclass_encoder(_type_name(kind), [field.name for field in dataclasses.fields(kind) if field.init])
    raise _UnstorableError(f"{kind.__qualname__} is not storable", _instead_of(kind))


def _type_name(kind: type) -> str:
    name = name_of(kind)
    if name is None:
        raise _UnstorableError(
            f"the class {kind.__qualname__} cannot be found by its name",
            "an instance of a class that is defined at the top level of a module",
        )
    return name


def _enum_encoder(kind: Any, name: str) -> Encoder:
    def encode(value: Any, depth: int) -> Any:
        if kind.__members__.get(value._name_) is value:
            return _tagged("enum", [name, value._name_])
        # Several flags at once have no name of their own.
        if isinstance(value, Flag):
            return _tagged("enum", [name, value._value_])
        raise _UnstorableError(f"{value!r} is not a member of {kind.__qualname__}", "a member")

    return encode


def _named_tuple_encoder(name: str) -> Encoder:
    def encode(value: Any, depth: int) -> Any:
        return _tagged("namedtuple", [name, _tag_each(value, value, depth, lambda index: f".{value._fields[index]}")])

    return encode


def _dataclass_encoder(name: str, fields: list[str]) -> Encoder:
    def encode(value: Any, depth: int) -> Any:
        try:
            values = [getattr(value, field) for field in fields]
        except AttributeError as error:
            raise _UnstorableError(f"a field is not set: {error}", "one with all its fields") from None
        tagged = _tag_each(value, values, depth, lambda index: f".{fields[index]}")
        return _tagged("dataclass", [name, dict(zip(fields, tagged, strict=True))])

    return encode


def _require_storable_dataclass(kind: Any) -> None:
    """Refuse the dataclasses of which the fields are not everything."""
    name = kind.__qualname__
    if "__dataclass_fields__" not in vars(kind):
        raise _UnstorableError(
            f"{name} extends a dataclass and is none itself", "one that is decorated with @dataclass"
        )
    if not kind.__dataclass_params__.init:
        raise _UnstorableError(f"the dataclass {name} has no generated __init__ to make it again", None)
    if issubclass(kind, str | bytes | bytearray | int | float | list | dict | tuple | set | frozenset | BaseException):
        raise _UnstorableError(f"the dataclass {name} is more than its fields", "a dataclass that extends nothing")
    for field in kind.__dataclass_fields__.values():
        is_init_only = field._field_type is dataclasses._FIELD_INITVAR  # type: ignore[attr-defined]
        no_default = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if is_init_only and no_default:
            raise _UnstorableError(f"the dataclass {name} does not keep its InitVar {field.name!r}", None)


# --- advice -----------------------------------------------------------------------------------------------------------

_ROW = "its id and load it in the job, where it is fresh"
_REQUEST = "the values that the job needs from it"
_CONNECTION = "what it takes to connect, and connect in the job"
_LIST = "list() of it"

# By a class that it extends. These are names, because most of the classes are not imported.
_INSTEAD = {
    "_io._IOBase": "its path and open it in the job",
    "_thread.lock": "a name: a lock lives in one process",
    "_thread.RLock": "a name: a lock lives in one process",
    "threading.Condition": "a name: a lock lives in one process",
    "threading.Semaphore": "a name: a lock lives in one process",
    "threading.Event": "a name: an event lives in one process",
    "_socket.socket": _CONNECTION,
    "sqlite3.Connection": _CONNECTION,
    "sqlite3.Cursor": _CONNECTION,
    "werkzeug.local.LocalProxy": _REQUEST,
    "starlette.requests.HTTPConnection": _REQUEST,
    "django.db.models.base.Model": _ROW,
    "django.db.models.query.QuerySet": "a list of ids and load them in the job",
    "peewee.Model": _ROW,
    "tortoise.models.Model": _ROW,
    "pydantic.main.BaseModel": "its model_dump()",
    "numpy.ndarray": "its tolist()",
    "numpy.generic": "its item()",
    "logging.Logger": "its name",
    "builtins.generator": _LIST,
    "builtins.async_generator": "a list of what it gives",
    "builtins.coroutine": "what it returns, awaited",
    "builtins.range": _LIST,
    "builtins.map": _LIST,
    "builtins.filter": _LIST,
    "builtins.zip": _LIST,
    "builtins.dict_keys": _LIST,
    "builtins.dict_values": _LIST,
    "builtins.dict_items": _LIST,
    "concurrent.futures._base.Future": "its result()",
    "_asyncio.Future": "what it gives, awaited",
    "collections.deque": _LIST,
    "builtins.memoryview": "bytes() of it",
    "builtins.function": "its name",
    "builtins.builtin_function_or_method": "its name",
    "builtins.method": "its name",
    "builtins.type": "its name",
    "builtins.module": "its name",
    "builtins.BaseException": "str() of it",
    # Last: what extends one of these loses its type if it is written as it.
    "builtins.str": "str() of it",
    "builtins.int": "int() of it",
    "builtins.float": "float() of it",
    "builtins.bytes": "bytes() of it",
    "builtins.list": _LIST,
    "builtins.dict": "dict() of it",
    "builtins.tuple": "tuple() of it",
    "builtins.set": "set() of it",
    "datetime.datetime": "a plain datetime",
}
# By the end of the class's name, for the many libraries that have one.
_INSTEAD_BY_ENDING = {
    "Request": _REQUEST,
    "Connection": _CONNECTION,
    "Cursor": _CONNECTION,
    "Session": _CONNECTION,
    "Engine": _CONNECTION,
    "Client": _CONNECTION,
}


def _instead_of(kind: type) -> str | None:
    """What to pass in place of an instance of `kind`; None if nothing better than an id comes to mind."""
    if _is_mapped(kind):
        return _ROW
    names = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]
    for name in names:
        if name in _INSTEAD:
            return _INSTEAD[name]
    for ending, instead in _INSTEAD_BY_ENDING.items():
        if any(name.endswith(ending) for name in names):
            return instead
    return None


def _is_mapped(kind: type) -> bool:
    """Whether SQLAlchemy keeps its instances in a table. Some of its classes are dataclasses too."""
    return hasattr(kind, "__mapper__")


# --- reading ----------------------------------------------------------------------------------------------------------


def _loads(text: str, parent_result: Callable[[], Any] | None) -> Any:
    # A tag's key is always written just so. Where it is not in the text, nothing has to be looked at.
    decoder = _plain_decoder if _KEY_TEXT not in text else _tag_decoder(parent_result)
    try:
        value, end = decoder.raw_decode(text)
    except RecursionError:
        raise ValueError("the stored text is nested too deep") from None
    if end != len(text):
        raise ValueError(f"the stored text goes on after its end, at character {end}")
    return value


def _tag_decoder(parent_result: Callable[[], Any] | None) -> JSONDecoder:
    if parent_result is None:
        return _orphan_decoder
    return JSONDecoder(object_hook=lambda found: _untag(found, parent_result))


def _untag(found: dict[str, Any], parent_result: Callable[[], Any] | None = None) -> Any:
    """The value of a JSON object of which everything inside has been read."""
    if _KEY not in found:
        return found
    content = found[_KEY]
    if len(found) != 1 or type(content) is not list or len(content) != 2 or type(content[0]) is not str:
        raise ValueError(f"a stored object with the key {_KEY!r} is not a tag")
    tag, body = content
    if tag == "parent_result":
        if parent_result is None:
            raise ValueError(f"{PARENT_RESULT!r} is an argument of a job that continues no other")
        return parent_result()
    decoder = _DECODERS.get(tag)
    if decoder is None:
        raise UnknownTypeError(
            f"no stored type {tag!r} here; a newer embedq wrote it", needs=f"stored type {tag[:100]}"
        )
    try:
        return decoder(body)
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


def _read_moment(kind: Any) -> Callable[[Any], Any]:
    def decode(body: Any) -> Any:
        if type(body) is str:
            return kind.fromisoformat(body)
        moment, fold, zone = _require(body, list)
        return kind.fromisoformat(moment).replace(tzinfo=zone, fold=fold)

    return decode


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


def _read_uuid(body: Any) -> Any:
    from uuid import UUID

    return UUID(_require(body, str))


def _read_decimal(body: Any) -> Any:
    from decimal import Decimal

    return Decimal(_require(body, str))


def _read_path(kind: str) -> Callable[[Any], Any]:
    def decode(body: Any) -> Any:
        import pathlib

        return getattr(pathlib, kind)(_require(body, str))

    return decode


def _read_enum(body: Any) -> Enum:
    name, member = body
    kind = _imported_type(name)
    if not isinstance(kind, EnumType):
        raise _unknown_type(name, "it is not an enum")
    if type(member) is str and member in kind.__members__:
        return kind.__members__[member]
    # Only flags, whose values are numbers: another enum's `_missing_` is not for a stranger to call.
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


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "str": lambda body: a2b_base64(body, strict_mode=True).decode("utf-8", "surrogatepass"),
    "int": lambda body: int(_require(body, str), 16),
    "float": lambda body: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[body],
    "dict": lambda body: dict(_require(body, list)),
    "tuple": lambda body: tuple(_require(body, list)),
    "set": lambda body: set(_require(body, list)),
    "frozenset": lambda body: frozenset(_require(body, list)),
    "bytes": lambda body: a2b_base64(body, strict_mode=True),
    "bytearray": lambda body: bytearray(a2b_base64(body, strict_mode=True)),
    "datetime": _read_moment(datetime),
    "time": _read_moment(time),
    "date": date.fromisoformat,
    "timedelta": _read_timedelta,
    "timezone": lambda body: timezone(*_require(body, list)),
    "zone": _read_zone,
    "uuid": _read_uuid,
    "decimal": _read_decimal,
    "path": _read_path("Path"),
    "posixpath": _read_path("PurePosixPath"),
    "windowspath": _read_path("PureWindowsPath"),
    "enum": _read_enum,
    "namedtuple": _read_named_tuple,
    "dataclass": _read_dataclass,
}
