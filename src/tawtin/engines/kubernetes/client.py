"""The API server, by the official client: its credentials and connections; the JSON is read here.

Only what a request means is told apart: it was refused, or nobody knows whether it happened.
"""

# ruff: noqa: ANN401 - objects are JSON, and the official client has no types
from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, Protocol, cast
from urllib.parse import urlencode

import kubernetes.client
import kubernetes.config
import msgspec
import urllib3

from tawtin.engines.kubernetes.settings import KubernetesSettings
from tawtin.engines.kubernetes.things import Object
from tawtin.engines.shared.cluster import ClusterDownError, ClusterRefusedError
from tawtin.ports import EngineError

_config: Final[Any] = kubernetes.config
_TRIES: Final = 4
_WAIT_S_MAX: Final = 5.0
_PART_BYTES: Final = 65_536


class RefusedError(ClusterRefusedError):
    """The API server answered that it does not do this."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """Keep its HTTP status, its word for the reason, and its message."""
        super().__init__(message)
        self.status = status
        self.reason = reason


class GoneError(Exception):
    """The place in the stream of changes is too old to go on from: everything has to be listed again."""


class _Answer(Protocol):
    """What is used of urllib3's response."""

    status: int
    headers: Any

    def read(self) -> bytes: ...
    def read1(self, amt: int) -> bytes: ...
    def shutdown(self) -> None: ...
    def close(self) -> None: ...
    def release_conn(self) -> None: ...


class Stream:
    """Changes, as they come; `close` may be called by another thread."""

    def __init__(self, answer: _Answer) -> None:
        """Take over an answer that does not end."""
        self._answer = answer

    def events(self) -> Iterator[tuple[str, Object]]:
        """(what happened, to what) until the server ends it. Raises GoneError, ClusterDownError."""
        rest = b""
        try:
            while part := self._answer.read1(_PART_BYTES):  # what is there, without waiting for more
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    event = msgspec.json.decode(line)
                    kind, thing = cast("str", event["type"]), cast("Object", event["object"])
                    if kind == "ERROR":
                        if thing.get("code") == 410:
                            raise GoneError
                        raise ClusterDownError(str(thing.get("message", "the watch ended")))
                    yield kind, thing
        except (urllib3.exceptions.HTTPError, OSError, ValueError, msgspec.DecodeError) as error:
            raise ClusterDownError(_words(error)) from error
        finally:
            self._answer.close()

    def close(self) -> None:
        """End it."""
        with suppress(Exception):
            self._answer.shutdown()


class Api:
    """One API server, as one account."""

    def __init__(self, settings: KubernetesSettings) -> None:
        """Read the credentials. Raises EngineError."""
        self._timeout_s = settings.call_ms_max / 1000
        configuration: Any = kubernetes.client.Configuration()
        configuration.connection_pool_maxsize = settings.submitters + 8
        try:
            if settings.kubeconfig or settings.context or not _in_cluster(configuration):
                _config.load_kube_config(
                    config_file=settings.kubeconfig or None,
                    context=settings.context or None,
                    client_configuration=configuration,
                )
        except Exception as error:
            raise EngineError(f"no credentials for Kubernetes: {error}; {_mend(settings)}") from error
        self._client: Any = kubernetes.client.ApiClient(configuration)
        self._lock = threading.Lock()
        self.server = str(configuration.host)

    def close(self) -> None:
        """Let go of all connections."""
        self._client.rest_client.pool_manager.clear()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        kind: str = "application/json",
    ) -> Object:
        """What the server answers. It is asked again a few times where it says that it is busy.

        Raises ClusterDownError: it may have happened; RefusedError: it did not.
        """
        for number in range(1, _TRIES + 1):
            answer = self._request(method, path, body, query, kind, self._timeout_s)
            try:
                data = answer.read()
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise ClusterDownError(_words(error)) from error
            finally:
                answer.release_conn()
            if answer.status < 300:
                return cast("Object", msgspec.json.decode(data))
            said = _status(data)
            busy = answer.status == 429 or answer.status >= 500
            if not busy:
                raise _error(answer.status, said)
            if number == _TRIES:
                raise ClusterDownError(f"{answer.status}: {said.get('message', 'no words')}")
            time.sleep(min(_WAIT_S_MAX, _after_s(answer, number)))
        raise AssertionError

    def watch(self, path: str, query: dict[str, str], seconds: int) -> Stream:
        """Changes from a resource version on, for so long. Raises GoneError, ClusterDownError, RefusedError."""
        more = {**query, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        answer = self._request("GET", path, None, more, "", seconds + 10.0)
        if answer.status < 300:
            return Stream(answer)
        said = _status(answer.read())
        answer.release_conn()
        if answer.status == 410:
            raise GoneError
        if answer.status == 429 or answer.status >= 500:
            raise ClusterDownError(f"{answer.status}: {said.get('message', 'no words')}")
        raise _error(answer.status, said)

    def _request(
        self, method: str, path: str, body: Any, query: dict[str, str] | None, kind: str, timeout_s: float
    ) -> _Answer:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            with self._lock:  # tokens are renewed in here
                _, url, headers, _, _ = self._client.param_serialize(
                    method, path, header_params=headers, auth_settings=["BearerToken"]
                )
            return cast(
                "_Answer",
                self._client.rest_client.pool_manager.request(
                    method,
                    f"{url}?{urlencode(query)}" if query else url,
                    body=None if body is None else msgspec.json.encode(body),
                    headers=headers,
                    preload_content=False,
                    retries=False,
                    timeout=urllib3.Timeout(connect=min(10.0, timeout_s), read=timeout_s),
                ),
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterDownError(_words(error)) from error
        except Exception as error:  # a plugin that fetches tokens may fail in any way
            raise ClusterDownError(f"no credentials: {error}") from error


def _in_cluster(configuration: Any) -> bool:
    try:
        _config.load_incluster_config(client_configuration=configuration)
    except _config.ConfigException:
        return False
    return True


def _mend(settings: KubernetesSettings) -> str:
    """What to do about credentials that are not there."""
    if not settings.kubeconfig and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return (
            "this pod has no token: set `automountServiceAccountToken: true` in it, as deploy/kustomize-engine does, "
            "or `kubeconfig`"
        )
    return "set `kubeconfig` to a file that `kubectl` works with"


def _status(data: bytes) -> Object:
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return {"message": data[:300].decode("utf-8", "replace")}
    return cast("Object", found) if isinstance(found, dict) else {}


def _error(status: int, said: Object) -> Exception:
    """Missing rights and full quotas are no fault of a run: it waits until they are mended."""
    reason, message = str(said.get("reason", "")), str(said.get("message", f"HTTP status {status}"))
    if status == 401:
        return ClusterDownError(f"it does not accept the credentials ({message}): renew them")
    if status == 403 and " cannot " in message:
        return ClusterDownError(f"a right is missing: {message}; see deploy/kubernetes/rbac.yaml")
    if status == 403 and ("exceeded quota" in message or "being terminated" in message):
        return ClusterDownError(message)
    return RefusedError(status, reason, message)


def _after_s(answer: _Answer, number: int) -> float:
    text = str(answer.headers.get("Retry-After", ""))
    return float(text) if text.isdecimal() else 0.2 * 2**number


def _words(error: Exception) -> str:
    return f"{error}" or type(error).__name__
