"""nginx on loopback as a proxy in front of one server, for tests and benchmarks."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

_STARTED_S: Final = 30
_SETTINGS: Final = """
worker_processes 1; daemon off; pid {folder}/pid; error_log /dev/null;
events {{ worker_connections 24000; }}
worker_rlimit_nofile 65536;
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; keepalive_requests 1000000; client_max_body_size 16m;
  {more}
  upstream behind {{ server {server}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


class Proxy(NamedTuple):
    """A running nginx."""

    address: str
    """Host and port."""
    workers: list[int]
    """Processes that forward."""


def missing() -> str:
    """What is not installed here, or nothing."""
    return "" if _program() else "nginx (Debian package nginx-light)"


def _program() -> str | None:
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def proxy(server: str, more: str = "") -> Generator[Proxy]:
    """Run nginx before `server` (host and port) for the time of the block. `more` are settings of its `http` part."""
    program = _program()
    assert program is not None, missing()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), _free_port()
        folder.chmod(0o755)
        settings = _SETTINGS.format(folder=folder, server=server, port=port, more=more)
        (folder / "nginx.conf").write_text(settings)
        process = subprocess.Popen([program, "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
        try:
            yield Proxy(f"127.0.0.1:{port}", _workers(process, port))
        finally:
            process.terminate()
            process.wait(30)


def _workers(process: subprocess.Popen[bytes], port: int) -> list[int]:
    """Its worker, once that listens."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + _STARTED_S
    while time.monotonic() < until and process.poll() is None:
        found = [int(each) for each in children.read_text().split()]
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                pass
        except OSError:
            time.sleep(0.02)
            continue
        if found:
            return found
        time.sleep(0.02)
    msg = "nginx did not start"
    raise RuntimeError(msg)
