"""What the API server has of one kind, kept up to date by a thread that lists and then watches.

Our own writes are entered at once, so that what is looked up here is never older than what we did. A list that was
begun before that has an older resource version, and takes nothing of it away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tawtin.engines.kubernetes.client import Api, GoneError, Stream
from tawtin.engines.kubernetes.things import Object, key_of, rows, text, version_of
from tawtin.engines.shared.cluster import ClusterDownError, ClusterError

_PAGE: Final = 500
_WATCH_S: Final = 240
_RETRY_S: Final = 1.0
GONE: Final = True


class Watcher:
    """Objects by `namespace/name`."""

    def __init__(
        self, api: Api, path: str, query: dict[str, str], changed: Callable[[Object, bool], None]
    ) -> None:
        """`changed(object, gone)` is told of each change, in the thread of this watcher."""
        self._api = api
        self._path = path
        self._query = query
        self._changed = changed
        self._lock = threading.Lock()
        self._items: dict[str, Object] = {}
        self._stream: Stream | None = None
        self._closed = threading.Event()
        self._listed = threading.Event()
        self._trouble: ClusterError | None = None
        self._thread = threading.Thread(target=self._follow, name=f"tawtin-watch-{path}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._closed.set()
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.close()
        self._thread.join(5)

    def ready(self, seconds: float) -> None:
        """Wait until everything was listed once, or that failed. Raises ClusterError."""
        until = time.monotonic() + seconds
        while not self._listed.wait(0.02):
            if self._trouble is not None:
                raise self._trouble
            if time.monotonic() > until:
                raise ClusterDownError("it has not answered yet")

    def items(self) -> list[Object]:
        """Everything there is. Raises ClusterError if what is known may be old."""
        if not self._listed.is_set():
            raise self._trouble or ClusterDownError("it has not answered yet")
        if self._trouble is not None:
            raise self._trouble
        with self._lock:
            return list(self._items.values())

    def known(self) -> list[Object]:
        """Everything that was known last."""
        with self._lock:
            return list(self._items.values())

    def get(self, key: str) -> Object | None:
        """One of them, if it is there."""
        with self._lock:
            return self._items.get(key)

    def enter(self, thing: Object) -> None:
        """An object as a write of ours returned it."""
        key = key_of(thing)
        with self._lock:
            old = self._items.get(key)
            if old is None or version_of(old) <= version_of(thing):
                self._items[key] = thing

    def _follow(self) -> None:
        version = ""
        while not self._closed.is_set():
            try:
                if not version:
                    version = self._list()
                stream = self._api.watch(self._path, {**self._query, "resourceVersion": version}, _WATCH_S)
                with self._lock:
                    self._stream = stream
                    self._trouble = None
                self._listed.set()
                for kind, thing in stream.events():
                    if self._closed.is_set():
                        return
                    version = text(thing, "metadata", "resourceVersion")
                    if kind != "BOOKMARK":
                        self._take(kind, thing)
            except GoneError:
                version = ""
            except ClusterError as error:
                self._trouble = error
                self._closed.wait(_RETRY_S)
            except Exception as error:  # noqa: BLE001 - the thread must live, and what it found must be seen
                self._trouble = ClusterDownError(f"{self._path}: {error}")
                version = ""
                self._closed.wait(_RETRY_S)

    def _list(self) -> str:
        found: dict[str, Object] = {}
        query = {**self._query, "limit": str(_PAGE)}
        version = ""
        while True:
            page = self._api.call("GET", self._path, query=query)
            found |= {key_of(thing): thing for thing in rows(page, "items")}
            version = version or text(page, "metadata", "resourceVersion")
            more = text(page, "metadata", "continue")
            if not more:
                break
            query["continue"] = more
        with self._lock:
            at = int(version)
            kept = {key: thing for key, thing in self._items.items() if version_of(thing) > at}
            gone = [thing for key, thing in self._items.items() if key not in found and key not in kept]
            self._items = found | kept
        for thing in gone:
            self._changed(thing, GONE)
        for thing in found.values():
            self._changed(thing, not GONE)
        return version

    def _take(self, kind: str, thing: Object) -> None:
        key, gone = key_of(thing), kind == "DELETED"
        with self._lock:
            old = self._items.get(key)
            if old is not None and version_of(old) > version_of(thing):
                return
            if gone:
                self._items.pop(key, None)
            else:
                self._items[key] = thing
        with suppress(Exception):
            self._changed(thing, gone)
