"""Keys and signatures: what is accepted, what is refused, and that a key file is made once."""

import copy
import errno
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedq
from embedq.errors import ConfigurationError
from embedq.tasks.signing import Key, load_or_create_key

SECRET = "correct horse battery staple"
posix = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")


@given(st.lists(st.text(), max_size=4))
def test_what_a_key_signed_it_verifies(parts: Any) -> None:
    key = Key.from_text(SECRET)
    assert key.verify(key.sign(*parts), *parts)


@given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
def test_different_parts_have_different_signatures(one: Any, other: Any) -> None:
    key = Key.from_text(SECRET)
    assert (key.sign(*one) == key.sign(*other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a", ""), ("a",)),
        (("1:a",), ("a",)),
        (("a", "b"), ("a1:b",)),
        (("1:a1:b",), ("a", "b")),
    ],
)
def test_parts_cannot_be_shifted_into_each_other(one: Any, other: Any) -> None:
    key = Key.from_text(SECRET)
    assert not key.verify(key.sign(*one), *other)


@pytest.mark.parametrize("signature", ["", "0" * 64, "é", "\ud800", "0" * 63 + "é"])
def test_a_wrong_signature_is_refused_and_not_an_error(signature: Any) -> None:
    assert Key.from_text(SECRET).verify(signature, "a") is False


def test_another_key_does_not_verify() -> None:
    key, other = Key.from_text(SECRET), Key.from_text(SECRET + "!")
    assert key.id != other.id
    assert not other.verify(key.sign("a"), "a")


def test_the_signature_is_the_same_in_every_version() -> None:
    key = Key.from_text(SECRET)
    assert key.id == "681d58fb"
    assert key.sign("shop:send", "[[1],{}]") == "896cf1a6064d9460985ce662cea8eaf00431c8b6c32119bb88a16e300de79ed9"


def test_a_key_shows_its_id_and_never_its_secret() -> None:
    key = Key.from_text(SECRET)
    assert repr(key) == f"<Key {key.id}>"
    assert not hasattr(key, "__dict__")
    for copier in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            copier(key)


def test_white_space_around_a_secret_does_not_count() -> None:
    assert Key.from_text(f"  {SECRET}\n").id == Key.from_text(SECRET).id
    with pytest.raises(ConfigurationError, match=r"has 15 characters and needs 16.*secrets.token_hex"):
        Key.from_text("x" * 15 + "\n")


def test_a_key_file_is_made_once_and_read_after(tmp_path: Path) -> None:
    path = tmp_path / "embedq.key"
    key = load_or_create_key(path)
    assert load_or_create_key(path).id == key.id
    assert Key.from_text(path.read_text()).id == key.id
    assert [file.name for file in tmp_path.iterdir()] == ["embedq.key"]


@posix
def test_a_key_file_is_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create_key(tmp_path / "embedq.key")
    finally:
        os.umask(before)
    assert (tmp_path / "embedq.key").stat().st_mode & 0o777 == 0o600


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_key_file_that_others_may_open_is_refused_with_the_command_to_run(tmp_path: Path, mode: Any) -> None:
    path = tmp_path / "my app.key"
    load_or_create_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=rf"mode {mode:o}.*run: chmod 600 '{path}'"):
        load_or_create_key(path)


@pytest.mark.parametrize("text", ["", "\n", "ab" * 31, "ab" * 32 + "ab", "xy" * 32, "ab" * 2000, "\x00" * 64])
def test_a_damaged_key_file_is_refused_and_left_alone(tmp_path: Path, text: Any) -> None:
    path = tmp_path / "embedq.key"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"is damaged.*restore it from a backup, or delete it"):
        load_or_create_key(path)
    assert path.read_text() == text


def test_a_missing_folder_and_a_folder_in_place_of_the_file_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"can be neither read nor created.*or set the secret key"):
        load_or_create_key(tmp_path / "missing" / "embedq.key")
    with pytest.raises(ConfigurationError, match="can be neither read nor created"):
        load_or_create_key(tmp_path)


@posix
def test_a_dangling_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "embedq.key"
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigurationError, match="can be neither read nor created"):
        load_or_create_key(path)
    assert not (tmp_path / "gone").exists()


def test_where_there_are_no_hard_links_a_key_file_is_made_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "embedq.key"
    assert load_or_create_key(path).id == load_or_create_key(path).id
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def _make_keys(folder: Any, count: Any, barrier: Any, answers: Any) -> None:
    barrier.wait()
    answers.put([load_or_create_key(Path(folder) / f"{number}.key").id for number in range(count)])


def test_eight_processes_at_once_agree_on_every_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(8), context.Queue()
    processes = [context.Process(target=_make_keys, args=(str(tmp_path), 50, barrier, answers)) for _ in range(8)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert all(ids == found[0] for ids in found)
    assert len(set(found[0])) == 50
    assert len(list(tmp_path.iterdir())) == 50


@pytest.mark.parametrize("place", ["os.link", "os.fsync"])
def test_a_crash_in_the_middle_leaves_no_half_written_key(tmp_path: Path, place: Any) -> None:
    path = tmp_path / "embedq.key"
    script = f"""
        import os, pathlib
        from embedq.tasks.signing import load_or_create_key
        {place} = lambda *args: os._exit(9)
        load_or_create_key(pathlib.Path({str(path)!r}))
    """
    crashed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert crashed.returncode == 9
    assert not path.exists()
    assert load_or_create_key(path).id == load_or_create_key(path).id


def test_git_adds_nothing_of_the_folder_that_holds_the_key(tmp_path: Path) -> None:
    app = embedq.EmbedQ(tmp_path / "app.db").start()
    try:
        app.enqueue(lambda: None)
        assert (tmp_path / "app.db.embedq" / "key").exists()
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
        subprocess.run(["git", "add", "--all"], cwd=tmp_path, check=True)
        added = subprocess.run(["git", "ls-files"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    finally:
        assert app.stop()
        app.database.close()
    assert "app.db" in added.split()
    assert "embedq" not in added
