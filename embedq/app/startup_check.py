"""The calls from the engine to the doctor, which stands above it. The doctor is imported when it is first called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedq.engine.lifecycle import Engine

if TYPE_CHECKING:
    from embedq.engine.runtime import Runtime


def check_startup(engine: Engine, runtime: Runtime) -> None:
    """Run the cheap checks of the doctor soon after the start, and log what they find."""
    from embedq.doctor.startup_check import check_startup as check

    check(
        engine.settings,
        engine.clock,
        engine.database,
        server_uuid=runtime.membership.presence.uuid,
        has=runtime.has,
    )


def warn_of_takeover(engine: Engine, name: str, formerly: str, task: str) -> None:
    """Log that a recurring job was given another function, if it may belong to another app."""
    from embedq.doctor.startup_check import warn_of_takeover as warn

    warn(engine.settings, engine.clock, engine.database, name=name, formerly=formerly, task=task)
