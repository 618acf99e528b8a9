"""Each benchmark still runs and says something. How fast is never asserted: the benchmarks themselves tell that."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.measures import MEASURES, possible
from benchmarks.page import markers, publish, table
from benchmarks.places import open_site
from benchmarks.report import Figure, at_most, machine, ratio_at_least, ratio_at_most
from benchmarks.scale import Scale
from tests import mysql_home
from tests.databases import KINDS, POSTGRESQL

TINY = Scale(
    durabilities=("normal",),
    rounds=1,
    drain_jobs=50,
    enqueue_rounds=2,
    enqueue_slice=10,
    many_jobs=50,
    produce_jobs=50,
    latency_samples=5,
    other_samples=5,
    other_lone_samples=1,
    process_jobs=5,
    delayed_jobs=5,
    delayed_from=0.05,
    delayed_until=0.1,
    idle_seconds=0.2,
    wake_seconds=0.05,
    wakes=1,
    load_seconds=0.2,
    drain_processes=(1, 2),
    backlogs=(20, 200),
    backlog_drained=50,
    backlog_enqueued=10,
    limited_drained=50,
    starts=1,
    growth_seconds=2.5,
    growth_per_second=50,
    dashboards=(1_000, 2_000),
    dashboard_calls=1,
    host_servers=("fastapi",),
    host_cases=("bare", "idle", "noop-guard"),
    host_rounds=1,
    host_warm_seconds=0.1,
    host_steady_seconds=0.2,
    host_flat_seconds=0.1,
)


# On servers: those that do something there that they do not do elsewhere.
ON_SERVERS = ("drain", "latency", "connections", "idle", "backlog", "limited")
SERVERS = {"postgresql": POSTGRESQL, "mysql": mysql_home.MYSQL}


@pytest.mark.parametrize("name", possible("sqlite"))
def test_each_measure_yields_positive_figures_that_can_be_serialized(name: str, tmp_path: Path) -> None:
    with open_site(None, tmp_path) as site:
        check(name, list(MEASURES[name](TINY, site)))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in SERVERS])
def test_a_server_is_measured_and_keeps_no_tables(kind: str, tmp_path: Path) -> None:
    with open_site(SERVERS[kind], tmp_path) as site:
        assert site.kind == kind
        for name in ON_SERVERS:
            check(name, list(MEASURES[name](TINY, site)))
            places = site.places
            site.clear()
            for place in places:
                with pytest.raises(Exception, match=r"exist|Unknown database"):
                    place.ask("SELECT count(*) FROM embedq_jobs")
                place.close()


def check(name: str, figures: list[Figure]) -> None:
    assert figures
    for figure in figures:
        assert figure.measure == name
        assert figure.title
        assert len(figure.limits) in (0, len(figure.values))
        assert all(limit > 0 for limit in figure.limits)
        # CPU time is counted in steps, so so short an idle time may have cost none.
        assert all(value > 0 or (name == "idle" and figure.unit == "%") for value in figure.values), figure
        json.dumps(figure.as_json())


@pytest.mark.parametrize("arguments", [["--database", "oracle://host/x"], ["--only", "connections"]])
def test_a_database_or_measure_that_is_not_supported_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert re.search(
        "should begin with postgresql:// or|connections cannot be measured on sqlite", capsys.readouterr().err
    )


def test_a_mark_on_the_ratio_looks_at_the_median_of_each_rounds_own() -> None:
    figure = Figure(
        measure="x", title="x", unit="jobs/s", values=[10, 30, 20], limits=[100, 60, 40], mark=ratio_at_least(0.5)
    )
    assert figure.ratio == 0.5
    assert figure.reached is True


def test_a_missed_mark_is_reported_as_missed() -> None:
    figure = Figure(measure="x", title="x", unit="ms", values=[9.0], limits=[4.0], mark=ratio_at_most(2))
    assert figure.reached is False
    assert Figure(measure="x", title="x", unit="ms", values=[9.0], mark=at_most(10)).reached is True
    assert Figure(measure="x", title="x", unit="ms", values=[9.0]).reached is None


def test_a_run_is_written_into_the_page_between_its_markers(tmp_path: Path) -> None:
    missed = Figure(
        measure="x", title="drain", unit="jobs/s", values=[100.0], limits=[1000.0], mark=ratio_at_least(0.25), load=0.5
    )
    told = Figure(measure="x", title="  besides", unit="ms", values=[1.5], load=1.5)
    page = tmp_path / "page.md"
    (begin, end), (other, _) = markers("postgresql"), markers("mysql")
    page.write_text(f"before\n{begin}\nold\n{end}\n{other}\nafter\n", encoding="utf-8")
    publish(
        {"machine": machine("postgresql", "PostgreSQL 15.2", None), "figures": [missed.as_json(), told.as_json()]}, page
    )
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith(f"\n{end}\n{other}\nafter\n")
    assert "PostgreSQL 15.2, Python" in text
    assert "old" not in text
    assert "| drain | 100.0 jobs/s | 1,000 jobs/s | 0.10 | ≥ 0.25 × | **missed** |" in text
    assert "| … besides | 1.50 ms |  |  |  |  |" in text
    assert "load average 0.5 to 1.5" in text
    assert "0 of 1 marks reached" in text


@pytest.mark.parametrize(("load", "cores", "warned"), [(1.1, 2, True), (1.0, 2, False), (-1.0, 8, False)])
def test_a_run_on_a_busy_machine_carries_a_warning_in_its_page(load: float, cores: int, warned: bool) -> None:
    about = machine("sqlite", "SQLite", None) | {"load_average": load, "cores": cores}
    figure = Figure(measure="x", title="x", unit="ms", values=[1.0])
    text = table({"machine": about, "figures": [figure.as_json()]})
    assert ("**Warning: the load average was 1.1 on 2 cores when this run began" in text) is warned


def test_a_run_on_a_busy_machine_prints_a_warning_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 1000.0, 1000.0))
    main(["--only", "startup", "--quick", "--repeat", "1", "--folder", str(tmp_path)])
    told = capsys.readouterr()
    assert "WARNING: the load average was 1000.0 on " in told.err
    assert "≤ 100 ms" in told.out
    assert "≤ 50 ms" in told.out


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    choice = ["--only", "enqueue-many", "--quick", "--repeat", "1", "--durability", "normal"]
    main([*choice, "--json", str(file), "--folder", str(tmp_path)])
    assert "enqueue_many of" in capsys.readouterr().out
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))
    [figure] = document["figures"]
    assert figure["mark"] == {"of": "ratio", "at_least": 0.25}
    assert isinstance(figure["reached"], bool)
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
