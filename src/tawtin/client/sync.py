"""The blocking client, over one socket that is kept open."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar

from tawtin.client import calls, config, flows, serving, spaces
from tawtin.client.errors import ConnectionBroken
from tawtin.client.wire import AnswerReader, request_head

if TYPE_CHECKING:
    from types import TracebackType

    from tawtin.client.calls import Call
    from tawtin.client.flows import Flow, Step
    from tawtin.model.events import Entry
    from tawtin.model.views import LogPiece, WorkloadView

P = ParamSpec("P")
T = TypeVar("T")
READ_BYTES: Final = 64 << 10
TIMEOUT_S: Final = 60.0


class Link:
    """One connection. Not for several threads at once."""

    def __init__(self, target: config.Target, timeout_s: float) -> None:
        """Nothing is connected before the first request."""
        self.target = target
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._reader: AnswerReader | None = None

    def ask(self, call: Call[Any], path: str) -> tuple[int, dict[str, str], bytes]:
        """Send a request and return its whole answer. Raises ConnectionBroken."""
        if not call.repeatable:
            self.close()  # a connection that the other side closed meanwhile would leave open whether it acted
        reader = self._send(call, path, self._timeout_s)
        pieces: list[bytes] = []
        while not reader.done:
            reader.feed(self._receive())
            pieces.append(reader.take())
        pieces.append(reader.take())
        if not reader.keep:
            self.close()
        return reader.status, reader.headers, b"".join(pieces)

    def open(self, call: Call[Any], quiet_s: float) -> AnswerReader:
        """Send a request and return the head of its answer; `more` gives the rest."""
        self.close()
        self._reader = self._send(call, call.target(), quiet_s)
        while not self._reader.status:
            self._reader.feed(self._receive())
        return self._reader

    def more(self) -> bytes:
        """What came of the body that was opened; nothing at its end."""
        reader = self._reader
        if reader is None:
            return b""
        while True:
            data = reader.take()
            if data or reader.done:
                return data
            reader.feed(self._receive())

    def _send(self, call: Call[Any], path: str, timeout_s: float) -> AnswerReader:
        size = size_of(call)
        head = head_of(self.target, call, path, size)
        try:
            if self._socket is None:
                self._socket = self._connect()
            self._socket.settimeout(timeout_s)
            if isinstance(call.body, bytes):
                self._socket.sendall(head + call.body)
            else:
                self._socket.sendall(head)
                self._send_file(self._socket, call.body)
        except OSError as error:
            raise self._broken(error) from error
        return AnswerReader(call.method)

    def _send_file(self, connection: socket.socket, path: os.PathLike[str]) -> None:
        with open(path, "rb") as source:  # noqa: PTH123 - pathlib is slow to import
            while piece := source.read(READ_BYTES):
                connection.sendall(piece)

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self.target.host, self.target.port), self._timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.target.tls:
            return connection
        import ssl  # noqa: PLC0415 - so that importing the client stays cheap

        return ssl.create_default_context().wrap_socket(connection, server_hostname=self.target.host)

    def _receive(self) -> bytes:
        if self._socket is None:
            raise ConnectionBroken("the connection is closed")
        try:
            return self._socket.recv(READ_BYTES)
        except OSError as error:
            raise self._broken(error) from error

    def _broken(self, error: OSError) -> ConnectionBroken:
        self.close()
        return ConnectionBroken(
            f"the factory at `{self.target.url}` does not answer ({error.strerror or error}): "
            "is it up, is the address right?"
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._reader = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def size_of(call: Call[Any]) -> int:
    """How many bytes the body has."""
    return len(call.body) if isinstance(call.body, bytes) else os.stat(call.body).st_size  # noqa: PTH116


def head_of(target: config.Target, call: Call[Any], path: str, size: int) -> bytes:
    """The head of a request."""
    headers = {
        "Host": target.authority,
        "Authorization": f"Bearer {target.key}",
        "Accept": "application/json",
        "User-Agent": "tawtin-client",
        **call.headers,
    }
    if call.method != "GET":
        headers["Content-Length"] = str(size)
    if size:
        headers["Content-Type"] = call.media
    return request_head(call.method, target.path + path, headers)


def _call(build: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    """A method that sends what `build` makes."""

    def method(self: Client, *args: P.args, **named: P.kwargs) -> T:
        return self.finish(flows.send(build(*args, **named)))

    method.__doc__ = build.__doc__
    method.__name__ = build.__name__
    return method


def _flow(build: Callable[P, Flow[T]]) -> Callable[Concatenate[Client, P], T]:
    """A method that goes through a flow to its end."""

    def method(self: Client, *args: P.args, **named: P.kwargs) -> T:
        return self.finish(build(*args, **named))

    method.__doc__ = build.__doc__
    method.__name__ = build.__name__
    return method


class Client:
    """A factory, as one key sees it. Methods block; one client serves one thread.

    Without arguments the factory is found as `tawtin` finds it: see `tawtin.client.config`. Errors are ApiError with
    the factory's problem, ConnectionBroken, ConfigError.
    """

    def __init__(
        self, url: str | None = None, key: str | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Find the factory; nothing is connected yet. An answer may take `timeout_s`."""
        self.target = config.find(url, key)
        self._timeout_s = timeout_s
        self._link = Link(self.target, timeout_s)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the connection."""
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()

    submit = _call(calls.submit)
    plan = _call(calls.plan)
    get = _call(calls.get)
    workloads = _call(calls.workloads)
    cancel = _call(calls.cancel)
    retry = _call(calls.retry)
    explain = _call(calls.explain)
    runs = _call(calls.runs)
    whoami = _call(calls.whoami)
    services = _call(serving.services)
    service = _call(serving.service)
    update_service = _call(serving.update_service)
    scale_service = _call(serving.scale_service)
    end_service = _call(serving.end_service)
    workspaces = _call(spaces.workspaces)
    workspace = _call(spaces.workspace)
    open_workspace = _call(spaces.open_workspace)
    start_workspace = _call(spaces.start_workspace)
    stop_workspace = _call(spaces.stop_workspace)
    share_workspace = _call(spaces.share_workspace)
    delete_workspace = _call(spaces.delete_workspace)
    capacity = _call(calls.capacity)
    set_node_health = _call(calls.set_node_health)
    quarantines = _call(calls.quarantines)
    quarantine = _call(calls.quarantine)
    bring_back = _call(calls.bring_back)
    usage = _call(calls.usage)
    endpoints = _call(calls.endpoints)
    tokens = _call(calls.tokens)
    localisation = _call(calls.localisation)
    identity = _call(calls.identity)
    peers = _call(calls.peers)
    put_peer = _call(calls.put_peer)
    store = _call(calls.store)
    waive = _call(calls.waive)
    introductions = _call(calls.introductions)
    invite = _call(calls.invite)
    join = _call(calls.join)
    confirm = _call(calls.confirm)
    withdraw = _call(calls.withdraw)
    declare_lost = _call(calls.declare_lost)
    events = _call(calls.events)
    tenants = _call(calls.tenants)
    tenant = _call(calls.tenant)
    create_tenant = _call(calls.create_tenant)
    replace_tenant = _call(calls.replace_tenant)
    change_tenant = _call(calls.change_tenant)
    keys = _call(calls.keys)
    issue_key = _call(calls.issue_key)
    revoke_key = _call(calls.revoke_key)
    artifacts = _call(calls.artifacts)
    artifact = _call(calls.artifact)
    drop_artifact = _call(calls.drop_artifact)
    read_file = _call(calls.read_file)
    wait = _flow(flows.wait)
    upload = _flow(flows.upload)
    download = _flow(flows.download)

    def iterate(
        self, *, tenant: str | None = None, phases: tuple[str, ...] = (), array: str = ""
    ) -> Iterator[WorkloadView]:
        """All workloads, newest first, page by page."""
        return self.emitted(
            flows.every(
                lambda before: calls.workloads(
                    tenant=tenant, phases=phases, array=array, before=before, limit=1000
                )
            )
        )

    def log_pieces(
        self, workload: str, *, epoch: int | None = None, offset: int = 0, tail: int | None = None
    ) -> Iterator[LogPiece]:
        """A run's log as it is now, in pieces; the last run's unless `epoch` names one."""
        return self.emitted(flows.log_pieces(workload, epoch=epoch, offset=offset, tail=tail))

    def follow(
        self, workload: str, *, epoch: int | None = None, offset: int = 0, tail: int | None = None
    ) -> Iterator[LogPiece]:
        """A workload's log as it is written, until it is over; goes on after lost connections and restarts."""
        return self.emitted(flows.log_pieces(workload, epoch=epoch, offset=offset, tail=tail, follow=True))

    def logs(self, workload: str, *, epoch: int | None = None, follow: bool = False) -> Iterator[bytes]:
        """The bytes of a log alone."""
        pieces = self.emitted(flows.log_pieces(workload, epoch=epoch, follow=follow))
        return (piece.data for piece in pieces)

    def follow_events(self, *, start: int | None = None) -> Iterator[Entry]:
        """Log entries from `start` on (without it, from now on), for ever."""
        return self.emitted(flows.follow_events(start=start))

    # --- carrying flows out -------------------------------------------------------------------------------------

    def finish(self, flow: Flow[T]) -> T:
        """Go through a flow and return its result."""
        stream = Link(self.target, self._timeout_s)
        result: Any = None
        error: Exception | None = None
        try:
            while True:
                step = flow.throw(error) if error is not None else flow.send(result)
                result, error = self._carried_out(step, stream)
        except StopIteration as end:
            return end.value
        finally:
            stream.close()
            flow.close()

    def emitted(self, flow: Flow[None]) -> Iterator[Any]:
        """Go through a flow and yield what it emits."""
        stream = Link(self.target, self._timeout_s)
        result: Any = None
        error: Exception | None = None
        try:
            while True:
                step = flow.throw(error) if error is not None else flow.send(result)
                if isinstance(step, flows.Emit):
                    result, error = None, None
                    yield step.value
                else:
                    result, error = self._carried_out(step, stream)
        except StopIteration:
            return
        finally:
            stream.close()
            flow.close()

    def _carried_out(self, step: Step, stream: Link) -> tuple[Any, Exception | None]:
        """What came of a step, or what went wrong."""
        try:
            return self._carry_out(step, stream), None
        except Exception as error:  # noqa: BLE001 - the flow decides what it means
            return None, error

    def _carry_out(self, step: Step, stream: Link) -> Any:  # noqa: ANN401 - the step says what
        match step:
            case flows.Ask():
                return self._link.ask(step.call, step.target)
            case flows.Open():
                return stream.open(step.call, step.quiet_s)
            case flows.More():
                return stream.more()
            case flows.Close():
                return stream.close()
            case flows.Pause():
                return time.sleep(step.seconds)
            case flows.LookAgain():
                self._link.close()
                return self.target.look_again()
            case flows.Work():
                return step.function()
            case flows.Emit():
                raise AssertionError
