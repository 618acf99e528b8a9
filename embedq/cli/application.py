"""The application of `--app`: find it, import it, and apply the settings of the command line."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import sys
import traceback
from types import ModuleType
from typing import Any

import click

from embedq import default_app
from embedq.app import EmbedQ
from embedq.cli.invocation import CommandError, say
from embedq.cli.text import safe, safe_lines
from embedq.errors import ConfigurationError, EmbedqError

app_option = click.option(
    "--app",
    "target",
    metavar="MODULE[:ATTR]",
    required=True,
    help="The module to import from the current directory, and in it the name of an EmbedQ or of a function that "
    "returns one. Without ATTR: embedq's default app.",
)


def load(target: str) -> EmbedQ:
    """Import the application's module and find its app.

    Raises:
        click.UsageError: the module or attribute does not exist, or is something else.
        CommandError: the import failed; its traceback has been printed.
    """
    name, _, attribute = target.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _import(name, target)
    if not attribute:
        _note_flask(module)
        return default_app()
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise _bad(f"module {name!r} has no attribute {attribute!r}") from None
    if isinstance(found, EmbedQ):
        return found
    if not _takes_nothing(found):
        raise _bad(
            _of_flask(found, name)
            or f"{target} is a {type(found).__qualname__}, neither an EmbedQ nor a function that returns one"
        )
    made = _made_by(found, target)
    if not isinstance(made, EmbedQ):
        raise _bad(
            _of_flask(made, name) or f"{target}() returned a {type(made).__qualname__}; it must return an EmbedQ"
        )
    return made


def _of_flask(found: Any, module: str) -> str | None:
    """Return advice for a Flask app or its extension, whose queue needs an app context; None for anything else."""
    if type(found).__module__.startswith(("flask.", "embedq.contrib.flask.")):
        return f"Flask finds the queue of a Flask app: use flask --app {module} embedq instead of embedq"
    return None


def _note_flask(module: ModuleType) -> None:
    """Print a note if the module's jobs belong to a Flask app: the default app, which is not configured, has none."""
    extension = any(type(found).__module__.startswith("embedq.contrib.flask.") for found in vars(module).values())
    if extension and default_app().settings == EmbedQ().settings:
        name = module.__name__
        say(
            f"{name} uses the queue of a Flask app, which differs from embedq's default app; for its jobs: "
            f"flask --app {name} embedq",
            err=True,
        )


def _import(name: str, target: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise _bad(f"{target!r} is not of the form module or module:attr")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            advice = f"; write {name.removesuffix('.py')}" if name.endswith(".py") else ", nor anywhere on sys.path"
            raise _bad(f"there is no module {error.name!r} in {os.getcwd()}{advice}") from None
        raise _broken(target, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(target, error) from error


def _takes_nothing(found: Any) -> bool:
    """Return whether it can be called without arguments; the app of a web framework cannot."""
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError):
        return False
    return True


def _made_by(function: Any, target: str) -> Any:
    try:
        return function()
    except EmbedqError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(target, error) from error


def _bad(message: str) -> click.UsageError:
    return click.BadParameter(safe(message), param_hint="--app")


def _broken(target: str, error: BaseException) -> CommandError:
    """Print the traceback of an error in the application, and return the command's error."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None and _is_ours(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    for line in traceback.format_exception(type(error), error, frame):
        for part in safe_lines(line.rstrip("\n")):
            say(part, err=True)
    return CommandError(f"importing {target} failed with {type(error).__qualname__}: {error}")


def _is_ours(file: str) -> bool:
    return file == __file__ or "importlib" in file


def configure(app: EmbedQ, target: str, given: dict[str, Any]) -> None:
    """Override the app's settings by those of the command line.

    Raises:
        ConfigurationError: a setting is invalid or comes too late.
    """
    if not given:
        return
    settings = dataclasses.replace(app.settings, **given)
    if settings == app.settings:
        return
    engine = app.engine
    if engine.connected:
        raise ConfigurationError(
            f"importing {target} already {'starts' if app.started else 'connects'} the app, so it is too late for "
            f"{', '.join('--' + name.replace('_', '-') for name in given)}; set it there, or call embedq.start() where "
            "the web server starts, not at import"
        )
    app.configure(
        clock=app.clock,
        enqueue_middleware=engine.enqueue_middleware,
        middleware=engine.middleware,
        **{field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)},
    )
