"""Ray by the REST API of its head: what is asked of it, and what it answers, as records.

Every call is one request with a time limit, in a connection of its own.
"""

from __future__ import annotations

import re
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from tawtin.engines.ray.settings import RaySettings
from tawtin.engines.shared.cluster import ClusterDownError, ClusterError, ClusterRefusedError
from tawtin.engines.shared.inventory import Amount
from tawtin.model.base import Record

_SAID_MAX: Final = 300
_ANSWER_BYTES_MAX: Final = 256 << 20
_NODES_MAX: Final = 10_000
_TWIN: Final = "already exists"
_REFUSED: Final = re.compile(r"status code 4\d\d")
"""The head hands a submission on, and tells of a refusal so, within an answer 500."""
_GPU: Final = "accelerator_type:"
_T = TypeVar("_T")


class RayDeniedError(ClusterDownError):
    """Ray does not accept the token, or wants one: it will once somebody has put the right one in its place."""


class RayTwinError(ClusterRefusedError):
    """Ray has a job of this name already."""


class RayJob(Record, frozen=True, kw_only=True):
    """A job as Ray has it now."""

    name: str
    """Its submission id."""
    state: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    reason: str = ""
    """Why it failed, such as JOB_SUPERVISOR_ACTOR_DIED."""
    message: str = ""
    exit_code: int | None = None


class Machine(Record, frozen=True, kw_only=True):
    """A node as Ray has it now."""

    name: str
    id: str
    address: str
    alive: bool
    said: str = ""
    """Why it is not alive."""
    gpu_model: str = ""
    total: Amount = Amount()
    taken: Amount = Amount()


class _Version(msgspec.Struct):
    ray_version: str


class _JobRow(msgspec.Struct):
    submission_id: str | None = None
    status: str = ""
    error_type: str | None = None
    message: str | None = None
    driver_exit_code: int | None = None


class _NodeRow(msgspec.Struct):
    node_id: str
    node_ip: str
    state: str
    node_name: str | None = None
    state_message: str | None = None
    resources_total: dict[str, float] = {}
    start_time_ms: int | None = None


class _Rows(msgspec.Struct):
    result: list[_NodeRow]


class _Listed(msgspec.Struct):
    result: _Rows


class _Nodes(msgspec.Struct):
    data: _Listed


class _Report(msgspec.Struct, rename="camel"):
    usage_by_node: dict[str, dict[str, tuple[float, float]]] | None = None


class _Status(msgspec.Struct, rename="camel"):
    load_metrics_report: _Report | None = None


class _Cluster(msgspec.Struct, rename="camel"):
    cluster_status: _Status | None = None


class _Usage(msgspec.Struct):
    data: _Cluster


class Ray:
    """One cluster."""

    def __init__(self, settings: RaySettings) -> None:
        """Nothing is asked yet."""
        self._settings = settings
        parts = urlsplit(settings.address)
        self._host, self._port = parts.hostname or "", parts.port
        self._tls = parts.scheme == "https"
        self.tells_use = True
        """Ray says what is used of its nodes."""

    # --- asking ------------------------------------------------------------------------------------------------------

    def version(self) -> str:
        """Ray's version. Raises ClusterError."""
        return self._decoded("/api/version", _Version).ray_version

    def machines(self) -> tuple[Machine, ...]:
        """All nodes that are or were, by name; of several with one name the one that is alive, or was last."""
        rows = self._decoded(f"/api/v0/nodes?detail=true&limit={_NODES_MAX}", _Nodes).data.result.result
        used = self._used()
        found: dict[str, Machine] = {}
        for row in sorted(rows, key=lambda row: (row.state == "ALIVE", row.start_time_ms or 0)):
            machine = _machine_of(row, used.get(row.node_id, {}))
            found[machine.name] = machine
        return tuple(found[name] for name in sorted(found))

    def _used(self) -> dict[str, dict[str, tuple[float, float]]]:
        """What is used of each node, by its id: (used, total) by resource. Empty where Ray does not say."""
        body = self._call("GET", "/api/cluster_status")
        try:
            status = msgspec.json.decode(body, type=_Usage).data.cluster_status
        except msgspec.DecodeError:  # it differs between Ray's two autoscalers
            status = None
        report = status.load_metrics_report if status else None
        found = report.usage_by_node if report else None
        self.tells_use = found is not None
        return found or {}

    def jobs(self) -> tuple[RayJob, ...]:
        """All jobs that were submitted by this API and that Ray remembers."""
        rows = self._decoded("/api/jobs/", list[_JobRow])
        return tuple(_job_of(row) for row in rows if row.submission_id)

    # --- telling -----------------------------------------------------------------------------------------------------

    def submit(self, request: bytes) -> None:
        """Submit a job; `request` is JSON. Raises RayTwinError if there is one of that name."""
        self._call("POST", "/api/jobs/", request)

    def stop(self, name: str) -> None:
        """End a job. One that is over, or that nobody knows, is none to end."""
        try:
            self._call("POST", f"/api/jobs/{quote(name, safe='')}/stop")
        except ClusterRefusedError:
            return

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _decoded(self, path: str, kind: type[_T]) -> _T:
        body = self._call("GET", path)
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            where = f"{self._settings.address}{path.partition('?')[0]}"
            raise ClusterDownError(f"{where} answered what is none of Ray's answers: {error}") from None

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        token = self._token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection = self._connection()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            said = answer.read(_ANSWER_BYTES_MAX)
        except (OSError, HTTPException, ValueError) as error:
            raise ClusterDownError(f"{self._settings.address}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        if answer.status == 200:
            return said
        raise self._error(answer.status, said.decode("utf-8", "replace"))

    def _token(self) -> str:
        path = self._settings.token_file
        if not path:
            return ""
        try:
            return Path(path).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RayDeniedError(f"the token cannot be read (`token_file`): {error}") from None

    def _connection(self) -> HTTPConnection:
        timeout_s = self._settings.call_ms_max / 1000
        if not self._tls:
            return HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            context = ssl.create_default_context(cafile=self._settings.ca_file or None)
        except OSError as error:
            raise RayDeniedError(f"`ca_file` cannot be read: {error}") from None
        return HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)

    def _error(self, status: int, said: str) -> ClusterError:
        lines = [line for line in said.splitlines() if line.strip(" .")] or [f"HTTP status {status}"]
        short = lines[-1].strip()[:_SAID_MAX]
        match status:
            case 401 if not self._settings.token_file:
                return RayDeniedError(
                    "it wants a token: set `token_file` to a file that has the cluster's token"
                )
            case 401 | 403:
                return RayDeniedError(
                    f"it does not accept the token in `{self._settings.token_file}` ({short}): put the cluster's "
                    "present token there"
                )
            case _ if _TWIN in said:
                return RayTwinError(short)
            case 400 | 404 | 405 | 409 | 413 | 422:
                return ClusterRefusedError(short)
            case 500 if _REFUSED.search(said):
                return ClusterRefusedError(short)
            case _:
                return ClusterDownError(f"HTTP status {status}: {short}")


def _job_of(row: _JobRow) -> RayJob:
    lines = (row.message or "").splitlines()
    return RayJob(
        name=row.submission_id or "",
        state=row.status,
        reason=row.error_type or "",
        message=lines[0][:_SAID_MAX] if lines else "",
        exit_code=row.driver_exit_code,
    )


def _machine_of(row: _NodeRow, used: dict[str, tuple[float, float]]) -> Machine:
    total = row.resources_total
    models = sorted(name.removeprefix(_GPU) for name in total if name.startswith(_GPU))
    gpus = int(total.get("GPU", 0))

    def taken(name: str) -> float:
        return used.get(name, (0.0, 0.0))[0]

    return Machine(
        name=row.node_name or row.node_ip,
        id=row.node_id,
        address=row.node_ip,
        alive=row.state == "ALIVE",
        said=row.state_message or "",
        gpu_model=models[0] if models and gpus else "",
        total=Amount(
            cpus_milli=round(1000 * total.get("CPU", 0)),
            memory_mib=int(total.get("memory", 0)) >> 20,
            gpus=gpus,
        ),
        taken=Amount(
            cpus_milli=round(1000 * taken("CPU")),
            memory_mib=-(-int(taken("memory")) >> 20),
            gpus=round(taken("GPU") + 0.499) if taken("GPU") else 0,
        ),
    )
