"""Debian's nginx as a reverse proxy, with a configuration of the test's own; the system's service is left alone."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support import eventually

KINDS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def is_there() -> bool:
    """Whether there is one to test with. In CI there has to be."""
    return bool(os.environ.get("CI")) or NGINX is not None


@contextmanager
def proxying(folder: Path, upstream: int, *directives: str) -> Iterator[str]:
    """nginx in front of a port of this machine; its address.

    Args:
        directives: of the location, such as `proxy_set_header Host localhost`.
    """
    port = free_port()
    configuration = folder / "nginx.conf"
    location = "".join(f"            {directive};\n" for directive in directives)
    configuration.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n"
        "events {}\n"
        "http {\n    access_log off;\n"
        + "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in KINDS)
        + f"    upstream app {{ server 127.0.0.1:{upstream}; keepalive 4; }}\n"
        f"    server {{\n        listen 127.0.0.1:{port};\n"
        f"        location / {{\n            proxy_pass http://app;\n{location}        }}\n    }}\n}}\n"
    )  # fmt: skip
    process = subprocess.Popen([str(NGINX or "nginx"), "-p", str(folder), "-c", str(configuration), "-e", "stderr"],
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        eventually(lambda: answers(port) or process.poll() is not None, message="nginx did not start")
        assert process.poll() is None, process.communicate()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=20)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
