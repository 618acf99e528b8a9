"""Settings from the environment, and mistakes in the names of things that are told with what was meant."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

import embedq
from embedq import ConfigurationError, EmbedQ, NoJobError
from embedq.config import Settings, idle_variables
from embedq.testing import job_context


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("STOP_TIMEOUT", "5", 5.0),
        ("TIMEOUT", "90", 90.0),
        ("TIMEOUT", "none", None),
        ("ASYNC_JOBS", "7", 7),
        ("PROCESS_MEMORY_MB", "512", 512),
        ("PROCESS_SETUP", "shop:setup", "shop:setup"),
        ("SIGTERM", "false", False),
        ("LEASE", "12.5", 12.5),
        ("QUEUES", "a, b", ("a", "b")),
    ],
)
def test_settings_are_read_from_the_environment_and_a_keyword_wins(name: str, text: str, value: Any) -> None:
    environment = {f"EMBEDQ_{name}": text}
    assert getattr(Settings.gather({}, environment), name.lower()) == value
    default = getattr(Settings(), name.lower())
    if default is not None:
        assert getattr(Settings.gather({name.lower(): default}, environment), name.lower()) == default
    assert idle_variables(environment) == []


def test_whatever_a_text_can_say_can_be_set_in_the_environment() -> None:
    given_in_code = {"connect", "retention", "audit_retention"}
    for item in fields(Settings):
        told = idle_variables({f"EMBEDQ_{item.name.upper()}": "x"})
        if item.name in given_in_code:
            assert told == [
                f"the environment variable EMBEDQ_{item.name.upper()} sets nothing; that setting can only be set in "
                f"code: embedq.start({item.name}=…)"
            ]
        else:
            assert told == [], item.name


def test_a_value_that_cannot_be_read_names_the_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"EMBEDQ_STOP_TIMEOUT='soon' is not a valid stop_timeout"):
        Settings.gather({}, {"EMBEDQ_STOP_TIMEOUT": "soon"})


def test_a_variable_that_sets_nothing_is_warned_of_once(
    app: EmbedQ, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EMBEDQ_STOP_TIMEOT", "5")
    monkeypatch.setenv("EMBEDQ_UNHEARD_OF", "5")
    # What Kubernetes and Docker set beside a service of that name, and what is read elsewhere.
    for name in ("SERVICE_HOST", "PORT", "PORT_8000_TCP_ADDR", "AUTOSTART", "DASHBOARD_PASSWORD"):
        monkeypatch.setenv(f"EMBEDQ_{name}", "tcp://10.0.0.1:8000")
    with caplog.at_level(logging.WARNING, logger="embedq"):
        app.connect()
        app.close()
        app.connect()
    told = [record.getMessage() for record in caplog.records]
    assert [line.partition(" sets")[0] for line in told] == [
        "the environment variable EMBEDQ_STOP_TIMEOT",
        "the environment variable EMBEDQ_UNHEARD_OF",
    ]
    assert "did you mean EMBEDQ_STOP_TIMEOUT?" in told[0]
    assert "there are: EMBEDQ_ALLOW_NETWORK_FILESYSTEM, " in told[1]


def test_a_misspelt_keyword_is_reported_with_what_was_meant(app: EmbedQ) -> None:
    app.connect()
    verbs: list[Callable[..., object]] = [app.jobs, app.count_jobs, app.retry_all, app.cancel_all]
    for verb in verbs:
        with pytest.raises(ConfigurationError, match="unknown filter nam; did you mean name"):
            verb(nam="x")
    with pytest.raises(ConfigurationError, match="unknown filter ids; there are: argument"):
        app.jobs(ids=[1])  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="unknown option prio; did you mean priority"):
        app.options(prio=3)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="unknown setting worker; did you mean workers"):
        EmbedQ("sqlite:///x.db", worker=3)


# -- current_job outside of a job --------------------------------------------------------------------------------------


def halfway() -> Any:
    job = embedq.current_job()
    job.log(f"attempt {job.attempt} of {job.name} in {job.queue} with {job.tags}, {job.meta}")
    job.progress(0.5, "halfway")
    return job.parent_result, job.cancelled


def test_outside_of_a_job_there_is_an_error_of_its_own_or_a_default() -> None:
    with pytest.raises(NoJobError, match=r"current_job\(None\) returns None.*embedq\.testing\.job_context\(\)"):
        embedq.current_job()
    assert embedq.current_job(None) is None


def test_a_test_gives_a_function_its_job() -> None:
    with job_context(attempt=2, tags=["a"], meta={"b": 1}, parent_result=7, cancelled=True) as job:
        assert embedq.current_job(None) is job
        assert halfway() == (7, True)
    assert job.logs == ["attempt 2 of test in default with ('a',), {'b': 1}"]
    assert job.reports == [(0.5, "halfway")]
    assert embedq.current_job(None) is None
