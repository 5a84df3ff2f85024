"""The program of a batch's job: asks each request that has no answer yet, and hands every answer over at once.

It runs in a sandbox, by the Python that is there: the standard library alone, and one file. It keeps nothing, so that
one that was killed goes on with what the factory has no answer to.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import sys
import threading
import time
import urllib.parse
from typing import Any

PAGE = 100
TRIES = 6
"""Of a request that fails at its replicas, or is cut off."""
PAUSE_S = 0.2
PAUSE_S_MAX = 3.0
UNKNOWN_S_MAX = 60.0
"""The gateway may learn of the key some time after the start."""
ANSWER_S_MAX = 900.0
LATER = (408, 503)
"""Nothing was done with the request."""


class Stopped(Exception):
    """Nothing more can be done; the message says why."""


class Door:
    """One connection to the gateway, opened again whenever it broke."""

    def __init__(self, url: str, key: str) -> None:
        """Connect to nothing yet."""
        self.url = urllib.parse.urlsplit(url)
        self.key = key
        self.held: http.client.HTTPConnection | None = None
        self.told = 200

    def once(self, method: str, path: str, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer. Raises OSError, HTTPException."""
        if self.held is None:
            secure = self.url.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            self.held = kind(self.url.netloc, timeout=ANSWER_S_MAX)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            self.held.request(method, self.url.path + path, body, headers)
            got = self.held.getresponse()
            return got.status, {name.lower(): value for name, value in got.getheaders()}, got.read()
        except BaseException:
            self.held.close()
            self.held = None
            raise

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, tries: int = 1 << 30
    ) -> tuple[int, dict[str, str], bytes]:
        """An answer that is no `later`, for which it waits as long as it takes; status 0 if it is cut off too often.

        Raises Stopped if the key is none.
        """
        pause, unknown_since = PAUSE_S, 0.0
        status, headers, data = 0, dict[str, str](), b""
        while tries > 0:
            wait = pause
            try:
                status, headers, data = self.once(method, path, body)
            except ConnectionRefusedError:
                status = 503  # nobody is there
            except (OSError, http.client.HTTPException):
                status, data = 0, b""
            if status == 401:
                unknown_since = unknown_since or time.monotonic()
                if time.monotonic() - unknown_since > UNKNOWN_S_MAX:
                    raise Stopped("the gateway does not take the key of this batch any more")
            elif status in LATER or (status == 429 and "retry-after" in headers):
                wait = max(wait, float(headers.get("retry-after-ms", "0")) / 1000)
            elif status == 0 or status >= 500:
                tries -= 1
            else:
                break
            if pause == PAUSE_S_MAX and wait == pause:
                self._waits(status)
            time.sleep(wait)
            pause = min(2 * pause, PAUSE_S_MAX)
        return status, headers, data

    def _waits(self, status: int) -> None:
        """Say once in the log what it waits for, until that changes."""
        if status != self.told:
            self.told = status
            what = f"says {status}" if status else "breaks off"
            sys.stderr.write(f"waiting: the gateway at {self.url.netloc} is not there or {what}\n")
            sys.stderr.flush()


class Runner:
    """The job."""

    def __init__(self, environment: dict[str, str]) -> None:
        """What to do is in the environment."""
        self.url = environment["TAWTIN_BATCH_URL"]
        self.key = environment["TAWTIN_BATCH_KEY"]
        self.batch = "/batches/" + environment["TAWTIN_BATCH"]
        self.at_once = int(environment["TAWTIN_BATCH_AT_ONCE"])
        self.todo: queue.Queue[dict[str, Any] | None] = queue.Queue(PAGE)
        self.wrong: list[BaseException] = []

    def run(self) -> int:
        """Ask all requests; return how many. Raises Stopped."""
        threads = [threading.Thread(target=self._work) for _ in range(self.at_once)]
        for thread in threads:
            thread.start()
        door, asked, after = Door(self.url, self.key), 0, 0
        try:
            while not self.wrong and (found := self._page(door, after)):
                for each in found:
                    self.todo.put(each)
                asked, after = asked + len(found), found[-1]["line"]
        finally:
            for _ in threads:
                self.todo.put(None)
            for thread in threads:
                thread.join()
        if self.wrong:
            raise Stopped(str(self.wrong[0])) from self.wrong[0]
        return asked

    def _page(self, door: Door, after: int) -> list[dict[str, Any]]:
        status, _, data = door.ask("GET", f"{self.batch}/lines?after={after}&limit={PAGE}")
        if status != 200:
            raise Stopped(f"the requests cannot be read: {status} {data[:500]!r}")
        found: list[dict[str, Any]] = json.loads(data)["data"]
        return found

    def _work(self) -> None:
        door = Door(self.url, self.key)
        while (each := self.todo.get()) is not None:
            if self.wrong:
                continue  # the queue has to become empty
            try:
                self._one(door, each)
            except Exception as error:  # noqa: BLE001 - the main thread says it
                self.wrong.append(error)

    def _one(self, door: Door, each: dict[str, Any]) -> None:
        """Ask one request, and hand its answer over."""
        status, headers, data = door.ask("POST", each["path"], each["body"].encode(), tries=TRIES)
        text = json.dumps(data.decode("utf-8", "replace")).encode()
        said = {"line": each["line"], "status": status, "request_id": headers.get("x-tawtin-receipt", "")}
        head = json.dumps(said)[:-1].encode() + b', "body": '
        for body in (data if _is_json(data) else text, text):  # what is no JSON to the factory goes as text
            status, _, told = door.ask("POST", f"{self.batch}/answers", head + body + b"}")
            if status == 200:
                return
        raise Stopped(f"an answer was not taken: {status} {told[:500]!r}")


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def main() -> None:
    """Run it by the environment."""
    try:
        asked = Runner(dict(os.environ)).run()
    except Stopped as error:
        sys.exit(f"stopped: {error}")
    sys.stdout.write(f"asked {asked} requests\n")


if __name__ == "__main__":
    main()
