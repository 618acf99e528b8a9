"""What a new build could not run of that which waits: asked before a deployment, in the new build.

    preflight = Preflight(registry, key)      # in a process that has imported the application
    read_all(preflight, database)
    preflight.problems()                      # by function and reason

Calls are read from their stored text. No job is run and nothing is unpickled; a module that only a signed row names is
imported once the signature has been verified, as a worker would.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from embedq.by_value import PYTHON, PackedFunction
from embedq.errors import ConfigurationError, ScheduleError, UnknownTaskError, UntrustedCodeError
from embedq.functions import resolve
from embedq.misfire import misfire_from_text
from embedq.schedule import schedule_from_text
from embedq.serializers import lacking_types
from embedq.signing import Key
from embedq.storage import health
from embedq.storage.base import Database
from embedq.storage.health import PendingRow
from embedq.storage.schedules import ScheduleRow
from embedq.task import Registry

# Reasons hold text from the database. So many differ before the rest is counted as one.
MOST_PROBLEMS = 1000
OTHERS = "…"


@dataclass(slots=True, kw_only=True)
class Problem:
    """Jobs, or recurring ones, of one function that this build could not run, for one reason.

    Attributes:
        jobs: how many; `example` is the id of the first.
        states: how many in each state.
        schedules: the names of recurring jobs.
    """

    task: str
    reason: str
    advice: str
    jobs: int = 0
    example: int | None = None
    states: dict[str, int] = field(default_factory=dict)
    schedules: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a call cannot run."""

    reason: str
    advice: str


_UNREADABLE = Verdict("its stored arguments cannot be read", "cancel it, and enqueue it again")


class Preflight:
    """Reads stored calls, and counts what this build could not run.

    Args:
        key: gives the key that rows are signed with here; ConfigurationError if there is none.
    Attributes:
        jobs, schedules: how many were read.
    """

    def __init__(self, registry: Registry, key: Callable[[], Key]) -> None:
        self._registry = registry
        self._key = key
        self._problems: dict[tuple[str, str], Problem] = {}
        # Most jobs are of few functions, and called in few ways.
        self._shapes: dict[tuple[Any, ...], Verdict | None] = {}
        self._signed: dict[str, Callable[..., Any] | Verdict] = {}
        self.jobs = self.schedules = 0

    def job(self, row: PendingRow) -> None:
        """Read one job."""
        self.jobs += 1
        verdict = self._judge(row.name, row.payload, row.code)
        if verdict is not None:
            problem = self._problem(row.name, verdict)
            problem.jobs += 1
            problem.states[row.state] = problem.states.get(row.state, 0) + 1
            if problem.example is None:
                problem.example = row.id

    def schedule(self, row: ScheduleRow) -> None:
        """Read one recurring job."""
        self.schedules += 1
        verdict = self._judge_schedule(row)
        if verdict is not None:
            self._problem(row.task, verdict).schedules.append(row.name)

    def problems(self) -> list[Problem]:
        """What was found, most jobs first."""
        return sorted(self._problems.values(), key=lambda one: (-one.jobs, one.task, one.reason))

    def _problem(self, task: str, verdict: Verdict) -> Problem:
        known = self._problems.get((task, verdict.reason))
        if known is None and len(self._problems) >= MOST_PROBLEMS:
            task, verdict = OTHERS, Verdict("other reasons, or other functions", "mend these first")
            known = self._problems.get((task, verdict.reason))
        if known is None:
            known = Problem(task=task, reason=verdict.reason, advice=verdict.advice)
            self._problems[task, verdict.reason] = known
        return known

    # -- one call ------------------------------------------------------------------------------------------------------

    def _judge_schedule(self, row: ScheduleRow) -> Verdict | None:
        try:
            schedule_from_text(row.spec)
            misfire_from_text(row.misfire)
            template = json.loads(row.template)
            name, payload, code = template["name"], template["payload"], template["code"]
        except ScheduleError as error:
            return Verdict(f"its times cannot be read: {error}", "register it again")
        except (ValueError, KeyError, TypeError, RecursionError):
            return Verdict("what it enqueues cannot be read", "register it again")
        return self._judge(name, payload, code)

    def _judge(self, name: str, payload: str, code: str | None) -> Verdict | None:
        """Why this build cannot run a call; None if it can."""
        task = self._registry.get(name)
        # As worker/resolving.py decides it.
        if task is not None and (code is None or '"pickle"' not in code):
            return self._fits(name, task.function, payload)
        if code is None:
            return Verdict(
                "no function is registered under this name in this build",
                "import its module with the app; if it was renamed: @embedq.job(aliases=[…]); or: embedq cancel",
            )
        try:
            packed = PackedFunction.from_text(code)
        except UntrustedCodeError:
            return Verdict("its stored code was altered", "cancel it, and enqueue it again")
        verdict = self._untrusted(name, payload, packed)
        if verdict is not None:
            return verdict
        if packed.pickle is not None:
            # What it takes is known once it is unpickled, and that runs code.
            return self._unreadable(payload)
        function = self._signed_function(name)
        return function if isinstance(function, Verdict) else self._fits(name, function, payload)

    def _untrusted(self, name: str, payload: str, packed: PackedFunction) -> Verdict | None:
        try:
            key = self._key()
        except ConfigurationError as error:
            return Verdict(f"it is signed with key {packed.key}, and there is none here", str(error))
        if packed.key != key.id:
            return Verdict(
                f"it is signed with key {packed.key}, and this build has key {key.id}",
                "give it the secret_key (EMBEDQ_SECRET_KEY), or the key file, that the old build has",
            )
        if packed.sig is None or not key.verify(packed.sig, *packed.signed_parts(name, payload)):
            return Verdict("it was altered after it was signed", "cancel it, and enqueue it again")
        if packed.pickle is not None and packed.python != PYTHON:
            return Verdict(
                f"it was stored by Python {packed.python}, and this is {PYTHON}",
                "let it run before the deployment, keep a worker on that version, or enqueue a function with a name",
            )
        return None

    def _signed_function(self, name: str) -> Callable[..., Any] | Verdict:
        """What a verified name leads to."""
        if name not in self._signed:
            try:
                self._signed[name] = resolve(name)
            except UnknownTaskError as error:
                self._signed[name] = Verdict(
                    str(error), "deploy the module that has it, or cancel these jobs: embedq cancel"
                )
        return self._signed[name]

    # -- its arguments -------------------------------------------------------------------------------------------------

    def _fits(self, name: str, function: Callable[..., Any], payload: str) -> Verdict | None:
        call = _call(payload)
        if call is None:
            return _UNREADABLE
        args, names = call
        shape = (name, args, *names)
        if shape not in self._shapes:
            if len(self._shapes) > 100_000:
                self._shapes.clear()
            self._shapes[shape] = _bind(function, args, names)
        return self._shapes[shape] or self._unreadable(payload)

    def _unreadable(self, payload: str) -> Verdict | None:
        try:
            lacking = lacking_types(payload)
        except ValueError:
            return _UNREADABLE
        if not lacking:
            return None
        return Verdict(
            f"an argument cannot be read: {lacking[0]}",
            "import the module that defines the type with the app, in a version that fits what was stored",
        )


def _call(payload: str) -> tuple[int, tuple[str, ...]] | None:
    """How many arguments by position, and the names of the others; None if that cannot be read."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    match found:
        case [list() as args, {"$": ["dict", list() as pairs]} as only] if len(only) == 1:
            names = [pair[0] for pair in pairs if isinstance(pair, list) and pair]
            return (len(args), tuple(names)) if all(isinstance(name, str) for name in names) else None
        case [list() as args, dict() as kwargs]:
            return len(args), tuple(kwargs)
    return None


def _bind(function: Callable[..., Any], args: int, names: tuple[str, ...]) -> Verdict | None:
    """Whether so many arguments, and these names, fit. The values do not matter to that."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Nobody knows what it takes.
        return None
    try:
        signature.bind(*range(args), **dict.fromkeys(names))
    except TypeError as error:
        return Verdict(
            f"its stored arguments do not fit {signature}: {error}",
            "give new parameters a default, and keep old ones until these jobs are done; or: embedq cancel",
        )
    return None


# -- all of a database -------------------------------------------------------------------------------------------------

FIRST_PAGE, LARGEST_PAGE = 500, 5000
# A page of long rows has fewer of them: it is in memory several times over.
PAGE_CHARACTERS = 4_000_000


def read_all(
    preflight: Preflight, database: Database, *, progress: Callable[[int], object] = lambda jobs: None
) -> None:
    """Read every recurring job, and every job that has not ended, page by page.

    Args:
        progress: told how far each page went, in ids, of which there are `span_of_ids`.
    Raises:
        StorageError: the database does not answer.
    """
    for row in database.read(health.schedules):
        preflight.schedule(row)
    lowest, _ = database.read(health.bounds)
    after, limit = lowest - 1, FIRST_PAGE
    while (page := database.read(health.pending_page, after=after, limit=limit)).last is not None:
        for job in page.rows:
            preflight.job(job)
        progress(page.last - after)
        after = page.last
        characters = sum(len(job.payload) + len(job.code or "") for job in page.rows)
        limit = max(10, min(2 * limit, LARGEST_PAGE, limit * PAGE_CHARACTERS // max(1, characters)))


def span_of_ids(database: Database) -> int:
    """How many ids there are from the first job to the last."""
    lowest, highest = database.read(health.bounds)
    return highest - lowest + 1 if highest else 0
