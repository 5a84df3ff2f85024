"""The peers of the gateway, each before the same stub: nginx, LiteLLM's proxy, vllm-router. One process each.

nginx is Debian's package nginx-light. The others are installed by `sh tools/bootstrap.sh peers` into an environment of
their own, as they pull in half a gigabyte.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tools import nginx_proxy

BIN: Final = Path(__file__).parents[1] / ".make" / "peers" / "bin"
MODEL: Final = "plain"
KEY: Final = "sk-bench"
STARTED_S: Final = 90
LITELLM: Final = """
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "http://{stub}/v1", api_key: none}}
litellm_settings: {{telemetry: false, num_retries: 0}}
general_settings: {{master_key: {key}}}
"""


class Door(NamedTuple):
    """Something that answers as the stub behind it does."""

    address: str
    key: str
    processes: list[int]
    """Those that forward."""


class Peer(NamedTuple):
    """A door, and how it is opened."""

    name: str
    missing: str
    open: Callable[[str], AbstractContextManager[Door]]
    """The stub's address -> the door, for the time of a block."""


def peers() -> list[Peer]:
    """All of them, also those that are not installed."""
    how = "sh tools/bootstrap.sh peers"
    absent = {each: "" if (BIN / each).exists() else how for each in ("litellm", "vllm-router")}
    return [
        Peer("nginx", nginx_proxy.missing(), _nginx),
        Peer("LiteLLM", absent["litellm"], _litellm),
        Peer("vllm-router cache_aware", absent["vllm-router"], _vllm_router),
    ]


@contextmanager
def _nginx(stub: str) -> Generator[Door]:
    with nginx_proxy.proxy(stub) as proxy:
        yield Door(proxy.address, "none", proxy.workers)


@contextmanager
def _litellm(stub: str) -> Generator[Door]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "config.yaml")
        settings.write_text(LITELLM.format(model=MODEL, stub=stub, key=KEY))
        words = [str(BIN / "litellm"), "--config", str(settings), "--num_workers", "1", "--host", "127.0.0.1"]
        with _program(words, "/health/liveliness", {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}) as door:
            yield door


@contextmanager
def _vllm_router(stub: str) -> Generator[Door]:
    words = [str(BIN / "vllm-router"), "--worker-urls", f"http://{stub}", "--policy", "cache_aware"]
    words += ["--host", "127.0.0.1", "--prometheus-host", "127.0.0.1", "--prometheus-port", str(_free_port())]
    with _program([*words, "--log-level", "error"], "/health", {}) as door:
        yield door


@contextmanager
def _program(words: list[str], health: str, environment: dict[str, str]) -> Generator[Door]:
    """Run a program at a free port until the block ends, once it is well."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [*words, "--port", str(port)],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            if not _well(process, f"http://127.0.0.1:{port}{health}"):
                msg = f"{Path(words[0]).name} did not start"
                raise RuntimeError(msg)
            yield Door(f"127.0.0.1:{port}", KEY, _family(process.pid))
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)


def _well(process: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until it answers; whether it does."""
    until = time.monotonic() + STARTED_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - of this machine
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            time.sleep(0.2)
    return False


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").iterdir():
            found += [int(each) for each in (task / "children").read_text().split()]
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
