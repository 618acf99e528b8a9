"""Secrets are not shown: what goes by the name of one, however deep in the arguments, is left out.

Only stored JSON text is looked at, and nothing is made of it. What is not shown must not be found either, or it could
be guessed a letter at a time: `Hidden` says so to a search.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from embedq.errors import ConfigurationError
from embedq.readable import parsed


def _word(*words: str) -> str:
    """Any of these as a word of its own: not in "compass"."""
    return rf"(?<![a-z])({'|'.join(words)})(?![a-z])"


def _last_word(*words: str) -> str:
    """Any of these at the end of a name: not in "session_count"."""
    return rf"(?<![a-z])({'|'.join(words)})$"


# Regular expressions, searched for without regard to case in names, of which `dbPass` is also `db_pass`.
SECRETS: tuple[str, ...] = (
    r"passw(or)?d", r"pass_?-?(phrase|code)", r"secret(?!ar)", r"token", r"credential", r"authorization", r"cookie",
    r"signature", r"(api|access|private|ssh|encryption|signing|master)_?-?key", r"session_?-?(id|key)",
    r"(card|cc)_?-?(number|num|no)(?![a-z])", r"(otp|pin|security|verification)_?-?code",
    _word("pwd", "jwt", "bearer", "t?otp", "cvv2?", "cvc2?"),
    _last_word("pw", "pass", "auth", "session", "pin", "iban", "ssn", r"connection_?string", "dsn"),
)  # fmt: skip
HIDDEN = "••••••"
# user:password@ in an address.
_IN_ADDRESS = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)@")
# "api_key=… & …" in an address or a form, "Password=…;" of a connection, "Authorization: Bearer …" of a request.
_NAMED = re.compile(r"""(?<![\w.-])([A-Za-z_][\w.-]{0,99})["']?\s{0,3}[=:]\s{0,3}""")
_ASSIGNED = re.compile(r""""[^"]*"|'[^']*'|(?:(?:Bearer|Basic|Token)\s+)?(?:[^&;"'=\n]{1,200}(?=;)|[^\s&;"'#]+)""")
_BEARER = re.compile(r"\b(Bearer\s+)[\w.~+/=-]{8,}", re.I)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Redaction:
    """Takes secrets out of stored values.

    Args:
        patterns: regular expressions for names; none shows everything.
    Raises:
        ConfigurationError: one of them is no regular expression.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        if isinstance(patterns, str):
            raise ConfigurationError(f"redact={patterns!r} must be a list of patterns")
        self.patterns = tuple(patterns)
        try:
            self._secret = re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.I) if patterns else None
        except (re.error, TypeError) as error:
            raise ConfigurationError(f"redact={patterns!r} holds something that is no pattern: {error}") from None
        # The same few names come again and again.
        self._is_named_secret = lru_cache(maxsize=4_000)(self._matches)

    @classmethod
    def usual(cls) -> Redaction:
        """By the names that secrets usually have."""
        return cls(SECRETS)

    def arguments(self, text: str, names: Sequence[str] = ()) -> str:
        """Stored arguments, [positional, by name], without their secrets.

        Args:
            names: of the positional ones, where they are known.
        """
        return self.without(text, self.places(names))

    def places(self, names: Sequence[str]) -> tuple[int, ...]:
        """Where among positional arguments of these names secrets are."""
        return tuple(place for place, name in enumerate(names) if self._is_secret(name))

    def without(self, text: str, places: Collection[int]) -> str:
        """Stored arguments without their secrets, of which some are at these places; compact, as they are stored."""
        value = parsed(text)
        match value:
            case None:
                return text
            case [list() as args, dict() as kwargs]:
                shown = [HIDDEN if place in places else self._clean(value) for place, value in enumerate(args)]
                value = [shown, self._clean(kwargs)]
            case _:
                value = self._clean(value)
        return json.dumps(value, separators=(",", ":"))

    def value(self, text: str) -> str:
        """A stored value, such as a result, without the secrets in it."""
        value = parsed(text)
        return text if value is None else json.dumps(self._clean(value))

    def plain(self, text: str | None) -> Any:
        """A stored value as plain values for JSON; None if it cannot be read."""
        return self._clean(parsed(text))

    def _is_secret(self, name: object) -> bool:
        return self._secret is not None and isinstance(name, str) and self._is_named_secret(name)

    def _matches(self, name: str) -> bool:
        assert self._secret is not None
        return self._secret.search(name) is not None or self._secret.search(_CAMEL.sub("_", name)) is not None

    def _clean(self, value: Any) -> Any:
        if self._secret is None:
            return value
        match value:
            case str():
                return self._clean_text(value)
            # A dict whose keys are not all text is stored as pairs.
            case {"$": ["dict", list() as pairs]} if len(value) == 1:
                return {"$": ["dict", [self._clean_pair(pair) for pair in pairs]]}
            # What stands before the value is the name of a class, and no secret's.
            case {"$": ["dataclass" | "namedtuple" | "enum" as tag, [str() as kind, inner]]} if len(value) == 1:
                return {"$": [tag, [kind, self._clean(inner)]]}
            # A header, a parameter of a query: a pair all the same.
            case [str() as key, _] if self._is_secret(key):
                return [key, HIDDEN]
            case list():
                return [self._clean(item) for item in value]
            case dict():
                return {key: HIDDEN if self._is_secret(key) else self._clean(item) for key, item in value.items()}
        return value

    def _clean_pair(self, pair: Any) -> Any:
        match pair:
            case [str() as key, _] if self._is_secret(key):
                return [key, HIDDEN]
            case {"$": ["tuple", _]}:
                return self._clean(pair)
            case [key, item]:
                return [key, self._clean(item)]
        return self._clean(pair)

    def _clean_text(self, text: str) -> str:
        if text[:1] in "[{" and isinstance(inner := parsed(text), list | dict):
            clean = self._clean(inner)
            # Where nothing is hidden it stays as it was written.
            return text if clean == inner else json.dumps(clean, ensure_ascii=False)
        # Most texts hold none of these, and a search looks at many.
        if "://" in text:
            text = _IN_ADDRESS.sub(rf"\1:{HIDDEN}@", text)
        if "=" in text or ":" in text:
            text = self._without_assigned(text)
        return _BEARER.sub(rf"\1{HIDDEN}", text) if "earer" in text.lower() else text

    def _without_assigned(self, text: str) -> str:
        pieces, at = [], 0
        for named in _NAMED.finditer(text):
            if named.start() >= at and self._is_secret(named[1]) and (value := _ASSIGNED.match(text, named.end())):
                pieces += [text[at : named.end()], HIDDEN]
                at = value.end()
        return "".join([*pieces, text[at:]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """What of stored arguments is not shown to who searches, as plain values: an action keeps it with its search.

    Attributes:
        patterns: of `Redaction`.
        places: of the positional arguments that are secret, by the name of the function.
    """

    patterns: tuple[str, ...]
    places: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def shows(self, term: str, name: str, text: str) -> bool:
        """Whether a term can be seen in the stored arguments of a function.

        The secrets are taken out first, whatever is looked for: the time that it takes tells nothing of them.
        """
        clean = _redaction(self.patterns).without(text, self.places.get(name, ()))
        # JSON writes some letters in another way.
        return term in clean or json.dumps(term)[1:-1] in clean


@lru_cache(maxsize=16)
def _redaction(patterns: tuple[str, ...]) -> Redaction:
    return Redaction(patterns)
