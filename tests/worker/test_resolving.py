"""A parked job is taken by a process that has what it needs, and by no other."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from embedq.errors import ParkError
from embedq.serializers import loads_value
from embedq.tasks.pickled import pack, unpack
from embedq.tasks.registry import Registry
from embedq.tasks.signing import Key
from embedq.tasks.task import Task
from embedq.worker.resolving import Resolver
from tests.tasks.callables import HERE, plain

KEY = Key.from_text("a secret that is long enough")


@pytest.fixture
def resolver() -> Any:
    registry = Registry()
    registry.add(Task(plain, name="send-mail", registered=True), aliases=("old-name",))
    return Resolver(registry, lambda: KEY)


def needs_of(action: Any) -> Any:
    with pytest.raises(ParkError) as caught:
        action()
    return caught.value.needs


@pytest.mark.parametrize(
    ("needs", "here"),
    [
        ("task send-mail", True),
        ("task old-name", True),
        (f"task {HERE}:plain", True),
        ("task nobody", False),
        (f"type {HERE}:Mailer", True),
        ("type shop:Order", False),
        ("module json", True),
        ("module json.no_such_part", True),
        ("module no_such_module", False),
        ("module ", False),
        ("module __main__", True),
        ("stored type date", True),
        ("stored type complex", False),
        ("time zone Europe/Paris", True),
        ("time zone Mars/Olympus", False),
        ("time zone ../etc", False),
        (f"python {sys.version_info.major}.{sys.version_info.minor}", True),
        ("python 3.99", False),
        (f"key {KEY.id}", True),
        ("key 00000000", False),
        ("an unaltered row", False),
        ("", False),
    ],
)
def test_what_a_parked_job_needs_is_here_or_is_not(resolver: Any, needs: Any, here: Any) -> None:
    assert resolver.has(needs) is here


def test_a_lambda_waits_for_a_process_that_has_the_module(
    resolver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "only_there.py").write_text("def help():\n    return 1\n")
    only_there = importlib.import_module("only_there")

    packed = pack(lambda: only_there.help(), limit=10_000)
    del sys.modules["only_there"]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
        needs = needs_of(lambda: unpack(packed))
        assert not resolver.has(needs)
    assert resolver.has(needs)
    assert "only_there" not in sys.modules


@pytest.mark.parametrize("stored", ['{"$":["complex",[1,2]]}', '{"$":["zone","Mars/Olympus"]}'])
def test_what_a_newer_version_wrote_is_left_to_it(resolver: Any, stored: Any) -> None:
    assert not resolver.has(needs_of(lambda: loads_value(stored)))


def test_finding_out_what_is_here_imports_nothing(resolver: Any) -> None:
    assert "antigravity" not in sys.modules
    assert resolver.has("module antigravity")
    assert not resolver.has("task antigravity:fly")
    assert not resolver.has("type antigravity:Comic")
    assert "antigravity" not in sys.modules
