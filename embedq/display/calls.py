"""Readable text for stored calls and values: `mail:send(1, template="x")`.

Only the JSON text is parsed. Nothing is imported or unpickled and no object is created, so types that are unknown to
this process are readable, too, and an altered row is harmless.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any

# Enough bytes to tell a picture from a document.
SHOWN_BYTES = 24
# embedq stores up to 100 levels, each of which may be three levels of JSON.
MAX_LEVELS = 320
UNREADABLE = "…unreadable…"

# Tags of stored types whose Python name differs.
_CLASSES = {
    "uuid": "UUID",
    "decimal": "Decimal",
    "zone": "ZoneInfo",
    "path": "Path",
    "posixpath": "PurePosixPath",
    "windowspath": "PureWindowsPath",
}


def parsed(text: str | None) -> Any:
    """Parse stored JSON text; types that JSON lacks stay tagged. None if it cannot be read.

    The returned value can be written as JSON again.
    """
    if text is None:
        return None
    try:
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return None if _is_deeper(value, MAX_LEVELS) else value


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is not JSON")
    return number


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [item for outer in level if isinstance(outer, list | dict) for item in _items(outer)]
        if not level:
            return False
    return True


def _items(outer: list[Any] | dict[str, Any]) -> Iterable[Any]:
    return outer if isinstance(outer, list) else outer.values()


def readable_call(name: str, arguments: str, *, limit: int) -> str:
    """Format a call on one line of at most about `limit` characters.

    Args:
        name: the function's registered name.
        arguments: the stored text, [positional, by name].
    """
    match parsed(arguments):
        case [list() as args, dict() as kwargs]:
            pieces = _call(safe(name[:limit]), [*map(_pieces, args), *_keywords(kwargs)])
        case _:
            pieces = iter((safe(name[:limit]), f"({UNREADABLE})"))
    return _joined(pieces, limit)


def readable_value(text: str, *, limit: int) -> str:
    """Format a stored value, such as a result, on one line of at most about `limit` characters."""
    if parsed(text) is None and text != "null":
        return UNREADABLE
    return _joined(_pieces(parsed(text)), limit)


def _joined(pieces: Iterator[str], limit: int) -> str:
    kept, length = [], 0
    try:
        for piece in pieces:
            kept.append(piece)
            length += len(piece)
            if length > limit:
                return "".join(kept)[:limit] + "…"
    except RecursionError:
        kept.append("…")
    return "".join(kept)


def _pieces(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield quoted(value)
        case list():
            yield from _between("[", map(_pieces, value), "]")
        case {"$": [str() as tag, body]} if len(value) == 1:
            yield from _tagged(tag, body)
        case dict():
            yield from _between("{", (_pair(quoted(key), item) for key, item in value.items()), "}")
        case _:
            yield repr(value)


def _tagged(tag: str, body: Any) -> Iterator[str]:
    """Format a value of a type that JSON lacks. A malformed one is shown with its tag."""
    match tag, body:
        case "parent_result", None:
            yield "PARENT_RESULT"
        case "float", str():
            yield safe(body)
        case "str" | "bytes" | "bytearray", str():
            yield from _binary(tag, body)
        case "tuple", [only]:
            yield from _between("(", [_pieces(only)], ",)")
        case "tuple", list():
            yield from _between("(", map(_pieces, body), ")")
        case "set", [_, *_]:
            yield from _between("{", map(_pieces, body), "}")
        case "frozenset", [_, *_]:
            yield from _between("frozenset({", map(_pieces, body), "})")
        case "dict", list() if all(isinstance(pair, list) and len(pair) == 2 for pair in body):
            yield from _between("{", (_item(key, item) for key, item in body), "}")
        case "timedelta", [int() as days, int() as seconds, int() as micros]:
            parts = {"days": days, "seconds": seconds, "microseconds": micros}
            yield from _call("timedelta", [_pair(name, part, "=") for name, part in parts.items() if part])
        case "enum", [str() as name, str() as member]:
            yield f"{_class(name)}.{safe(member)}"
        case "enum", [str() as name, member]:
            yield from _call(_class(name), [_pieces(member)])
        case "namedtuple", [str() as name, list() as values]:
            yield from _call(_class(name), map(_pieces, values))
        case "dataclass", [str() as name, dict() as fields]:
            yield from _call(_class(name), _keywords(fields))
        case _, list():
            yield from _call(_CLASSES.get(tag, safe(tag)), map(_pieces, body))
        case _:
            yield from _call(_CLASSES.get(tag, safe(tag)), [_pieces(body)])


def _binary(tag: str, body: str) -> Iterator[str]:
    try:
        data = a2b_base64(body, strict_mode=True)
        # A str with lone surrogates is stored as bytes: JSON and databases reject them.
        text = data.decode("utf-8", "surrogatepass") if tag == "str" else None
    except ValueError:
        yield f"{tag}({UNREADABLE})"
        return
    if text is not None:
        yield quoted(text)
        return
    shown = repr(data[:SHOWN_BYTES])
    more = f"… {len(data):,} bytes" if len(data) > SHOWN_BYTES else ""
    yield f"{shown}{more}" if tag == "bytes" else f"bytearray({shown}{more})"


def _class(name: str) -> str:
    """Return the name of a class without its module."""
    return safe(name.rpartition(":")[2])


def _keywords(values: dict[str, Any]) -> Iterator[Iterator[str]]:
    match values:
        # Names that conflict with the tag's key are stored as pairs.
        case {"$": ["dict", list() as pairs]} if len(values) == 1:
            items: Iterable[Any] = (pair for pair in pairs if isinstance(pair, list) and len(pair) == 2)
        case _:
            items = values.items()
    for name, value in items:
        yield _pair(safe(str(name)), value, "=")


def _pair(label: str, value: Any, sign: str = ": ") -> Iterator[str]:
    yield label + sign
    yield from _pieces(value)


def _item(key: Any, value: Any) -> Iterator[str]:
    yield from _pieces(key)
    yield ": "
    yield from _pieces(value)


def _call(name: str, items: Iterable[Iterator[str]]) -> Iterator[str]:
    return _between(f"{name}(", items, ")")


def _between(opening: str, items: Iterable[Iterator[str]], closing: str) -> Iterator[str]:
    yield opening
    for index, item in enumerate(items):
        if index:
            yield ", "
        yield from item
    yield closing


# -- escaped text ------------------------------------------------------------------------------------------------------


def safe(text: str) -> str:
    r"""Return the text on one line, with unprintable characters written as `\n`, `\x1b`, `\u202e`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def quoted(text: str) -> str:
    """Return the text as a string literal in double quotes."""
    return '"' + safe(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _escaped(char: str) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    if named is not None:
        return named
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
