"""A parked job is taken by a process that has what it needs, and by no other."""

import sys

import pytest

from embedq.by_value import pack, unpack
from embedq.errors import ParkError
from embedq.serializers import loads_value
from embedq.signing import Key
from embedq.task import Registry, Task
from embedq.worker.resolving import Resolver
from tests.callables import HERE, plain

KEY = Key.from_text("a secret that is long enough")


@pytest.fixture
def resolver():
    registry = Registry()
    registry.add(Task(plain, name="send-mail", registered=True), aliases=("old-name",))
    return Resolver(registry, lambda: KEY)


def needs_of(action):
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
def test_what_a_parked_job_needs_is_here_or_is_not(resolver, needs, here):
    assert resolver.has(needs) is here


def test_a_lambda_waits_for_a_process_that_has_the_module(resolver, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "only_there.py").write_text("def help():\n    return 1\n")
    import only_there

    packed = pack(lambda: only_there.help(), limit=10_000)
    del sys.modules["only_there"]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
        needs = needs_of(lambda: unpack(packed))
        assert not resolver.has(needs)
    assert resolver.has(needs)
    assert "only_there" not in sys.modules


@pytest.mark.parametrize("stored", ['{"$":["complex",[1,2]]}', '{"$":["zone","Mars/Olympus"]}'])
def test_what_a_newer_version_wrote_is_left_to_it(resolver, stored):
    assert not resolver.has(needs_of(lambda: loads_value(stored)))


def test_finding_out_what_is_here_imports_nothing(resolver):
    assert "antigravity" not in sys.modules
    assert resolver.has("module antigravity")
    assert not resolver.has("task antigravity:fly")
    assert not resolver.has("type antigravity:Comic")
    assert "antigravity" not in sys.modules
