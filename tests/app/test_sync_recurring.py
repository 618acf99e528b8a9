"""Recurring jobs that a new build of the code no longer declares, on every database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

import embedq
from embedq import EmbedQ
from embedq.cli import main
from embedq.doctor.examination import examine
from tests.support import cli_runner


@embedq.job(name="sync:report")
def report() -> None: ...


class Build(Protocol):
    """Makes an app whose code declares recurring jobs of these names, connected."""

    def __call__(self, *names: str) -> EmbedQ: ...


@pytest.fixture
def build(url: str) -> Iterator[Build]:
    with ExitStack() as stack:

        def make(*names: str) -> EmbedQ:
            app = EmbedQ(url)
            for name in names:
                app.recurring(name, "0 4 * * *", report)
            app.connect()
            stack.callback(app.database.close)
            return app

        yield make


def stored(app: EmbedQ) -> dict[str, bool]:
    """The recurring jobs, and whether each is missing from the code."""
    return {one.name: one.missing_since is not None for one in app.schedules()}


def test_one_that_the_new_build_dropped_is_marked_and_pruned_when_asked_for(build: Build) -> None:
    first = build("daily", "weekly")
    assert first.sync_recurring() == []
    second = build("daily")
    # At run time, by a request.
    second.recurring("of user 7", "@hourly", report)
    assert second.sync_recurring() == ["weekly"]
    assert stored(second) == {"daily": False, "of user 7": False, "weekly": True}
    assert second.sync_recurring(prune=True) == ["weekly"]
    assert stored(second) == {"daily": False, "of user 7": False}


def test_those_that_were_never_declared_in_code_are_left_alone(build: Build) -> None:
    first = build("daily")
    first.sync_recurring()
    first.recurring("of user 7", "@hourly", report)
    second = build("daily")
    assert second.sync_recurring(prune=True) == []
    assert stored(second).keys() == {"daily", "of user 7"}


def test_declaring_it_again_takes_the_mark_away(build: Build) -> None:
    build("daily").sync_recurring()
    assert build().sync_recurring() == ["daily"]
    again = build("daily")
    assert again.sync_recurring() == []
    assert stored(again) == {"daily": False}


def test_programs_with_groups_of_their_own_do_not_prune_each_others(build: Build) -> None:
    assert build("daily").sync_recurring(prune=True, group="web") == []
    other = build("imports")
    assert other.sync_recurring(prune=True, group="imports") == []
    assert stored(other).keys() == {"daily", "imports"}


def test_before_the_app_is_connected_it_takes_effect_when_it_is(build: Build, url: str) -> None:
    build("daily").sync_recurring()
    app = EmbedQ(url)
    assert app.sync_recurring(prune=True) == []
    app.recurring("weekly", "@weekly", report)
    app.connect()
    assert stored(app).keys() == {"weekly"}
    app.database.close()


def test_a_group_is_a_name(build: Build) -> None:
    with pytest.raises(embedq.ConfigurationError, match="group="):
        build().sync_recurring(group="")


def test_the_command_line_and_the_doctor_show_what_is_missing(build: Build, url: str) -> None:
    build("daily").sync_recurring()
    app = build()
    app.sync_recurring()
    runner = cli_runner()
    assert "no longer in the code" in runner.invoke(main, ["schedules", "--url", url]).output
    assert "no longer in the code since" in runner.invoke(main, ["schedules", "show", "daily", "--url", url]).output
    [document] = json.loads(runner.invoke(main, ["schedules", "--url", url, "--json"]).output)["schedules"]
    assert document["missing_since"] is not None
    findings = [finding for section in examine(app) for finding in section.findings]
    [missing] = [finding for finding in findings if finding.code == "schedule-missing"]
    assert "1 recurring job" in missing.problem
