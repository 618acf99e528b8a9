"""The ways to run a script, and whether another process finds the functions that are in it."""

from __future__ import annotations

import subprocess
import sys
import time
import zipapp
from pathlib import Path

import pytest

import embedq
from embedq import JobState
from tests.support import ROOT

# What it prints: the registered function's name, and the results of a process for a registered function, one that is
# not, one of a module beside it, and a lambda.
SCRIPT = """
import embedq
from {package}beside import twice

@embedq.job
def send(number):
    return [number]

def plain(number):
    return (number, __name__)

if __name__ == "__main__":
    with embedq.start("sqlite:///jobs.db", workers=1, processes=1):
        in_process = embedq.options(executor="process", retry=embedq.NO_RETRY)
        calls = [(send, 1), (plain, 2), (twice, 3), (lambda number: number, 4)]
        print(send.name, [in_process.enqueue(*call).result(timeout=60) for call in calls])
"""
# No guard, as in many a package's `__main__` and in what `python -m zipapp` writes.
BARE = "from shop.cli import main\nmain()\n"
CLI = """
import embedq
from shop import send, plain

def main():
    with embedq.start("sqlite:///jobs.db", workers=1, processes=1):
        in_process = embedq.options(executor="process", retry=embedq.NO_RETRY)
        print(send.name, [in_process.enqueue(*call).result(timeout=60) for call in [(send, 1), (plain, 2)]])
"""
PACKAGE = """
import embedq

@embedq.job
def send(number):
    return [number]

def plain(number):
    return (number, __name__)
"""


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def app_folder(tmp_path: Path) -> Path:
    """A folder `shop` with a `__main__`, in a folder where it can be run."""
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "beside.py").write_text("def twice(number):\n    return 2 * number\n")
    (shop / "__main__.py").write_text(SCRIPT.format(package=""))
    return tmp_path


EXPECTED = "[[1], (2, '__mp_main__'), 6, 4]"


@pytest.mark.parametrize("how", ["shop", "shop/__main__.py", "shop.pyz", "shop-1.0.pyz"])
def test_a_folder_or_a_zip_file_goes_by_its_name_and_its_functions_run_in_processes(app_folder: Path, how: str) -> None:
    if how.endswith(".pyz"):
        zipapp.create_archive(app_folder / "shop", app_folder / how)
    assert run(app_folder, how) == f"{Path(how).stem if how.endswith('.pyz') else 'shop'}.__main__:send {EXPECTED}"


def test_the_folder_that_one_is_in_has_a_name_too(app_folder: Path) -> None:
    assert run(app_folder / "shop", ".") == f"shop.__main__:send {EXPECTED}"


def test_a_package_is_run_by_m_and_its_functions_run_in_processes(app_folder: Path) -> None:
    (app_folder / "shop/__init__.py").touch()
    (app_folder / "shop/__main__.py").write_text(SCRIPT.format(package="shop."))
    assert run(app_folder, "-m", "shop") == f"shop:send {EXPECTED}"


@pytest.mark.parametrize("how", ["-m shop", "shop.pyz"])
def test_functions_of_a_package_are_found_without_running_its_main(tmp_path: Path, how: str) -> None:
    shop = tmp_path / "source/shop"
    shop.mkdir(parents=True)
    for name, text in (("__init__.py", PACKAGE), ("__main__.py", BARE), ("cli.py", CLI)):
        (shop / name).write_text(text)
    zipapp.create_archive(tmp_path / "source", tmp_path / "source/shop.pyz", main="shop.cli:main")
    assert run(tmp_path / "source", *how.split()) == "shop:send [[1], (2, 'shop')]"


def test_what_is_typed_in_is_refused_for_what_it_is(tmp_path: Path) -> None:
    source = """
import embedq
def plain(): ...
try:
    embedq.options(executor="process").task(plain)
except embedq.ConfigurationError as error:
    print(error)
"""
    assert "typed at a prompt or piped into Python; put it into a file" in run(tmp_path, "-c", source)


# What `subprocess` and a shell cannot do on every system: the program closes its own, before it imports anything.
DAEMON = """
import os, sys
for descriptor in (0, 1, 2):
    os.close(descriptor)
os.execv(sys.executable, [sys.executable, "daemon.py", *sys.argv[1:]])
"""
PRINTS = """
import sys
import time
from pathlib import Path
import embedq

@embedq.job
def speak(number):
    print("printed")
    sys.stdout and sys.stdout.flush()
    return number

if __name__ == "__main__":
    with embedq.start(sys.argv[1], workers=1, processes=1):
        jobs = [embedq.options(executor=executor, retry=embedq.NO_RETRY).enqueue(speak, 7)
                for executor in ("thread", "process")]
        results = [job.result(timeout=60) for job in jobs]
    same = {os.fstat(0).st_rdev, os.fstat(1).st_rdev, os.fstat(2).st_rdev} == {os.stat(os.devnull).st_rdev}
    Path("said").write_text(f"{results} {same}")
"""


def test_a_process_without_standard_descriptors_opens_nothing_in_their_place(tmp_path: Path, url: str) -> None:
    (tmp_path / "start.py").write_text(DAEMON)
    (tmp_path / "daemon.py").write_text("import os" + PRINTS)
    run(tmp_path, "start.py", url)
    assert (tmp_path / "said").read_text() == "[7, 7] True"


ENDS = """
import asyncio, sys, threading, time
import embedq

begun = threading.Event()
no_retry = embedq.options(retry=embedq.NO_RETRY)

@embedq.job
async def call_when_the_main_thread_has_ended():
    begun.set()
    while threading.main_thread().is_alive():
        await asyncio.sleep(0.01)
    return await asyncio.to_thread(int, "7")

def run_a_loop():
    return call_when_the_main_thread_has_ended()

@embedq.job
async def wait_in_a_thread():
    begun.set()
    await asyncio.to_thread(time.sleep, 90)

if __name__ == "__main__":
    embedq.start("sqlite:///jobs.db", workers=1, interrupt_grace=0.5, stop_timeout=float(sys.argv[2]))
    no_retry.enqueue(globals()[sys.argv[1]])
    assert begun.wait(60)
"""


@pytest.mark.parametrize(
    ("function", "stop_timeout", "state"),
    [
        ("call_when_the_main_thread_has_ended", 60, JobState.SUCCEEDED),
        ("run_a_loop", 60, JobState.SUCCEEDED),
        ("wait_in_a_thread", 0.5, JobState.READY),
    ],
)
def test_at_the_end_of_the_interpreter_the_threads_of_async_jobs_last_as_long_as_the_jobs(
    tmp_path: Path, function: str, stop_timeout: float, state: JobState
) -> None:
    (tmp_path / "ends.py").write_text(ENDS)
    began = time.monotonic()
    run(tmp_path, "ends.py", function, str(stop_timeout))
    assert time.monotonic() - began < 60
    app = embedq.EmbedQ(f"sqlite:///{tmp_path / 'jobs.db'}").connect()
    assert [job.state for job in app.jobs()] == [state]
    app.close()
