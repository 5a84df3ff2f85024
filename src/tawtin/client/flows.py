"""What takes several calls, written once: generators that say what is to be done, and are told what came of it.

A driver carries each step out, blocking (`sync`) or not (`aio`), sends its result back, or throws what went wrong. What
a flow emits is what its caller iterates over; what it returns is the caller's result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tawtin.client import calls
from tawtin.client.calls import Call
from tawtin.client.errors import ApiError, ClientError, ConnectionBroken
from tawtin.client.wire import AnswerReader, EventReader

if TYPE_CHECKING:
    from tawtin.client.folder import Incoming, Scanned
    from tawtin.model.artifact import Artifact, FileEntry
    from tawtin.model.views import ArtifactView, WorkloadView

T = TypeVar("T")
TRIES: Final = 8
PAUSE_S: Final = 0.1
PAUSE_S_MAX: Final = 5.0
STREAM_TRIES: Final = 100
STREAM_PAUSE_S_MAX: Final = 2.0
"""A follower waits for a factory that is started again for about three minutes."""
MISSING_AT_ONCE: Final = 10_000
QUIET_S: Final = 60.0
"""A stream that says nothing for so long is taken for dead; the factory sends a heartbeat every quarter of that."""


class Ask:
    """Send a request and read its whole answer. Gives (status, headers, body)."""

    __slots__ = ("call", "target")

    def __init__(self, call: Call[Any], target: str) -> None:
        """`target` is path and query."""
        self.call = call
        self.target = target


class Open:
    """Send a request, and read the head of its answer on a connection of its own. Gives an AnswerReader."""

    __slots__ = ("call", "quiet_s")

    def __init__(self, call: Call[Any], quiet_s: float) -> None:
        """The stream may be silent for `quiet_s`."""
        self.call = call
        self.quiet_s = quiet_s


class More:
    """Wait for more of what was opened. Gives bytes, none at the end."""


class Close:
    """Let go of what was opened."""


class Pause:
    """Do nothing for a while."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        """For this long."""
        self.seconds = seconds


class LookAgain:
    """Find out whether the factory listens elsewhere by now."""


class Work:
    """Call a function that blocks. Gives what it returns."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        """Without arguments."""
        self.function = function


class Emit:
    """Hand a value to whoever iterates."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:  # noqa: ANN401 - the flow's type says what
        """This one."""
        self.value = value


Step = Ask | Open | More | Close | Pause | LookAgain | Work | Emit
Flow = Generator[Step, Any, T]


# --- one call --------------------------------------------------------------------------------------------------------


def send(call: Call[T]) -> Flow[T]:
    """Send a call and decode its answer. Repeats it after a lost connection or 503 where that does no harm."""
    target = call.target()
    pause = PAUSE_S
    for attempt in range(1, TRIES + 1):
        last = attempt == TRIES or not call.repeatable
        try:
            status, headers, body = yield Ask(call, target)
        except ConnectionBroken:
            if last:
                raise
            yield Pause(pause)
            yield LookAgain()
        else:
            if status < 300:
                return _decoded(call, body)
            if status != 503 or last:
                raise problem(status, headers, body)
            yield Pause(max(pause, _retry_after(headers)))
        pause = min(2 * pause, PAUSE_S_MAX)
    raise AssertionError


def _decoded(call: Call[T], body: bytes) -> T:
    try:
        return call.decode(body)
    except ValueError as error:  # msgspec's errors are ValueErrors
        msg = f"the factory's answer cannot be understood ({error}): is it another version than this client?"
        raise ClientError(msg) from error


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "")
    return min(float(text), PAUSE_S_MAX) if text.isdigit() else 0.0


def problem(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Return the error for an answer that is none."""
    import msgspec  # noqa: PLC0415 - so that importing the client stays cheap

    from tawtin.model.views import Problem  # noqa: PLC0415 - the same

    try:
        found = msgspec.json.decode(body, type=Problem)
    except ValueError:
        detail = f"the answer is {status} and no problem document: is this the address of a factory?"
        found = Problem(title="unknown", status=status, detail=detail)
    return ApiError(found, headers.get("x-request-id", ""))


# --- lists -----------------------------------------------------------------------------------------------------------


def every(first: Callable[[str], Call[Any]]) -> Flow[None]:
    """Emit the items of all pages."""
    before = ""
    while True:
        page = yield from send(first(before))
        for item in page.items:
            yield Emit(item)
        before = page.next
        if not before:
            return


# --- waiting and following -------------------------------------------------------------------------------------------


def wait(workload: str, *, timeout_s: float | None = None) -> Flow[WorkloadView]:
    """Return the workload when it is over. Raises TimeoutError after `timeout_s`."""
    import time  # noqa: PLC0415 - rarely needed

    due = None if timeout_s is None else time.monotonic() + timeout_s
    pause = 0.02
    while True:
        view = yield from send(calls.get(workload))
        if view.workload.phase.final:
            return view
        left = None if due is None else due - time.monotonic()
        if left is not None and left <= 0:
            msg = f"workload `{workload}` is not over after {timeout_s} s: it is {view.status}"
            raise TimeoutError(msg)
        yield Pause(min(pause, left) if left is not None else pause)
        pause = min(1.5 * pause, 1.0)


def log_pieces(
    workload: str, *, epoch: int | None = None, offset: int = 0, tail: int | None = None, follow: bool = False
) -> Flow[None]:
    """Emit the pieces of a log. With `follow` until the workload is over, through later runs.

    A connection that breaks, or a factory that is started again, is picked up where it stopped: no byte twice, none
    lost.
    """
    import msgspec  # noqa: PLC0415 - so that importing the client stays cheap

    from tawtin.model.views import LogPiece as Piece  # noqa: PLC0415 - the same

    query: dict[str, object] = {"epoch": epoch, "offset": offset, "follow": follow}
    if tail is not None:
        query["tail"] = str(tail)
    call = _stream_call(f"/workloads/{calls.quoted(workload)}/logs", query)
    decode = msgspec.json.Decoder(Piece).decode
    yield from _stream(call, {"log": decode}, until="end" if follow else None)


def follow_events(*, start: int | None = None) -> Flow[None]:
    """Emit log entries from `start` on (without it, from now on), for ever."""
    import msgspec  # noqa: PLC0415 - so that importing the client stays cheap

    from tawtin.model.events import Entry as Record  # noqa: PLC0415 - the same

    query = {} if start is None else {"start": str(start)}
    decode = msgspec.json.Decoder(Record).decode
    yield from _stream(_stream_call("/events/stream", query), _Any(decode), until="")


class _Any(dict[str, Callable[[bytes], Any]]):
    """Reads every kind of event in one way."""

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        super().__init__()
        self._decode = decode

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - as in the base
        """The one way."""
        return self._decode if key else default


def _stream_call(path: str, query: Mapping[str, object]) -> Call[bytes]:
    return Call("GET", path, bytes, query=query, headers={"Accept": "text/event-stream"})


def _stream(
    call: Call[bytes], decoders: Mapping[str, Callable[[bytes], Any]], *, until: str | None
) -> Flow[None]:
    """Emit what events hold; after a lost connection go on behind the last one.

    With `until` None the stream ends where the factory ends it; else only with an event of that kind.
    """
    failures = 0
    while True:
        events, before = EventReader(), call.headers.get("Last-Event-ID", "")
        try:
            answer: AnswerReader = yield Open(call, QUIET_S)
            if answer.status >= 300:
                raise problem(answer.status, answer.headers, (yield from _rest()))
            if (yield from _passed(events, call, decoders, until)):
                return
            failures = 0
            if until is None:
                return
        except ConnectionBroken:
            failures = 0 if call.headers.get("Last-Event-ID", "") != before else failures
            if failures >= STREAM_TRIES:
                raise
        except ApiError as error:
            if error.status != 503 or failures >= STREAM_TRIES:
                raise
        failures += 1
        yield Close()
        yield Pause(min(PAUSE_S * 2 ** min(failures, 8), STREAM_PAUSE_S_MAX))
        yield LookAgain()


def _passed(
    events: EventReader, call: Call[bytes], decoders: Mapping[str, Callable[[bytes], Any]], until: str | None
) -> Flow[bool]:
    """Emit what one connection brings, and note in `call` where to go on. Whether the last event came."""
    while data := (yield More()):
        for place, kind, body in events.feed(data):
            if place:
                call.headers["Last-Event-ID"] = place
            decode = decoders.get(kind)
            if decode is not None:
                yield Emit(decode(body))
            if kind and kind == until:
                return True
    return False


def _rest() -> Flow[bytes]:
    pieces: list[bytes] = []
    while data := (yield More()):
        pieces.append(data)
    return b"".join(pieces)


# --- artifacts -------------------------------------------------------------------------------------------------------


def upload(
    folder: str | os.PathLike[str],
    *,
    name: str = "",
    data_class: str = "public",
    origin: str = "",
    dataset: str = "",
    tenant: str | None = None,
) -> Flow[Artifact]:
    """Keep a folder, or one file, as an artifact; only what the factory lacks is sent. `dataset` names it for specs.

    Links are not followed, and neither they nor `.git` nor what `.tawtinignore` names is sent: see `client.folder`.
    """
    from tawtin.client.folder import scan  # noqa: PLC0415 - so that importing the client stays cheap

    scanned: Scanned = yield Work(lambda: scan(folder))
    digests = sorted(scanned.sources)
    for begin in range(0, len(digests), MISSING_AT_ONCE):
        missing = yield from send(calls.missing_blobs(digests[begin : begin + MISSING_AT_ONCE]))
        for digest in missing:
            yield from send(calls.put_blob(digest, scanned.sources[digest]))
    kept = yield from send(
        calls.put_artifact(
            scanned.manifest,
            name=name,
            data_class=data_class,
            origin=origin,
            dataset=dataset,
            tenant=tenant,
        )
    )
    return kept


def download(artifact: str, folder: str | os.PathLike[str]) -> Flow[ArtifactView]:
    """Lay an artifact out in `folder`, which is made if it is absent; files of the same names are replaced.

    Each file is checked against its digest before it gets its name.
    """
    from tawtin.client.folder import Incoming, check_paths  # noqa: PLC0415 - so that importing the client stays cheap

    view = yield from send(calls.artifact(artifact))
    check_paths(view.manifest)
    for entry in view.manifest.files:
        incoming: Incoming = yield Work(lambda entry=entry: Incoming(folder, entry))
        try:
            yield from _fetch(artifact, entry, incoming)
        finally:
            incoming.discard()
    return view


def _fetch(artifact: str, entry: FileEntry, incoming: Incoming) -> Flow[None]:
    call = calls.read_file(artifact, entry.path)
    pause = PAUSE_S
    for attempt in range(1, TRIES + 1):
        try:
            answer: AnswerReader = yield Open(call, QUIET_S)
            if answer.status >= 300:
                raise problem(answer.status, answer.headers, (yield from _rest()))
            incoming.begin()
            while data := (yield More()):
                yield Work(lambda data=data: incoming.write(data))
            yield Work(incoming.keep)
        except ConnectionBroken:
            if attempt == TRIES:
                raise
            yield Close()
            yield Pause(pause)
            yield LookAgain()
            pause = min(2 * pause, PAUSE_S_MAX)
        else:
            return
