"""One process of the gateway: `python -m tawtin.gateway ledger|worker FOLDER PARENT`.

Its settings are in FOLDER. PARENT is the process id of the factory: when that goes, this one is told to end.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from tawtin.gateway.settings import GatewaySettings

SETTINGS: Final = "settings.json"
_PR_SET_PDEATHSIG: Final = 1


def _end_with(parent: int) -> None:
    """Let the kernel send SIGTERM when the factory's process is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)


def _open_files() -> None:
    """Allow as many connections as the system does: a request takes two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(role: str, folder: Path, parent: int) -> None:
    """Run it until SIGTERM."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format=f"%(asctime)s %(levelname)s gateway-{role}: %(message)s"
    )
    _end_with(parent)
    _open_files()
    settings = msgspec.json.decode((folder / SETTINGS).read_bytes(), type=GatewaySettings)

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        if role == "ledger":
            from tawtin.gateway.ledger import server  # noqa: PLC0415 - a worker has no use for SQLite

            await server.run(folder, settings, stop)
        else:
            from tawtin.gateway.worker import run as worker  # noqa: PLC0415 - nor the ledger for HTTP

            await worker.run(folder, settings, stop)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the factory, which then tells its processes
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
