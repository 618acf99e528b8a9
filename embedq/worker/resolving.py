"""From a stored row to a function that may be called: by registered name, by signed name, or by signed value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from embedq.by_value import PYTHON, PackedFunction, unpack
from embedq.errors import UnknownTaskError, UntrustedCodeError
from embedq.functions import can_import, find_imported, is_async, module_name, resolve
from embedq.options import NO_OPTIONS, Options
from embedq.serializers import can_read_tag, can_read_zone
from embedq.signing import Key
from embedq.storage.rows import ClaimedJob
from embedq.task import Registry, Task


class Resolved(NamedTuple):
    """A function to call, and what its decorator said."""

    function: Callable[..., Any]
    defaults: Options
    is_async: bool


class Resolves(Protocol):
    """What an execution needs of a resolver."""

    def resolve(self, job: ClaimedJob, /) -> Resolved: ...


class Address(NamedTuple):
    """Where another process finds a row's function: the module that registers it, or None where the row says it all."""

    home: str | None
    defaults: Options


class Resolver:
    """Finds functions for rows.

    Args:
        key: gives the signing key; called only for rows that are signed.
    """

    def __init__(self, registry: Registry, key: Callable[[], Key]) -> None:
        self._registry = registry
        self._key = key

    def resolve(self, job: ClaimedJob) -> Resolved:
        """The function of a row.

        Raises:
            ParkError: it cannot run here; the subclass says why. Nothing was imported or unpickled for a row whose
                signature does not hold.
        """
        found = self._find(job)
        if isinstance(found, Task):
            return Resolved(found.function, found.defaults, found.is_async)
        return by_row(job, found)

    def address(self, job: ClaimedJob) -> Address:
        """Where another process finds the function of a row. The row is verified, and nothing imported or unpickled.

        Raises:
            ParkError: as `resolve`.
        """
        found = self._find(job)
        if isinstance(found, Task):
            return Address(module_name(found.function), found.defaults)
        return Address(None, NO_OPTIONS)

    def _find(self, job: ClaimedJob) -> Task[..., Any] | PackedFunction:
        task = self._registry.get(job.name)
        if task is not None and (job.code is None or '"pickle"' not in job.code):
            return task
        if job.code is None:
            raise UnknownTaskError(
                f"no task is registered as {job.name!r} in this process; import the module that defines it before "
                "embedq.start(), or, if it was renamed, add the old name: @embedq.job(aliases=[…])",
                needs=f"task {job.name}",
            )
        code = PackedFunction.from_text(job.code)
        self._verify(job, code)
        return code

    def _verify(self, job: ClaimedJob, code: PackedFunction) -> None:
        key = self._key()
        if code.key != key.id:
            raise UntrustedCodeError(
                f"the row of {job.name} is signed with key {code.key}, and this process has key {key.id}; give every "
                "process the same secret_key (or the same key file)",
                needs=f"key {code.key}",
            )
        if code.sig is None or not key.verify(code.sig, *code.signed_parts(job.name, job.payload)):
            raise UntrustedCodeError(
                f"the row of {job.name} was altered after it was signed, so it was not run; enqueue it again",
                needs="an unaltered row",
            )

    def has(self, needs: str) -> bool:
        """Whether this process has what a parked job needs, as far as can be told without importing anything."""
        checks: dict[str, Callable[[str], bool]] = {
            "task ": lambda name: self._registry.get(name) is not None or find_imported(name) is not None,
            "type ": lambda name: find_imported(name) is not None,
            "module ": can_import,
            "stored type ": can_read_tag,
            "time zone ": can_read_zone,
            "python ": lambda version: version == PYTHON,
            "key ": lambda key_id: key_id == self._key().id,
        }
        for kind, is_here in checks.items():
            if needs.startswith(kind):
                return is_here(needs.removeprefix(kind))
        return False


def by_row(job: ClaimedJob, code: PackedFunction) -> Resolved:
    """The function that a verified row itself names or holds."""
    function = resolve(job.name) if code.pickle is None else unpack(code)
    return Resolved(function, NO_OPTIONS, is_async(function))
