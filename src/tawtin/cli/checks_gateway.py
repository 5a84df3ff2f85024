"""What the door to models needs: a port, or an answer while the factory is up; keys; servers that listen."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tawtin.cli import target
from tawtin.cli.checks_factory import running_pid
from tawtin.model.findings import Finding as Check
from tawtin.model.findings import fault, ok, warning

if TYPE_CHECKING:
    from tawtin.bootstrap.settings import Settings

_AT_ONCE = 16


def gateway(settings: Settings) -> list[Check]:
    """Check it, if there is a model."""
    if not settings.models:
        return []
    if not settings.gateway.enabled:
        mend = f"set `enabled` to true under [gateway] in {target.FACTORY}, or remove the models"
        return [warning("gateway", "there are models, and it is not enabled", mend)]
    found = [_answers(settings) if running_pid(settings) else _port(settings), *_keys(settings)]
    return [*found, *_servers(settings)]


def _answers(settings: Settings) -> Check:
    """Whether the workers answer, and know what is allowed."""
    import http.client

    said = target.read_address(str(Path(settings.data, "address.json"))).get("gateway", "")
    mend = "the factory's log says why: lines with `gateway`"
    if not said:
        return fault("gateway", "the factory is up without it", f"restart the factory; else, {mend}")
    where = urlsplit(said).netloc
    connection = http.client.HTTPConnection(where, timeout=settings.gateway.ask_seconds_max)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return fault("gateway", f"{where} does not answer: {error}", mend)
    finally:
        connection.close()
    if answer.status != 200:
        return fault("gateway", f"{where} says {answer.status}: {text}", mend)
    return ok("gateway", f"answers at {said}")


def _port(settings: Settings) -> Check:
    host, number = settings.gateway.host, settings.gateway.port
    if number == 0:
        return ok("gateway", "its port is chosen by the system at the start")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            mend = f"end what listens there, or set another `port` under [gateway] in {target.FACTORY}"
            return fault("gateway", f"{host}:{number}: {reason}", mend)
    return ok("gateway", f"{host}:{number} is free")


def _keys(settings: Settings) -> list[Check]:
    """That the keys which servers want can be read."""
    found: list[Check] = []
    for name, model in settings.models.items():
        for number, replica in enumerate(model.replicas):
            where = f"models.{name}.replicas[{number}].key_file"
            try:
                if replica.key_file and not Path(replica.key_file).read_text("ascii").strip():
                    found.append(
                        fault("gateway keys", f"{where}: {replica.key_file} is empty", "put the key there")
                    )
            except (OSError, UnicodeDecodeError) as error:
                mend = "put the key there, readable for the factory's user"
                found.append(
                    fault("gateway keys", f"{where}: {replica.key_file} cannot be read: {error}", mend)
                )
    return found


def _servers(settings: Settings) -> list[Check]:
    """That something listens where servers are named. Services are looked at by their probes."""
    named = [
        (f"models.{name}.replicas[{number}]", replica.url)
        for name, model in settings.models.items()
        for number, replica in enumerate(model.replicas)
        if replica.url
    ]
    if not named:
        return []
    seconds = settings.gateway.connect_seconds_max
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        trying = [threads.submit(_connects, url, seconds) for _, url in named]
        wrong = [each.result() for each in trying]
    found = [
        warning(
            "model servers",
            f"{where}: {url} accepts no connection: {why}",
            "start that server, or take it out",
        )
        for (where, url), why in zip(named, wrong, strict=True)
        if why
    ]
    return found or [ok("model servers", f"all {len(named)} accept connections")]


def _connects(url: str, seconds: float) -> str:
    """Why there is no connection; empty if there is one."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=seconds).close()
    except (OSError, ValueError) as error:
        return (getattr(error, "strerror", None) or str(error)).lower()
    return ""
