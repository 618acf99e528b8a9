"""Finds the function of a stored row: by registered name, by signed name, or by signed value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from embedq.errors import UnknownTaskError, UntrustedCodeError
from embedq.serializers import can_read_tag, can_read_zone
from embedq.storage.rows import ClaimedJob
from embedq.tasks.functions import can_import, find_imported, is_async, module_name, resolve
from embedq.tasks.options import NO_OPTIONS, Options
from embedq.tasks.pickled import PYTHON, PackedFunction, unpack
from embedq.tasks.registry import Registry
from embedq.tasks.signing import Key
from embedq.tasks.task import Task


class Resolved(NamedTuple):
    """A function to call, and the options of its decorator."""

    function: Callable[..., Any]
    defaults: Options
    is_async: bool


class Resolves(Protocol):
    """What an execution needs of a resolver."""

    def resolve(self, job: ClaimedJob, /) -> Resolved: ...


class FunctionAddress(NamedTuple):
    """The module that registers a row's function, for another process; None where the row alone identifies it."""

    home: str | None
    defaults: Options


class Resolver:
    """Finds functions for rows.

    Args:
        key: returns the signing key; called only for rows that are signed.
    """

    def __init__(self, registry: Registry, key: Callable[[], Key]) -> None:
        self._registry = registry
        self._key = key

    def resolve(self, job: ClaimedJob) -> Resolved:
        """Return the function of a row.

        Raises:
            ParkError: it cannot run here; the subclass states why. Nothing was imported or unpickled for a row whose
                signature is not valid.
        """
        found = self._find(job)
        if isinstance(found, Task):
            return Resolved(found.function, found.defaults, found.is_async)
        return by_row(job, found)

    def address(self, job: ClaimedJob) -> FunctionAddress:
        """Return where another process finds the function. The row is verified, and nothing is imported or unpickled.

        Raises:
            ParkError: as `resolve`.
        """
        found = self._find(job)
        if isinstance(found, Task):
            return FunctionAddress(module_name(found.function), found.defaults)
        return FunctionAddress(None, NO_OPTIONS)

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
        """Return whether this process has what a parked job needs, as far as is known without importing anything."""
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
    """Return the function that a verified row itself names or contains."""
    function = resolve(job.name) if code.pickle is None else unpack(code)
    return Resolved(function, NO_OPTIONS, is_async(function))
