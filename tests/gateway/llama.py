"""llama.cpp's server with a tiny model of random weights, for tests that ask a real one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class Server:
    """A server that is up. It can be held in the middle of an answer."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    def hold(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def serving(file: Path, *words: str) -> Generator[Server]:
    """Serve the model in `file`, which is written where it is absent."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.tiny_model", str(file), "--serve", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), "it did not start"
        yield Server(process, url)
    finally:
        process.send_signal(signal.SIGCONT)
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
