"""The client against a real factory: both kinds of it, and what they do when connections break."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tawtin.client import ApiError, AsyncClient, Client, ConnectionBroken, calls, config
from tawtin.client.errors import ConfigError
from tawtin.client.wire import AnswerReader, EventReader
from tawtin.model.requests import KeyNew, TenantChange, TenantNew
from tawtin.model.tenant import Quota, Scope
from tawtin.spec import parse_yaml
from tawtin.store.sqlite import SqliteJournal
from tests.web.harness import JOB, WEB, Factory, FakeEngine, running


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(kind).items()
            if callable(member) and not name.startswith("_")
        }

    assert methods(Client) == methods(AsyncClient)
    builders = {
        name
        for name, made in vars(calls).items()
        if inspect.isfunction(made) and "Call[" in str(made.__annotations__.get("return"))
    }
    assert builders - set(methods(Client)) == {"missing_blobs", "put_blob", "put_artifact"}, (
        "these are parts of `upload`"
    )


def test_a_spec_is_submitted_in_each_form(factory: Factory, tmp_path: Path) -> None:
    yaml = tmp_path / "job.yaml"
    yaml.write_text("name: digits\nrun: 'true'\n")
    script = tmp_path / "job.sbatch"
    script.write_text("#!/bin/bash\n#SBATCH --job-name=digits\ntrue\n")
    parsed = parse_yaml(yaml.read_text(), file="digits.yaml")
    with factory.client("forms") as client:
        for spec in (JOB, json.dumps(JOB).encode(), yaml, str(script), parsed, parsed.job):
            assert client.submit(spec).workloads[0].spec.name == "digits"
        assert len(list(client.iterate())) == 6


def test_a_workload_is_waited_for_and_read(factory: Factory) -> None:
    with factory.client("wait") as client:
        made = client.submit(JOB).workloads[0].id
        run = factory.started(made)
        factory.engine.write(run, b"text\n")
        with pytest.raises(TimeoutError, match=made):
            client.wait(made, timeout_s=0.1)
        factory.engine.end(run, exit_code=2)
        done = client.wait(made, timeout_s=10)
        assert (done.status, done.workload.exit_code) == ("failed", 2)
        assert b"".join(client.logs(made)) == b"text\n"
        assert [each.id for each in client.runs(made)] == [run]
        assert client.explain(made).waiting is None
        assert client.retry(made).workloads[0].retry_of == made
        assert client.usage()[0].runs == 1


def test_an_operator_manages_tenants_keys_and_nodes(factory: Factory) -> None:
    with factory.client() as client:
        made = client.create_tenant(TenantNew(id="managed", quota=Quota(gpus=2)))
        changed = client.change_tenant("managed", {"quota": {"runs": 1}}, if_match=made.version)
        assert (changed.quota.gpus, changed.quota.runs) == (2, 1)
        with pytest.raises(ApiError) as stale:
            client.replace_tenant("managed", TenantChange(), if_match=made.version)
        assert stale.value.token == "VersionMismatch"
        assert client.replace_tenant("managed", TenantChange(), if_match=changed.version).quota.gpus is None
        shown = client.issue_key(KeyNew(tenant="managed", scope=Scope.READ))
        with Client(factory.url, shown.secret) as reader:
            assert reader.whoami().scope is Scope.READ
            with pytest.raises(ApiError, match="scope `read`") as denied:
                reader.submit(JOB)
            assert (denied.value.status, bool(denied.value.request_id)) == (403, True)
        assert client.revoke_key(shown.id).revoked_ms
        assert {each.id for each in client.keys(tenant="managed")} == {shown.id}
        assert client.set_node_health("node-1", "ready").name == "node-1"
        assert client.capacity().nodes[0].node.gpus == 8


def test_both_clients_show_whose_rate_is_asked_for(factory: Factory) -> None:
    with Client(factory.url, factory.key("rate")) as tenant:
        factory.engine.end(factory.started(made := tenant.submit(JOB).workloads[0].id))
        tenant.wait(made, timeout_s=10)
        (ours,) = tenant.localisation().items
        assert (ours.tenant, ours.runs.home, ours.runs.home_bp) == ("rate", 1, 10_000)
        assert tenant.localisation(since=ours.month, until=ours.month).items == (ours,)
        assert not tenant.localisation(since="9999-01").items
    with factory.client() as admin:
        shown = [admin.localisation(by=by) for by in ("factory", "country", "network")]
        whole, country, network = (each.items[0] for each in shown)
        assert (whole.factory, country.country) == ("casa", "MA")
        assert network.runs == whole.runs == country.runs
        assert [each.peers for each in shown] == [()] * 3

    async def go() -> None:
        async with AsyncClient(factory.url, factory.key("casa", Scope.ADMIN)) as client:
            assert await client.localisation(by="country") == shown[1]

    asyncio.run(go())


def test_the_async_client_does_the_same(factory: Factory, tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "up/file").write_bytes(b"x" * 200_000)

    async def go() -> None:
        async with AsyncClient(factory.url, factory.key("async")) as client:
            made = (await client.submit(JOB)).workloads[0].id
            run = factory.started(made)
            factory.engine.write(run, b"one\n")
            pieces: list[bytes] = []
            async for piece in client.follow(made):
                pieces.append(piece.data)
                if len(pieces) == 1:
                    factory.engine.write(run, b"two\n")
                    factory.engine.end(run)
            assert b"".join(pieces) == b"one\ntwo\n"
            assert (await client.wait(made)).status == "succeeded"
            assert [view.workload.id async for view in client.iterate()] == [made]
            artifact = await client.upload(tmp_path / "up")
            await client.download(artifact.id, tmp_path / "down")
            together = await asyncio.gather(*(client.whoami() for _ in range(5)))
            assert {each.tenant for each in together} == {"async"}
            with pytest.raises(ApiError, match="no workload"):
                await client.get("wl-" + "0" * 26)

    asyncio.run(go())
    assert (tmp_path / "down/file").read_bytes() == b"x" * 200_000


class Relay:
    """Between a client and a factory: cuts connections, or loses answers, when told to."""

    def __init__(self, url: str) -> None:
        self._target = ("127.0.0.1", int(url.rpartition(":")[2]))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.lose_answers = 0
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., object], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self.connections += 1
                far = socket.create_connection(self._target)
                self._open += [near, far]
                self._start(self._copy, near, far, False)
                self._start(self._copy, far, near, True)

    def _copy(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if answers and self.lose_answers:
                    self.lose_answers -= 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)
        for each in self._open:
            each.close()


@contextmanager
def relayed(factory: Factory) -> Generator[Relay]:
    relay = Relay(factory.url)
    try:
        yield relay
    finally:
        relay.close()


def test_a_lost_answer_makes_no_second_workload(factory: Factory) -> None:
    with relayed(factory) as relay, Client(relay.url, factory.key("lost")) as client:
        relay.lose_answers = 2
        made = client.submit(JOB)
        assert relay.connections == 3
        assert [view.workload.id for view in client.iterate()] == [made.workloads[0].id]


def test_what_may_not_be_repeated_is_not(factory: Factory) -> None:
    with relayed(factory) as relay, Client(relay.url, factory.key("norepeat")) as client:
        client.whoami()
        relay.lose_answers = 1
        with pytest.raises(ConnectionBroken):
            client.issue_key(KeyNew(name="once"))
        assert [each.name for each in [*client.keys()]] == ["", "once"]


def test_a_connection_that_died_while_idle_is_made_again(factory: Factory) -> None:
    with relayed(factory) as relay, Client(relay.url, factory.key("idle")) as client:
        client.whoami()
        relay.cut()
        time.sleep(0.05)
        assert client.whoami().tenant == "idle"


def test_a_followed_log_survives_cut_connections_without_a_byte_lost_or_doubled(factory: Factory) -> None:
    with relayed(factory) as relay, Client(relay.url, factory.key("cuts")) as client:
        made = client.submit(JOB).workloads[0].id
        run = factory.started(made)
        lines = [b"line %d\n" % number for number in range(60)]
        got: list[bytes] = []
        writing = threading.Thread(
            target=lambda: [factory.engine.write(run, line) or time.sleep(0.01) for line in lines]
        )
        writing.start()
        for number, piece in enumerate(client.follow(made)):
            got.append(piece.data)
            if number in {1, 4, 9}:
                relay.cut()
            if b"line 59\n" in piece.data:
                factory.engine.end(run)
        writing.join()
        assert b"".join(got) == b"".join(lines)
        assert relay.connections >= 4


def test_a_followed_log_survives_a_restart_of_the_factory_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, home = FakeEngine(), tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("TAWTIN_HOME", str(home))
    for name in ("TAWTIN_FACTORY", "TAWTIN_KEY", "TAWTIN_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    (home / "client.toml").write_text('address_file = "address.json"\nkey_file = "key"\n')
    got: list[bytes] = []

    def open_factory() -> contextlib.AbstractContextManager[Factory]:
        return running(tmp_path, journal=SqliteJournal(tmp_path / "journal.db"), engine=engine)

    with open_factory() as first:
        (home / "address.json").write_text(json.dumps({"url": first.url}))
        (home / "key").write_text(first.key("restart") + "\n")
        client = Client()
        made = client.submit(JOB).workloads[0].id
        run = first.started(made)
        engine.write(run, b"before ")
        follower = client.follow(made)
        got.append(next(follower).data)
    with open_factory() as second:
        (home / "address.json").write_text(json.dumps({"url": second.url}))
        engine.write(run, b"after")
        engine.end(run)
        got += [piece.data for piece in follower]
        assert client.wait(made).status == "succeeded"
        client.close()
    assert b"".join(got) == b"before after"
    assert first.url != second.url


def test_a_factory_that_stops_ends_streams_and_finishes_requests(tmp_path: Path) -> None:
    slow = msgspec.structs.replace(WEB, stop_seconds_max=5)
    began = 0.0
    with running(tmp_path, settings=slow) as factory:
        client = factory.client("stops")
        events = client.follow_events(start=0)
        next(events)
        began = time.monotonic()
    assert time.monotonic() - began < 4, "an open stream holds nobody up"
    client.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x", "is not the address of a factory"),
        ("http://host:notaport", "no usable port"),
        ("localhost:8470", "is not the address of a factory"),
    ],
)
def test_a_wrong_address_is_named(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Client(url, "twk_x_y")


def test_what_is_not_set_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAWTIN_HOME", str(tmp_path))
    for name in ("TAWTIN_FACTORY", "TAWTIN_KEY", "TAWTIN_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="no factory is named"):
        Client()
    with pytest.raises(ConfigError, match="no key is named"):
        Client("http://127.0.0.1:1")
    (tmp_path / "client.toml").write_text('factory = "http://127.0.0.1:1"\nkee = "x"\n')
    with pytest.raises(ConfigError, match="unknown field `kee`"):
        Client()
    monkeypatch.setenv("TAWTIN_FACTORY", "http://127.0.0.1:9")
    monkeypatch.setenv("TAWTIN_KEY", "twk_a_b")
    assert (config.find().url, config.find().key) == ("http://127.0.0.1:9", "twk_a_b")


def test_a_factory_that_is_down_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tawtin.client.flows.TRIES", 2)
    with pytest.raises(ConnectionBroken, match="is it up"):
        Client("http://127.0.0.1:1", "twk_a_b").whoami()


def test_a_key_with_a_line_break_is_not_sent(factory: Factory) -> None:
    with pytest.raises(ValueError, match="line break"):
        Client(factory.url, "twk_a_b\r\nX-Evil: 1").whoami()


@pytest.mark.parametrize("cut", range(1, 40))
def test_an_answer_is_read_the_same_however_it_is_cut(cut: int) -> None:
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
        b"5;note\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nTrailer: x\r\n\r\n"
    )
    reader, body = AnswerReader("GET"), b""
    for begin in range(0, len(data), cut):
        reader.feed(data[begin : begin + cut])
        body += reader.take()
    assert (reader.status, body, reader.done, reader.keep) == (200, b"hello world", True, True)


def test_an_answer_that_ends_early_is_broken() -> None:
    for data in (
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ):
        reader = AnswerReader("GET")
        if data:
            reader.feed(data)
        with pytest.raises(ConnectionBroken):
            reader.feed(b"")


def test_events_are_read_the_same_however_they_are_cut() -> None:
    data = b'id: 3\n\n: comment\n\nid: 4\nevent: log\ndata: {"a":1}\n\ndata: x\ndata: y\n\n'
    want = [("3", "", b""), ("4", "log", b'{"a":1}'), ("", "message", b"x\ny")]
    for cut in range(1, len(data)):
        reader = EventReader()
        got = [
            event for begin in range(0, len(data), cut) for event in reader.feed(data[begin : begin + cut])
        ]
        assert got == want


def test_importing_the_client_imports_no_records() -> None:
    modules = "{'msgspec', 'asyncio', 'ssl', 'http', 'uvicorn'}"
    code = f"import tawtin.client, sys; print(sorted({modules} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
