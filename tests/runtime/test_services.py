"""Replicas are asked, and what follows: who is ready, who starts again, who is replaced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tawtin.model.reasons import Cause
from tawtin.model.services import Readiness, ServiceView
from tawtin.model.workload import Outcome, Probe, Serving, WorkloadSpec, WorkloadType
from tawtin.ports import Report
from tawtin.runtime.errors import Conflict, Invalid, NotFound, Refused
from tawtin.runtime.probing import probe
from tawtin.runtime.readiness import ServingSettings
from tests.runtime.shell import SITE, Shell, in_loop, running, spec

SERVING = msgspec.structs.replace(
    SITE, types=(WorkloadType.JOB, WorkloadType.SERVICE), backoff_ms=10, backoff_ms_max=10
)
PACE = ServingSettings(probe_ms=20, probe_unready_ms=20, unready_ms_max=300)
PATIENT = ServingSettings(probe_ms=20, probe_unready_ms=20)


def chat(replicas: int = 1, **fields: Any) -> WorkloadSpec:  # noqa: ANN401 - fields of a WorkloadSpec
    asked = Probe(path="/health", timeout_ms=5_000)
    given: dict[str, Any] = {
        "name": "chat", "type": WorkloadType.SERVICE, "service": Serving(replicas=replicas, probe=asked), **fields,
    }  # fmt: skip
    return spec(**given)


class Stub:
    """A program that answers with a status; several runs may be said to be at its address."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        self.heard: list[bytes] = []
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            head += await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
        self.heard.append(head)
        writer.write(self.answer)
        writer.close()


@asynccontextmanager
async def stub() -> AsyncGenerator[Stub]:
    program = Stub()
    server = await asyncio.start_server(program.serve, "127.0.0.1", 0)
    program.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield program


async def up(shell: Shell, wanted: WorkloadSpec, **more: Any) -> list[str]:  # noqa: ANN401 - of `submit`
    submitted = await shell.service.submit(shell.admin, wanted, "d1", **more)
    return [each.id for each in submitted.workloads]


async def began(shell: Shell, workload: str, address: str, epoch: int = 1, *, ago_ms: int = 0) -> str:
    """Let the engine say that its run began."""
    run = await shell.placed(workload, epoch)
    shell.engine.say(Report(run=run, started_ms=time.time_ns() // 1_000_000 - ago_ms, address=address))
    return run


async def shown(shell: Shell) -> ServiceView:
    return await shell.service.service(shell.admin, "chat")


def ready(shell: Shell) -> list[str]:
    """Workloads that are shown as ready."""
    views = shell.service.published()
    return [each.workload for view in views for each in view.replicas if each.readiness is Readiness.READY]


@in_loop
async def test_a_replica_is_ready_while_it_answers_and_says_what_came_instead():
    async with stub() as program, running(site=SERVING, serving=PATIENT) as shell:
        (workload,) = await up(shell, chat(data=spec().data))
        view = await shown(shell)
        assert (view.replicas_wanted, view.replicas_ready, view.replicas[0].address) == (1, 0, "")
        program.answer = b"HTTP/1.1 503 Loading\r\n\r\n"
        await began(shell, workload, program.address)
        await shell.until(lambda: bool(program.heard), "a probe")
        await shell.until(
            lambda: shell.service.published()[0].replicas[0].why == "it answered 503", "the answer"
        )
        assert (await shown(shell)).replicas[0].readiness is Readiness.STARTING
        program.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        await shell.until(lambda: ready(shell) == [workload], "readiness")
        (replica,) = (await shown(shell)).replicas
        assert (replica.address, replica.country, replica.epoch, replica.why) == (
            program.address,
            "MA",
            1,
            "",
        )
        program.answer = b"nonsense\r\n"
        await shell.until(lambda: not ready(shell), "the loss of readiness")
        assert (await shown(shell)).replicas[0].readiness is Readiness.NOT_READY
        assert program.heard[0].startswith(b"GET /health HTTP/1.1\r\n")
        assert shell.engine.stopped == []


@in_loop
async def test_a_replica_that_was_ready_and_is_not_for_long_is_started_again():
    async with stub() as program, running(site=SERVING, serving=PACE) as shell:
        (workload,) = await up(shell, chat())
        run = await began(shell, workload, program.address)
        await shell.until(lambda: ready(shell) == [workload], "readiness")
        program.answer = b"HTTP/1.1 500 Oh\r\n\r\n"
        await shell.until(lambda: set(shell.engine.stopped) == {(run, Cause.NOT_READY)}, "the stop")
        shell.engine.say(
            Report(
                run=run, ended_ms=2_000, outcome=Outcome.INTERRUPTED, cause=Cause.NOT_READY, started_ms=1_000
            )
        )
        program.answer = b"HTTP/1.1 200 OK\r\n\r\n"
        await began(shell, workload, program.address, epoch=2)
        await shell.until(lambda: ready(shell) == [workload], "readiness of the second run")
        ended = (await shell.service.runs(shell.admin, workload))[-1]
        assert (ended.cause, ended.outcome) == (Cause.NOT_READY, Outcome.INTERRUPTED)


@in_loop
async def test_a_replica_that_is_never_ready_has_its_initial_delay_and_no_longer():
    async with running(site=SERVING, serving=PATIENT) as shell:
        asked = Probe(path="/", initial_delay_ms=60_000)
        (workload,) = await up(shell, chat(service=Serving(probe=asked)))
        run = await began(shell, workload, "127.0.0.1:1", ago_ms=59_000)
        await shell.until(lambda: bool(shell.service.published()[0].replicas[0].why), "a probe")
        await shell.until(lambda: set(shell.engine.stopped) == {(run, Cause.NOT_READY)}, "the stop")


@in_loop
async def test_after_a_start_of_the_control_plane_a_replica_is_asked_before_anybody_is_told():
    async with stub() as program:
        async with running(site=SERVING, serving=PATIENT) as shell:
            (workload,) = await up(shell, chat())
            await began(shell, workload, program.address, ago_ms=3_600_000)
            await shell.until(lambda: ready(shell) == [workload], "readiness")
            journal = shell.journal
        async with running(site=SERVING, serving=PATIENT, journal=journal.survivor()) as shell:
            assert ready(shell) == [workload]
            assert shell.engine.stopped == []


@in_loop
async def test_an_update_ends_an_earlier_replica_only_when_one_that_replaces_it_is_ready():
    async with stub() as program, running(site=SERVING, serving=PATIENT) as shell:
        old = await up(shell, chat(2))
        for each in old:
            await began(shell, each, program.address)
        await shell.until(lambda: ready(shell) == old, "readiness")
        view = await shell.service.update(shell.admin, "chat", chat(2, run="better"), "d2")
        assert (view.revision, view.updating, len(view.replicas), view.digest) == (2, True, 4, "d2")
        again = await shell.service.update(shell.admin, "chat", chat(2, run="better"), "d2")
        assert len(again.replicas) == 4
        new = [each.workload for each in view.replicas if each.revision == 2]
        for count, each in enumerate(new, 1):
            assert len(set(shell.engine.stopped)) == count - 1
            await began(shell, each, program.address)
            await shell.until(lambda: len(set(shell.engine.stopped)) == count, "the end of one")  # noqa: B023 - at once
        for run, cause in set(shell.engine.stopped):
            assert cause is Cause.CANCELLED
            shell.engine.finish(run)
        await shell.until(lambda: len(shell.service.published()[0].replicas) == 2, "the end of both")
        view = await shown(shell)
        assert (view.updating, view.replicas_ready, [each.workload for each in view.replicas]) == (
            False,
            2,
            new,
        )


@in_loop
async def test_replicas_that_answer_nobody_yet_end_with_the_update():
    async with running(site=SERVING, serving=PATIENT) as shell:
        await up(shell, chat(2))
        view = await shell.service.update(shell.admin, "chat", chat(1, run="better"), "d2")
        assert [each.revision for each in view.replicas if each.readiness is not Readiness.ENDING] == [2]


@in_loop
async def test_scaling_adds_replicas_with_their_secrets_and_takes_away_what_is_not_ready():
    async with stub() as program, running(site=SERVING, serving=PATIENT) as shell:
        (first,) = await up(shell, chat(secrets=("TOKEN",)), secrets={"TOKEN": "hush"})
        await began(shell, first, program.address)
        await shell.until(lambda: ready(shell) == [first], "readiness")
        view = await shell.service.scale(shell.admin, "chat", 3)
        assert [(each.replica, each.revision) for each in view.replicas] == [(1, 1), (2, 1), (3, 1)]
        for each in view.replicas:
            await shell.placed(each.workload)
        assert [order.secrets for order in shell.engine.ensured] == [{"TOKEN": "hush"}] * 3
        view = await shell.service.scale(shell.admin, "chat", 1)
        assert [each.workload for each in view.replicas if each.readiness is not Readiness.ENDING] == [first]


@in_loop
async def test_a_service_ends_with_all_its_replicas_and_its_name_is_free_again():
    async with running(site=SERVING, serving=PATIENT) as shell:
        first, second = await up(shell, chat(2))
        with pytest.raises(Refused, match="has a service `chat`"):
            await up(shell, chat())
        runs = [await began(shell, each, "127.0.0.1:1") for each in (first, second)]
        view = await shell.service.down(shell.admin, "chat")
        assert {each.readiness for each in view.replicas} == {Readiness.ENDING}
        for run in runs:
            shell.engine.finish(run)
        await shell.until(lambda: not shell.service.published(), "the end")
        assert await shell.phase(first) == "cancelled"
        with pytest.raises(NotFound):
            await shown(shell)
        with pytest.raises(Conflict, match="was a replica"):
            await shell.service.retry(shell.admin, first)
        await up(shell, chat())


@in_loop
async def test_another_tenants_service_looks_like_one_that_is_not_there():
    async with running(site=SERVING, serving=PATIENT) as shell:
        bank, school = await shell.tenant("bank", network=True), await shell.tenant("school", network=True)
        await shell.service.submit(bank, chat(network=True), "d1")
        for ask in (
            shell.service.service(school, "chat"),
            shell.service.scale(school, "chat", 2),
            shell.service.update(school, "chat", chat(), "d2"),
            shell.service.down(school, "chat"),
        ):
            with pytest.raises(NotFound):
                await ask
        assert await shell.service.services(school) == ()
        assert [each.tenant for each in await shell.service.services(shell.admin)] == ["bank"]
        with pytest.raises(Invalid, match="of the service `other`"):
            await shell.service.update(bank, "chat", chat(name="other"), "d2")


@in_loop
async def test_a_probe_sends_a_body_and_waits_no_longer_than_it_may():
    async with stub() as program:
        assert await probe(program.address, Probe(path="/v1", post_data='{"a":1}')) == ""
        assert program.heard[0].startswith(b"POST /v1 HTTP/1.1\r\n")
        assert program.heard[0].endswith(b'\r\n\r\n{"a":1}')
        for answer, want in (
            (b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", "it answered 301"),
            (b"", "what it answered is no HTTP"),
            (b"x" * 100_000, "limit"),
        ):
            program.answer = answer
            assert want in await probe(program.address, Probe())

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    where = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert await probe(where, Probe(timeout_ms=50)) == "no answer within 50 ms"
    for writer in writers:
        writer.close()
    server.close()
    assert "refused" in await probe(where, Probe())
