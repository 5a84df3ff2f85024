"""The doctor looks at the door to models: while the factory is down, and while it is up."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from tawtin.cli import exits
from tests.cli.conftest import made
from tests.cli.test_doctor import checks
from tests.gateway.harness import Running
from tests.gateway.stub import Stub
from tests.gateway.test_up import configure, gateway_of, names

MODELS = """
[gateway]
port = {port}
snapshot_ms = 100
[models.plain]
[[models.plain.replicas]]
url = "{url}"
[[models.plain.replicas]]
url = "http://127.0.0.1:{nobody}"
key_file = "plain.key"
"""


def test_the_door_to_models_is_examined(tmp_path: Path) -> None:
    home = made(tmp_path / "home")
    key = home.folder / "plain.key"
    with Stub("plain") as stub, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as soon_closed:
            nobody = soon_closed.getsockname()[1]
        configure(home, MODELS.format(port=port, url=stub.url, nobody=nobody))
        told = home.tawtin("doctor", "--json")
        found = checks(told)
        assert told.code == exits.FAILED
        assert (found["gateway"]["state"], f"127.0.0.1:{port}" in found["gateway"]["found"]) == (
            "fault",
            True,
        )
        assert "models.plain.replicas[1].key_file" in found["gateway keys"]["found"]
        assert found["model servers"]["state"] == "warning"
        assert f"models.plain.replicas[1]: http://127.0.0.1:{nobody}" in found["model servers"]["found"]
        taken.close()
        key.write_text("sk-plain\n")
        try:
            home.up()
            Running.until(lambda: names(home) == {"ledger", "worker"}, "the gateway")
            Running.until(
                lambda: checks(home.tawtin("doctor", "--json"))["gateway"]["state"] == "ok", "its answer"
            )
            found = checks(home.tawtin("doctor", "--json"))
            assert gateway_of(home) in found["gateway"]["found"]
            assert "gateway keys" not in found
            for pid in home.processes():
                if b"tawtin.gateway\0worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGSTOP)
            stopped = checks(home.tawtin("doctor", "--json"))["gateway"]
            assert stopped["state"] == "fault"
            assert stopped["mend"]
        finally:
            home.end()
