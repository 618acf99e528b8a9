"""Find the waiting jobs that a new build could not run, before it is deployed.

    preflight = Preflight(registry, key)      # in a process of the new build that has imported the application
    read_all(preflight, database)
    preflight.problems()                      # by function and reason

Calls are read from their stored text. No job is run and nothing is unpickled. A module that only a signed row names is
imported after its signature has been verified, as a worker does.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from embedq.errors import ConfigurationError, ScheduleError, UnknownTaskError, UntrustedCodeError
from embedq.scheduling.misfire import misfire_from_text
from embedq.scheduling.overlap import parse_overlap
from embedq.scheduling.schedule import schedule_from_text
from embedq.serializers import lacking_types
from embedq.storage import health
from embedq.storage.base import Database
from embedq.storage.health import PendingRow
from embedq.storage.schedules import ScheduleRow
from embedq.tasks.functions import resolve
from embedq.tasks.pickled import PYTHON, PackedFunction
from embedq.tasks.registry import Registry
from embedq.tasks.signing import Key

# Reasons contain text from the database. Beyond this number of problems the rest is counted as one.
MAX_PROBLEMS = 1000
OTHERS = "…"


@dataclass(slots=True, kw_only=True)
class Problem:
    """Jobs and recurring jobs of one function that this build could not run for one reason.

    Attributes:
        jobs: the number of jobs; `example` is the id of the first.
        states: the number of jobs in each state.
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
    """The reason why a call cannot run."""

    reason: str
    advice: str


_UNREADABLE = Verdict("its stored arguments cannot be read", "cancel it and enqueue it again")


class Preflight:
    """Reads stored calls and counts those that this build could not run.

    Args:
        key: returns the key that signs rows here; ConfigurationError if there is none.
    Attributes:
        jobs, schedules: the numbers that were read.
    """

    def __init__(self, registry: Registry, key: Callable[[], Key]) -> None:
        self._registry = registry
        self._key = key
        self._problems: dict[tuple[str, str], Problem] = {}
        # A cache: most jobs call few functions, with few sets of arguments.
        self._shapes: dict[tuple[Any, ...], Verdict | None] = {}
        self._signed: dict[str, Callable[..., Any] | Verdict] = {}
        self.jobs = self.schedules = 0

    def job(self, row: PendingRow) -> None:
        """Read one job."""
        self.jobs += 1
        verdict = self._check(row.name, row.payload, row.code)
        if verdict is not None:
            problem = self._problem(row.name, verdict)
            problem.jobs += 1
            problem.states[row.state] = problem.states.get(row.state, 0) + 1
            if problem.example is None:
                problem.example = row.id

    def schedule(self, row: ScheduleRow) -> None:
        """Read one recurring job."""
        self.schedules += 1
        verdict = self._check_schedule(row)
        if verdict is not None:
            self._problem(row.task, verdict).schedules.append(row.name)

    def problems(self) -> list[Problem]:
        """Return the problems, those with the most jobs first."""
        return sorted(self._problems.values(), key=lambda one: (-one.jobs, one.task, one.reason))

    def _problem(self, task: str, verdict: Verdict) -> Problem:
        known = self._problems.get((task, verdict.reason))
        if known is None and len(self._problems) >= MAX_PROBLEMS:
            task, verdict = OTHERS, Verdict("other reasons, or other functions", "fix these first")
            known = self._problems.get((task, verdict.reason))
        if known is None:
            known = Problem(task=task, reason=verdict.reason, advice=verdict.advice)
            self._problems[task, verdict.reason] = known
        return known

    # -- one call ------------------------------------------------------------------------------------------------------

    def _check_schedule(self, row: ScheduleRow) -> Verdict | None:
        try:
            schedule_from_text(row.spec)
            misfire_from_text(row.misfire)
            parse_overlap(row.overlap)
            template = json.loads(row.template)
            name, payload, code = template["name"], template["payload"], template["code"]
        except ScheduleError as error:
            return Verdict(f"its schedule cannot be read: {error}", "register it again")
        except (ValueError, KeyError, TypeError, RecursionError):
            return Verdict("its stored job cannot be read", "register it again")
        return self._check(name, payload, code)

    def _check(self, name: str, payload: str, code: str | None) -> Verdict | None:
        """Return why this build cannot run a call; None if it can."""
        task = self._registry.get(name)
        # The same decision as in worker/resolving.py.
        if task is not None and (code is None or '"pickle"' not in code):
            return self._check_arguments(name, task.function, payload)
        if code is None:
            return Verdict(
                "this build registers no function under this name",
                "import its module with the app; if it was renamed: @embedq.job(aliases=[…]); or: embedq cancel",
            )
        try:
            packed = PackedFunction.from_text(code)
        except UntrustedCodeError:
            return Verdict("its stored code was altered", "cancel it and enqueue it again")
        verdict = self._check_signature(name, payload, packed)
        if verdict is not None:
            return verdict
        if packed.pickle is not None:
            # Its parameters are unknown until it is unpickled, which runs code.
            return self._check_types(payload)
        function = self._signed_function(name)
        return function if isinstance(function, Verdict) else self._check_arguments(name, function, payload)

    def _check_signature(self, name: str, payload: str, packed: PackedFunction) -> Verdict | None:
        try:
            key = self._key()
        except ConfigurationError as error:
            return Verdict(f"it is signed with key {packed.key}, and this build has no key", str(error))
        if packed.key != key.id:
            return Verdict(
                f"it is signed with key {packed.key}, and this build has key {key.id}",
                "give it the secret_key (EMBEDQ_SECRET_KEY) or the key file of the old build",
            )
        if packed.sig is None or not key.verify(packed.sig, *packed.signed_parts(name, payload)):
            return Verdict("it was altered after it was signed", "cancel it and enqueue it again")
        if packed.pickle is not None and packed.python != PYTHON:
            return Verdict(
                f"it was stored by Python {packed.python}, and this is {PYTHON}",
                "let it run before the deployment, keep a worker on that version, or enqueue a named function",
            )
        return None

    def _signed_function(self, name: str) -> Callable[..., Any] | Verdict:
        """Return the function that a verified name refers to."""
        if name not in self._signed:
            try:
                self._signed[name] = resolve(name)
            except UnknownTaskError as error:
                self._signed[name] = Verdict(
                    str(error), "deploy the module that defines it, or cancel these jobs: embedq cancel"
                )
        return self._signed[name]

    # -- its arguments -------------------------------------------------------------------------------------------------

    def _check_arguments(self, name: str, function: Callable[..., Any], payload: str) -> Verdict | None:
        call = _call(payload)
        if call is None:
            return _UNREADABLE
        args, names = call
        shape = (name, args, *names)
        if shape not in self._shapes:
            if len(self._shapes) > 100_000:
                self._shapes.clear()
            self._shapes[shape] = _bind(function, args, names)
        return self._shapes[shape] or self._check_types(payload)

    def _check_types(self, payload: str) -> Verdict | None:
        try:
            missing = lacking_types(payload)
        except ValueError:
            return _UNREADABLE
        if not missing:
            return None
        return Verdict(
            f"an argument cannot be read: {missing[0]}",
            "import the module that defines the type with the app, in a version that matches the stored value",
        )


def _call(payload: str) -> tuple[int, tuple[str, ...]] | None:
    """Return the number of positional arguments and the names of the others; None if they cannot be read."""
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
    """Return why a function does not accept these arguments, by number and names; None if it does."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Its parameters are unknown.
        return None
    try:
        signature.bind(*range(args), **dict.fromkeys(names))
    except TypeError as error:
        return Verdict(
            f"its stored arguments do not fit {signature}: {error}",
            "give new parameters a default, and keep old ones until these jobs are done; or: embedq cancel",
        )
    return None


# -- a whole database --------------------------------------------------------------------------------------------------

# Recurring jobs per page.
SCHEDULES = 500
FIRST_PAGE, LARGEST_PAGE = 500, 5000
# Limits a page of long rows, which is in memory several times.
PAGE_CHARACTERS = 4_000_000


def read_all(
    preflight: Preflight, database: Database, *, progress: Callable[[int], object] = lambda jobs: None
) -> None:
    """Read every recurring job and every job that has not ended, page by page.

    Args:
        progress: called with the range of ids of each page; all ranges add up to `span_of_ids`.
    Raises:
        StorageError: the database is not available.
    """
    last: str | None = None
    while rows := database.read(health.schedules, after=last, limit=SCHEDULES):
        for row in rows:
            preflight.schedule(row)
        last = rows[-1].name
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
    """Return the number of ids from the first job to the last."""
    lowest, highest = database.read(health.bounds)
    return highest - lowest + 1 if highest else 0
