"""Follows workloads to their end: their logs as they are written, and on a terminal a line that says how it stands.

Each workload is read by a thread of its own, at most `AT_ONCE` at a time, in their order. A client that loses
the factory tries again where it was, so that a restart of the control plane is no more than a pause. The main thread
prints.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, session
from tawtin.client import Client, ClientError, calls
from tawtin.client.flows import send

if TYPE_CHECKING:
    from tawtin.model.views import LogPiece, WorkloadView

AT_ONCE = 32
LOOK_S = 1.0
COLOURS = ("blue", "yellow", "green", "bold")
Where = tuple[str | None, str | None]
"""Address and key, None for what the client finds by itself."""
News = tuple[str, "LogPiece | BaseException | None"]
"""(workload, what happened): a piece of log, an error that ends the following, or None at the workload's end."""


class Reader(threading.Thread):
    """Reads one workload's log into the queue; the client goes on across lost connections and restarts."""

    def __init__(
        self,
        where: Where,
        workload: str,
        news: queue.SimpleQueue[News],
        *,
        tail: int | None,
        epoch: int | None,
        offset: int,
    ) -> None:
        """`tail` begins so many lines before the present end; `epoch` names a run, else it goes on through all."""
        super().__init__(daemon=True, name=f"follow {workload}")
        self.where = where
        self.workload = workload
        self.news = news
        self.tail = tail
        self.epoch = epoch
        self.offset = offset

    def run(self) -> None:
        """Read until the end."""
        end: BaseException | None = None
        try:
            with Client(*self.where) as client:
                for piece in client.follow(
                    self.workload, epoch=self.epoch, offset=self.offset, tail=self.tail
                ):
                    self.news.put((self.workload, piece))
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            end = error
        self.news.put((self.workload, end))


class Follower:
    """Follows workloads and prints."""

    def __init__(
        self,
        where: Where,
        views: list[WorkloadView],
        *,
        as_json: bool = False,
        tail: int | None = None,
        epoch: int | None = None,
        timeout_s: float | None = None,
        places: dict[str, int] | None = None,
    ) -> None:
        """Follow these to their end, or for `timeout_s`; `places` has how many bytes of each were printed already."""
        self.where = where
        self.views = {view.workload.id: view for view in views}
        self.as_json = as_json
        self.until = None if timeout_s is None else time.monotonic() + timeout_s
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.places = dict(places or {})
        self.waiting = [
            Reader(where, workload, self.news, tail=tail, epoch=epoch, offset=self.places.get(workload, 0))
            for workload in self.views
        ]
        self.ended: set[str] = set()
        self.lines: dict[str, bytes] = {}
        self.painter = output.StatusLine() if not as_json else None
        self.began = time.monotonic()
        self.looked = 0.0

    def run(self) -> int:
        """Follow; return the exit code. KeyboardInterrupt passes through, with the status line taken away."""
        try:
            for _ in range(AT_ONCE):
                self._start_next()
            while len(self.ended) < len(self.views):
                self._look()
                try:
                    workload, what = self.news.get(timeout=0.25)
                except queue.Empty:
                    if self.until is not None and time.monotonic() > self.until:
                        return self._timed_out()
                    continue
                self._take(workload, what)
        finally:
            self._flush()
            if self.painter:
                self.painter.clear()
        return self._summary()

    def _start_next(self) -> None:
        if self.waiting:
            self.waiting.pop(0).start()

    def _take(self, workload: str, what: LogPiece | BaseException | None) -> None:
        if isinstance(what, ClientError):
            raise session.fault_of(what)
        if isinstance(what, BaseException):
            raise what
        if what is None:
            self.ended.add(workload)
            self._start_next()
        else:
            self._print(workload, what)

    # --- printing ----------------------------------------------------------------------------------------------------

    def _print(self, workload: str, piece: LogPiece) -> None:
        self.places[workload] = piece.offset + len(piece.data)
        if piece.dropped:
            self._say(f"({output.size(piece.dropped)} of the log were dropped by rotation)")
        if self.painter:
            self.painter.clear()
        out = sys.stdout.buffer
        if self.as_json:
            out.write(json_line(workload, piece))
        elif len(self.views) == 1:
            out.write(piece.data)
        else:
            whole, newline, rest = (self.lines.get(workload, b"") + piece.data).rpartition(b"\n")
            self.lines[workload] = rest
            if newline:
                prefix = self._prefix(workload)
                out.write(b"".join(prefix + line + b"\n" for line in whole.split(b"\n")))
        out.flush()
        if self.painter:
            self.painter.midline = len(self.views) == 1 and not piece.data.endswith(b"\n")

    def _prefix(self, workload: str) -> bytes:
        view = self.views[workload]
        index = view.workload.array.index if view.workload.array else list(self.views).index(workload)
        return (output.paint(f"[{index}]", COLOURS[index % len(COLOURS)]) + " ").encode()

    def _flush(self) -> None:
        for workload, rest in self.lines.items():
            if rest:
                sys.stdout.buffer.write(self._prefix(workload) + rest + b"\n")
        self.lines.clear()
        sys.stdout.flush()

    def _say(self, text: str) -> None:
        if self.painter:
            self.painter.clear()
        if not self.as_json:
            output.note(f"-- {text}")

    def _look(self) -> None:
        """Every second on a terminal: ask how it stands, and show it."""
        if self.painter is None or not self.painter.wanted or time.monotonic() - self.looked < LOOK_S:
            return
        self.looked = time.monotonic()
        open_ones = [name for name in self.views if name not in self.ended]
        try:
            with Client(*self.where) as client:
                for name in open_ones[:AT_ONCE]:
                    call = calls.get(name)
                    call.repeatable = False  # a person waits: say at once that nobody answers
                    self.views[name] = client.finish(send(call))
        except ClientError:
            self.painter.show("the factory does not answer; the work goes on, trying again")
            return
        elapsed = output.span(int((time.monotonic() - self.began) * 1000))
        self.painter.show(
            f"{_standing([self.views[name] for name in open_ones], len(self.views))} - {elapsed}"
        )

    # --- the end -----------------------------------------------------------------------------------------------------

    def _timed_out(self) -> int:
        if not self.as_json:
            output.note(f"-- still going on; follow it: tawtin logs -f {next(iter(self.views))}")
        return exits.DETACHED

    def _summary(self) -> int:
        with session.faults(), Client(*self.where) as client:
            views = [client.get(name) for name in self.views]
        for view in views:
            self.views[view.workload.id] = view
            if self.as_json:
                output.emit({"view": view})
            else:
                output.note(f"-- {_ending(view)}")
        failed = [view for view in views if view.status != "succeeded"]
        return exits.FAILED if failed else exits.OK


def json_line(workload: str, piece: LogPiece) -> bytes:
    """Return a piece of log as a line of JSON; what is no UTF-8 is replaced."""
    line = {"workload": workload, "epoch": piece.epoch, "offset": piece.offset, "dropped": piece.dropped}
    return json.dumps({**line, "text": piece.data.decode(errors="replace")}).encode() + b"\n"


def _standing(views: list[WorkloadView], total: int) -> str:
    if len(views) == 1 and views[0].waiting:
        waiting = views[0].waiting
        when = (
            f", start in about {output.span(waiting.start_ms - int(time.time() * 1000))}"
            if waiting.start_ms
            else ""
        )
        return f"waits: {waiting.sentence}{when}"
    if total == 1 and views:
        return views[0].status
    counts: dict[str, int] = {}
    for view in views:
        counts[view.status] = counts.get(view.status, 0) + 1
    done = total - len(views)
    return ", ".join(
        [*(f"{count} {status}" for status, count in sorted(counts.items())), f"{done} of {total} done"]
    )


def _ending(view: WorkloadView) -> str:
    workload = view.workload
    index = f"[{workload.array.index}]" if workload.array and workload.array.size > 1 else ""
    parts = [f"{output.clean(workload.spec.name)}{index} {view.status}"]
    if view.status != "succeeded":
        code = "" if workload.exit_code is None else f", exit code {workload.exit_code}"
        parts.append(f"({workload.cause or ''}{code}) {output.clean(workload.message)}".rstrip())
    if view.run:
        parts.append(f"- {session.usage_words(view.run.usage)}")
        if view.run.cost_minor:
            parts.append(f"- {output.amount(view.run.cost_minor, view.run.rate.currency)}")
    parts += [f"\n   output {kept.name}: tawtin artifacts get {kept.artifact}" for kept in workload.outputs]
    return " ".join(parts).replace(" \n", "\n")
