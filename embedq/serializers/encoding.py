"""Writing: calls and results as text, within a limit.

The surprise: most calls contain only JSON values. They are written directly, and only other values take the slow path
through tagging.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any

from embedq.errors import PayloadTooLargeError, UnstorableArgumentError
from embedq.serializers.tagging import MAX_DEPTH, Refusal, encode, tag_call, tag_value
from embedq.serializers.tags import KEY, PARENT_RESULT

_SCALARS = frozenset({str, int, bool, NoneType, float})
_TEXT = frozenset({str})


def dumps_call(args: tuple[Any, ...], kwargs: dict[str, Any], *, limit: int, name: str) -> str:
    """Return the arguments of a call as JSON text.

    Args:
        limit: the most bytes that the text may have.
        name: the function, for messages.
    Raises:
        UnstorableArgumentError: an argument has no stored form; the message has its path and what to pass instead.
        PayloadTooLargeError: the text is longer than `limit`.
    """
    text = None
    if (_SCALARS.issuperset(map(type, args)) or all(_is_plain(arg, MAX_DEPTH) for arg in args)) and (
        not kwargs or _is_plain(kwargs, MAX_DEPTH + 1)
    ):
        text = _plain_text([args, kwargs])
    if text is None:
        try:
            text = _tagged_text(tag_call, args, kwargs)
        except Refusal as refusal:
            instead = refusal.instead or "an id and load it in the job"
            raise UnstorableArgumentError(
                f"argument {refusal.path} of {name}: {refusal.reason}; pass {instead}"
            ) from None
    if _size(text) > limit:
        parts = [(f"args[{index}]", arg) for index, arg in enumerate(args)]
        parts += [(repr(key), arg) for key, arg in kwargs.items()]
        raise _too_large(f"the arguments of {name} take", text, limit, parts)
    return text


def dumps_value(value: Any, *, limit: int) -> str:
    """Return a result as JSON text. PARENT_RESULT is refused.

    Raises:
        UnstorableArgumentError, PayloadTooLargeError: as for `dumps_call`.
    """
    if value is None:
        return "null"
    text = _plain_text(value) if _is_plain(value, MAX_DEPTH) else None
    if text is None:
        try:
            text = _tagged_text(tag_value, value)
        except Refusal as refusal:
            instead = refusal.instead or "plain values, or an id"
            raise UnstorableArgumentError(f"the result{refusal.path}: {refusal.reason}; return {instead}") from None
        # Nothing else is written like this: in a string the quotes have backslashes, and a dict with this key is pairs.
        if '{"$":["parent_result",null]}' in text:
            raise UnstorableArgumentError(f"{PARENT_RESULT!r} is an argument and not a result; return a value")
    if _size(text) > limit:
        raise _too_large("the result takes", text, limit, ())
    return text


def _is_plain(value: Any, depth: int) -> bool:
    """Whether all of it has JSON types. Numbers and text that cannot be stored are found when they are written."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is dict:
        if KEY in value or not _TEXT.issuperset(map(type, value)):
            return False
        value = value.values()
    elif kind is not list:
        return False
    return depth > 0 and (_SCALARS.issuperset(map(type, value)) or all(_is_plain(item, depth - 1) for item in value))


def _plain_text(value: Any) -> str | None:
    try:
        text = encode(value)
        if not text.isascii():
            text.encode()
    except ValueError:
        # NaN and infinity, an integer with thousands of digits, a lone surrogate: these need tags.
        return None
    return text


def _tagged_text(tag: Callable[..., Any], *values: Any) -> str:
    try:
        return encode(tag(*values))
    except RecursionError:
        raise Refusal("it is nested too deep for what is left of the stack") from None


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _too_large(what: str, text: str, limit: int, parts: Iterable[tuple[str, Any]]) -> PayloadTooLargeError:
    sizes = [(len(encode(tag_value(part))), label) for label, part in parts]
    largest = f", most of it {max(sizes)[1]}" if len(sizes) > 1 else ""
    return PayloadTooLargeError(
        f"{what} {_size(text):,} bytes{largest}, over the limit of {limit:,}; "
        "put large data in a file or a table and pass its path or id, or raise max_payload_bytes"
    )
