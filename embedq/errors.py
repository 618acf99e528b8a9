"""The errors that embedq raises, as one tree. Each message states what to do.

EmbedqError
├── ConfigurationError            an invalid setting
├── NotStartedError               the app has no workers here, and the call needs them
├── NoJobError                    `current_job()` where no job is running
├── ReentryError                  the call came from inside another one, on the same thread
├── EnqueueError                  refused at enqueue; nothing was written
│   ├── UnstorableArgumentError   an argument has no stored form
│   ├── SignatureError            the arguments do not fit the function
│   ├── PayloadTooLargeError      the arguments (or the pickled function) are too large
│   ├── UnstorableFunctionError   the function can be stored neither by name nor by value
│   └── UniqueConflictError       another job has the same unique key
├── ScheduleError                 a cron expression, interval or time zone that can never work
├── ParkError                     a stored job that cannot run here, and is kept for a process that can
│   ├── UnknownTaskError          no function of that name here
│   ├── UnknownTypeError          an argument is of a dataclass or enum not imported here
│   ├── UntrustedCodeError        the row was altered, or signed with another key
│   └── PythonVersionError        a lambda pickled by another Python version
├── JobError
│   ├── JobNotFoundError          no such job (it may have been pruned)
│   ├── JobStateError             the job is not in a state that allows this
│   ├── JobDeadError              `result()` of a job that failed for good
│   ├── JobCancelledError         `result()` of a job that was cancelled
│   ├── ResultUnavailableError    the job succeeded, but its result could not be stored
│   └── WaitTimeoutError          `wait()` or `result()` took longer than its timeout
├── ScheduleNotFoundError         no such recurring job
├── ActionNotFoundError           no such line in the audit log
├── CopyError                     one database cannot be copied into the other in their present state
├── TransactionError              jobs cannot be written in this transaction of the application
└── StorageError
    ├── StorageBusyError          the database stayed locked too long
    ├── StorageFullError          no space left
    ├── StorageReadOnlyError      the file or its folder cannot be written
    ├── StorageMissingError       the folder does not exist, or the file cannot be opened
    ├── StorageCorruptError       not a database, or a damaged one
    ├── SchemaTooNewError         written by a newer embedq
    ├── NetworkFilesystemError    a SQLite file on a network file system
    ├── StorageRefusedError       the database does not accept this value, now or later
    ├── StorageUncertainError     the connection was lost in a commit: the write may or may not have happened
    └── StorageUnavailableError   any other failure of the disk or the server

Discard                           raised by a job: end as dead now, without a retry
RateLimited                       raised by a job: run again later, and let no job under the limit start until then
Snooze                            raised by a job: run again later, with no attempt counted
JobInterrupt (BaseException)      raised inside a running job
├── JobTimeout                    it ran longer than its timeout
├── JobCancelled                  it was cancelled
└── JobStopped                    the process is shutting down; the job goes back to the queue
"""

from __future__ import annotations

from datetime import timedelta


class EmbedqError(Exception):
    """The base class of all errors that embedq raises on purpose."""


class ConfigurationError(EmbedqError, ValueError):
    """A setting is invalid."""


class NotStartedError(EmbedqError, RuntimeError):
    """The call needs a started app."""


class NoJobError(EmbedqError, LookupError):
    """`current_job()` was called where no job is running."""


class ReentryError(EmbedqError, RuntimeError):
    """The call came from inside another call to embedq on the same thread, and nothing was done.

    Such a call comes from a finalizer (`__del__`), a signal handler, a callback of the driver or a logging handler,
    which may run in the middle of a write (see docs/howto.md), or from a job that stops the app it runs in.
    """


class EnqueueError(EmbedqError):
    """The job was refused and nothing was written."""


class UnstorableArgumentError(EnqueueError, TypeError):
    """An argument has no stored form."""


class SignatureError(EnqueueError, TypeError):
    """The arguments do not fit the function's signature."""


class PayloadTooLargeError(EnqueueError, ValueError):
    """The stored form is larger than `max_payload_bytes`."""


class UnstorableFunctionError(EnqueueError, TypeError):
    """The function can be stored neither by name nor by value."""


class UniqueConflictError(EnqueueError):
    """Another job has the same unique key, and `on_conflict="raise"`.

    Attributes:
        job_id: the id of that job; None if it is one of the same `enqueue_many`.
    """

    def __init__(self, message: str, *, job_id: int | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class ScheduleError(EmbedqError, ValueError):
    """A cron expression, interval, time zone or misfire policy that can never work."""


class ParkError(EmbedqError):
    """A stored job cannot run in this process; it is kept for one that can.

    Attributes:
        needs: what a process must have to run it, as one short line, for example ``task shop.mail:send``.
    """

    def __init__(self, message: str, *, needs: str) -> None:
        super().__init__(message)
        self.needs = needs


class UnknownTaskError(ParkError, LookupError):
    """No function of that name in this process."""


class UnknownTypeError(ParkError, LookupError):
    """An argument is of a dataclass or enum that is not imported in this process."""


class UntrustedCodeError(ParkError):
    """The row was altered after it was signed, or signed with another key. It was not unpickled."""


class PythonVersionError(ParkError):
    """A function stored by value needs the Python version that stored it."""


class JobError(EmbedqError):
    """The base class of errors about one job."""


class JobNotFoundError(JobError, LookupError):
    """No job with that id; it may have been pruned after its retention."""


class JobStateError(JobError):
    """The job is not in a state that allows this."""


class JobDeadError(JobError):
    """`result()` was called for a job that failed for good.

    Attributes:
        traceback: the last attempt's traceback as text, or None when there was none (a crash).
    """

    def __init__(self, message: str, *, traceback: str | None = None) -> None:
        super().__init__(message)
        self.traceback = traceback


class JobCancelledError(JobError):
    """`result()` was called for a job that was cancelled."""


class ResultUnavailableError(JobError):
    """The job succeeded, but what it returned has no stored form."""


class WaitTimeoutError(JobError, TimeoutError):
    """The job had not ended within the timeout."""


class ScheduleNotFoundError(EmbedqError, LookupError):
    """No recurring job of that name."""


class ActionNotFoundError(EmbedqError, LookupError):
    """No line of that number in the audit log (any more)."""


class TransactionError(EmbedqError):
    """Jobs cannot be written in this transaction of the application, or do not exist yet. Nothing was written.

    Raised by `embedq.transaction`, `on_commit` and `hold`.
    """


class CopyError(EmbedqError):
    """One database cannot be copied into the other in their present state. The source is unchanged."""


class StorageError(EmbedqError):
    """The database could not read or write. Nothing was written, unless it is a StorageUncertainError."""


class StorageBusyError(StorageError):
    """The database stayed locked too long."""


class StorageFullError(StorageError):
    """There is no space left for the database."""


class StorageReadOnlyError(StorageError):
    """The database, or the folder it is in, cannot be written."""


class StorageMissingError(StorageError):
    """The database that the URL names cannot be opened."""


class StorageCorruptError(StorageError):
    """The file is not a database, or is damaged."""


class SchemaTooNewError(StorageError):
    """The schema was written by a newer version of embedq."""


class NetworkFilesystemError(StorageError):
    """A SQLite file is on a network file system, where its locks cannot be trusted."""


class StorageRefusedError(StorageError):
    """The database does not accept a value: it is too long, out of range, or violates a constraint added to a table."""


class StorageUncertainError(StorageError):
    """The connection was lost in a commit, and whether that happened could not be checked: check before repeating it.

    For jobs that this process has claimed or handed to a worker in such a write, it finds out by itself.
    """


class StorageUnavailableError(StorageError):
    """The disk or the server failed."""


class Discard(EmbedqError):
    """Raised by a job to end as `dead` now, regardless of its retry policy."""


class RateLimited(EmbedqError):
    """Raised by a job whose request was refused for now, as by HTTP status 429: it runs again, no attempt is counted.

    Attributes:
        retry_after: seconds.
        limit: no job under this limit starts until then: one made by `embedq.limit`, or the name of one; None for the
            first limit that the job is under. A job without limits only waits itself.
    """

    def __init__(self, retry_after: float, limit: object = None) -> None:
        if not isinstance(retry_after, int | float) or isinstance(retry_after, bool) or not 0 <= retry_after < 1e9:
            raise ConfigurationError(f"retry_after={retry_after!r} must be seconds, zero or more")
        name = getattr(limit, "name", limit)
        if name is not None and not isinstance(name, str):
            raise ConfigurationError(f"limit={limit!r} must be a limit made by embedq.limit, or its name")
        super().__init__(f"may run again in {retry_after:g} s")
        self.retry_after = retry_after
        self.limit: str | None = name

    def __reduce__(self) -> tuple[type[RateLimited], tuple[float, str | None]]:
        return RateLimited, (self.retry_after, self.limit)


class Snooze(EmbedqError):
    """Raised by a job to put itself off: it is scheduled again, and no attempt is counted.

    Attributes:
        seconds: until it runs again, as a number or a timedelta.
        at_most: how often the job may do so, over all its runs; the next time it is dead. None for any number. A retry
            by hand begins a new count.
    """

    def __init__(self, seconds: float | timedelta, at_most: int | None = 100) -> None:
        given = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if not isinstance(given, int | float) or isinstance(given, bool) or not 0 <= given < 1e9:
            raise ConfigurationError(f"Snooze({seconds!r}) must be given seconds or a timedelta, zero or more")
        if at_most is not None and (not isinstance(at_most, int) or isinstance(at_most, bool) or at_most < 0):
            raise ConfigurationError(f"at_most={at_most!r} must be a number of times, zero or more, or None")
        super().__init__(f"is to run again in {given:g} s")
        self.seconds = float(given)
        self.at_most = at_most

    def __reduce__(self) -> tuple[type[Snooze], tuple[float, int | None]]:
        return Snooze, (self.seconds, self.at_most)


class JobInterrupt(BaseException):
    """Raised inside a running job at its next bytecode (or as a cancellation, in an async job).

    A BaseException, so that a job's own `except Exception` does not swallow it. Catch it to clean up, then re-raise.
    """


class JobTimeout(JobInterrupt):
    """The job ran longer than its timeout."""


class JobCancelled(JobInterrupt):
    """The job was cancelled."""


class JobStopped(JobInterrupt):
    """The process is stopping, or lost its claim to another one: the job goes back to the queue, uncounted."""
