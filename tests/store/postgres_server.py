"""A PostgreSQL server for tests: made in a temporary folder, on a Unix socket alone, gone at the end."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo


def binaries() -> Path:
    """The folder of the newest server programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path or "initdb").parent


class Server:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.uid: int | None = None
        if os.geteuid() == 0:  # initdb refuses root
            nobody = pwd.getpwnam("postgres" if _has_user("postgres") else "nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self.uid = nobody.pw_uid
        made = subprocess.run(
            [
                binaries() / "initdb",
                "-A",
                "trust",
                "--no-sync",
                "-U",
                "test",
                "-E",
                "UTF8",
                "-D",
                folder / "data",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            user=self.uid,
        )
        assert made.returncode == 0, made.stderr

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    binaries() / "postgres",
                    "-D",
                    self.folder / "data",
                    "-k",
                    self.folder,
                    "-c",
                    "listen_addresses=",
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self.uid,
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.dsn()).close()
                return
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.05)

    def stop(self, sign: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends sessions and shuts down; SIGQUIT is a crash that recovers from the write-ahead log."""
        if self.process is not None:
            self.process.send_signal(sign)
            self.process.wait(30)
            self.process = None

    def dsn(self, schema: str = "public", host: str | Path = "") -> str:
        return make_conninfo(
            "",
            host=str(host or self.folder),
            user="test",
            dbname="postgres",
            options=f"-csearch_path={schema}",
        )

    def new_schema(self) -> str:
        """The address of a fresh, empty schema."""
        name = f"t{secrets.token_hex(6)}"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return self.dsn(name)


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


@contextmanager
def running_server() -> Generator[Server]:
    folder = Path(
        tempfile.mkdtemp(prefix="pg")
    )  # short, for the socket's name, and open to the server's user
    try:
        server = Server(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
