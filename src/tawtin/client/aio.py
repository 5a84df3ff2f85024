"""The client for asyncio, over the standard library's streams; the same methods as the blocking one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from tawtin.client import calls, config, flows, serving, spaces
from tawtin.client.errors import ConnectionBroken
from tawtin.client.sync import READ_BYTES, TIMEOUT_S, head_of, size_of
from tawtin.client.wire import AnswerReader

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from tawtin.client.calls import Call
    from tawtin.client.flows import Flow, Step
    from tawtin.model.events import Entry
    from tawtin.model.views import LogPiece, WorkloadView

P = ParamSpec("P")
T = TypeVar("T")


class AsyncLink:
    """One connection, for one task at a time."""

    def __init__(self, target: config.Target, timeout_s: float) -> None:
        """Nothing is connected before the first request."""
        self.target = target
        self._timeout_s = timeout_s
        self._quiet_s = timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._reader: AnswerReader | None = None

    async def ask(self, call: Call[Any], path: str) -> tuple[int, dict[str, str], bytes]:
        """Send a request and return its whole answer. Raises ConnectionBroken."""
        if not call.repeatable:
            await (
                self.close()
            )  # a connection that the other side closed meanwhile would leave open whether it acted
        reader = await self._send(call, path, self._timeout_s)
        pieces: list[bytes] = []
        while not reader.done:
            reader.feed(await self._receive())
            pieces.append(reader.take())
        pieces.append(reader.take())
        if not reader.keep:
            await self.close()
        return reader.status, reader.headers, b"".join(pieces)

    async def open(self, call: Call[Any], quiet_s: float) -> AnswerReader:
        """Send a request and return the head of its answer; `more` gives the rest."""
        await self.close()
        self._reader = await self._send(call, call.target(), quiet_s)
        while not self._reader.status:
            self._reader.feed(await self._receive())
        return self._reader

    async def more(self) -> bytes:
        """What came of the body that was opened; nothing at its end."""
        reader = self._reader
        if reader is None:
            return b""
        while True:
            data = reader.take()
            if data or reader.done:
                return data
            reader.feed(await self._receive())

    async def _send(self, call: Call[Any], path: str, timeout_s: float) -> AnswerReader:
        import asyncio  # noqa: PLC0415 - so that importing the blocking client stays cheap

        size = size_of(call)
        head = head_of(self.target, call, path, size)
        self._quiet_s = timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                if self._streams is None:
                    tls = True if self.target.tls else None
                    self._streams = await asyncio.open_connection(self.target.host, self.target.port, ssl=tls)
                writer = self._streams[1]
                writer.write(head + call.body if isinstance(call.body, bytes) else head)
                await writer.drain()
            if not isinstance(call.body, bytes):
                await self._send_file(writer, call.body)
        except OSError as error:  # a TimeoutError is one
            raise await self._broken(error) from error
        return AnswerReader(call.method)

    async def _send_file(self, writer: asyncio.StreamWriter, path: os.PathLike[str]) -> None:
        import asyncio  # noqa: PLC0415 - as above

        with open(path, "rb") as source:  # noqa: ASYNC230, PTH123 - its reads happen in threads
            while piece := await asyncio.to_thread(source.read, READ_BYTES):
                writer.write(piece)
                await writer.drain()

    async def _receive(self) -> bytes:
        import asyncio  # noqa: PLC0415 - as above

        if self._streams is None:
            raise ConnectionBroken("the connection is closed")
        try:
            async with asyncio.timeout(self._quiet_s):
                return await self._streams[0].read(READ_BYTES)
        except OSError as error:
            raise await self._broken(error) from error

    async def _broken(self, error: OSError) -> ConnectionBroken:
        await self.close()
        why = error.strerror or str(error) or "no answer in time"
        return ConnectionBroken(
            f"the factory at `{self.target.url}` does not answer ({why}): is it up, is the address right?"
        )

    async def close(self) -> None:
        """Let go of the connection."""
        self._reader = None
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                return


def _call(build: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    """A method that sends what `build` makes."""

    async def method(self: AsyncClient, *args: P.args, **named: P.kwargs) -> T:
        return await self.finish(flows.send(build(*args, **named)))

    method.__doc__ = build.__doc__
    method.__name__ = build.__name__
    return method


def _flow(build: Callable[P, Flow[T]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    """A method that goes through a flow to its end."""

    async def method(self: AsyncClient, *args: P.args, **named: P.kwargs) -> T:
        return await self.finish(build(*args, **named))

    method.__doc__ = build.__doc__
    method.__name__ = build.__name__
    return method


class AsyncClient:
    """A factory, as one key sees it; see `Client`. Calls of several tasks take turns on one connection."""

    def __init__(
        self, url: str | None = None, key: str | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Find the factory; nothing is connected yet. An answer may take `timeout_s`."""
        import asyncio  # noqa: PLC0415 - so that importing the blocking client stays cheap

        self.target = config.find(url, key)
        self._timeout_s = timeout_s
        self._link = AsyncLink(self.target, timeout_s)
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the connection."""
        await self.close()

    async def close(self) -> None:
        """Let go of the connection."""
        await self._link.close()

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
    ) -> AsyncIterator[WorkloadView]:
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
    ) -> AsyncIterator[LogPiece]:
        """A run's log as it is now, in pieces; the last run's unless `epoch` names one."""
        return self.emitted(flows.log_pieces(workload, epoch=epoch, offset=offset, tail=tail))

    def follow(
        self, workload: str, *, epoch: int | None = None, offset: int = 0, tail: int | None = None
    ) -> AsyncIterator[LogPiece]:
        """A workload's log as it is written, until it is over; goes on after lost connections and restarts."""
        return self.emitted(flows.log_pieces(workload, epoch=epoch, offset=offset, tail=tail, follow=True))

    async def logs(
        self, workload: str, *, epoch: int | None = None, follow: bool = False
    ) -> AsyncIterator[bytes]:
        """The bytes of a log alone."""
        async for piece in self.emitted(flows.log_pieces(workload, epoch=epoch, follow=follow)):
            yield piece.data

    def follow_events(self, *, start: int | None = None) -> AsyncIterator[Entry]:
        """Log entries from `start` on (without it, from now on), for ever."""
        return self.emitted(flows.follow_events(start=start))

    # --- carrying flows out -------------------------------------------------------------------------------------

    async def finish(self, flow: Flow[T]) -> T:
        """Go through a flow and return its result."""
        stream = AsyncLink(self.target, self._timeout_s)
        result: Any = None
        error: Exception | None = None
        try:
            while True:
                step = flow.throw(error) if error is not None else flow.send(result)
                result, error = await self._carried_out(step, stream)
        except StopIteration as end:
            return end.value
        finally:
            await stream.close()
            flow.close()

    async def emitted(self, flow: Flow[None]) -> AsyncIterator[Any]:
        """Go through a flow and yield what it emits."""
        stream = AsyncLink(self.target, self._timeout_s)
        result: Any = None
        error: Exception | None = None
        try:
            while True:
                try:
                    step = flow.throw(error) if error is not None else flow.send(result)
                except StopIteration:
                    return
                if isinstance(step, flows.Emit):
                    result, error = None, None
                    yield step.value
                else:
                    result, error = await self._carried_out(step, stream)
        finally:
            await stream.close()
            flow.close()

    async def _carried_out(self, step: Step, stream: AsyncLink) -> tuple[Any, Exception | None]:
        """What came of a step, or what went wrong."""
        try:
            return await self._carry_out(step, stream), None
        except Exception as error:  # noqa: BLE001 - the flow decides what it means
            return None, error

    async def _carry_out(self, step: Step, stream: AsyncLink) -> Any:  # noqa: ANN401 - the step says what
        import asyncio  # noqa: PLC0415 - as above

        match step:
            case flows.Ask():
                async with self._turn:
                    return await self._link.ask(step.call, step.target)
            case flows.Open():
                return await stream.open(step.call, step.quiet_s)
            case flows.More():
                return await stream.more()
            case flows.Close():
                return await stream.close()
            case flows.Pause():
                return await asyncio.sleep(step.seconds)
            case flows.LookAgain():
                await self._link.close()
                return self.target.look_again()
            case flows.Work():
                return await asyncio.to_thread(step.function)
            case flows.Emit():
                raise AssertionError
