"""The loggers of embedq. No call raises, whatever filters, handlers or formatters the application adds.

What those may expect (a request, a known thread, a field of the record) is missing on embedq's own threads. An error
that they raise is written to stderr, once for each place that raises, if `logging.raiseExceptions` is set; the record
is dropped, and the thread continues.

The surprise: an interrupt of the job that runs on this thread, and an exception of a signal handler in the main thread,
may be raised inside a log call too. Both pass.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from typing import Any

from embedq.errors import JobInterrupt

# How many places that raise are distinguished.
MOST_PLACES = 100

_thread = threading.local()
_reported: set[tuple[str, str, int]] = set()


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger that never raises. Created by `get_logger`."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """As `logging.Logger.log`. A handler that logs here on the same thread adds no record of its own."""
        if getattr(_thread, "busy", False):
            return
        try:
            _thread.busy = True
            if self.logger.isEnabledFor(level):
                stacklevel = kwargs.pop("stacklevel", 1)
                self.logger.log(level, msg, *args, stacklevel=stacklevel + 1, **kwargs)
        except BaseException as error:
            _swallow(error, self.logger.name, msg, args)
        finally:
            _thread.busy = False

    def isEnabledFor(self, level: int) -> bool:
        """As `logging.Logger.isEnabledFor`."""
        try:
            return self.logger.isEnabledFor(level)
        except BaseException as error:
            _swallow(error, self.logger.name, "", ())
            return False


def get_logger(name: str = "embedq") -> Log:
    """Return the logger of that name. Every module of embedq gets its own from here."""
    return Log(logging.getLogger(name), {})


def pass_on(fields: dict[str, Any]) -> None:
    """Handle a record from a child process, given by its fields, as if it had been made here."""
    try:
        record = logging.makeLogRecord(fields)
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except BaseException as error:
        _swallow(error, str(fields.get("name")), fields.get("msg"), ())


class _LastResort(logging.Handler):
    """Prints what Python prints where no logging is set up, with the logger's name before it."""

    def emit(self, record: logging.LogRecord) -> None:
        if logging.lastResort is None or self._others(logging.getLogger(record.name)):
            return
        if sys.stderr is not None:
            sys.stderr.write(f"{self.format(record)}\n")

    def _others(self, logger: logging.Logger | None) -> bool:
        """Whether the application has a handler for this logger."""
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return True
            logger = logger.parent if logger.propagate else None
        return False


def _set_up() -> None:
    handler = _LastResort(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logging.getLogger("embedq").addHandler(handler)


_set_up()


def _swallow(error: BaseException, name: str, message: object, args: tuple[object, ...]) -> None:
    """Report an error of the application's logging; raise it again if logging was not its cause."""
    kind = type(error)
    if issubclass(kind, JobInterrupt):
        raise error
    if not issubclass(kind, Exception) and threading.current_thread() is threading.main_thread():
        raise error
    if not logging.raiseExceptions:
        return
    try:
        _report(error, name, message, args)
    except BaseException:
        # There may be no stderr, and an error that cannot be written.
        pass


def _report(error: BaseException, name: str, message: object, args: tuple[object, ...]) -> None:
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    code = None if frames is None else frames.tb_frame.f_code
    place = (
        type(error).__qualname__,
        "" if code is None else code.co_filename,
        0 if frames is None else frames.tb_lineno,
    )
    if place in _reported or len(_reported) >= MOST_PLACES or sys.stderr is None:
        return
    _reported.add(place)
    sys.stderr.write(
        f"--- the application's logging failed on thread {threading.current_thread().name}; the record of {name!r} is "
        f"lost, and so are those to come that fail here: {message!s:.500} {args!r:.500}\n"
        + "".join(traceback.format_exception(error))
    )
