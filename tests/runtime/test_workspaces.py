"""Workspaces rest when nobody uses them or may use them, and wake with what they had."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import pytest

from tawtin.model.reasons import Cause
from tawtin.model.services import Readiness
from tawtin.model.tenant import Scope
from tawtin.model.workload import Outcome, Probe, Serving, WorkloadSpec, WorkloadType, Workspace
from tawtin.ports import Report
from tawtin.runtime.actor import Actor
from tawtin.runtime.errors import Denied, Invalid, NotFound, Refused
from tests.runtime.shell import SITE, Shell, in_loop, running, spec

ROOMS = msgspec.structs.replace(SITE, types=(WorkloadType.JOB, WorkloadType.WORKSPACE))
HOUR_MS = 3_600_000


def room(idle_ms: int = HOUR_MS) -> WorkloadSpec:
    return spec(
        name="lab",
        type=WorkloadType.WORKSPACE,
        service=Serving(replicas=1, probe=Probe(initial_delay_ms=HOUR_MS)),
        workspace=Workspace(idle_ms=idle_ms),
        network=True,
    )


@asynccontextmanager
async def school() -> AsyncGenerator[tuple[Shell, Actor, Actor]]:
    """A factory, a student and a teacher of the student's school."""
    async with running(site=ROOMS) as shell:
        shell.service.workspace_url = "http://{label}.localhost:1"
        teacher = await shell.tenant("lycee")
        student = await shell.tenant("amina", network=True, school="lycee")
        yield shell, student, teacher


async def begun(shell: Shell, actor: Actor, wanted: WorkloadSpec) -> tuple[str, str]:
    """Submit a workspace and let its run begin."""
    workload = await shell.submit(actor, spec=wanted)
    run = await shell.placed(workload)
    shell.engine.say(Report(run=run, started_ms=time.time_ns() // 1_000_000, address="127.0.0.1:1"))
    await shell.until(
        lambda: shell.service.entered(workload, actor.key) not in ("starts", "rests"), "its begin"
    )
    return workload, run


async def rested(shell: Shell, workload: str, run: str) -> None:
    await shell.until(lambda: (run, Cause.RESTED) in shell.engine.stopped, "the stop")
    shell.engine.say(
        Report(run=run, started_ms=1_000, ended_ms=2_000, outcome=Outcome.INTERRUPTED, cause=Cause.RESTED)
    )
    await shell.until(lambda: workload not in shell.service.state.run_of, "the end of its run")


@in_loop
async def test_one_that_nobody_uses_rests_and_is_woken_by_who_opens_it():
    async with school() as (shell, amina, teacher):
        workload, run = await begun(shell, amina, room(idle_ms=1))
        await rested(shell, workload, run)
        view = await shell.service.workspace(amina, "lab")
        assert (view.state, view.may) == (Readiness.RESTING, "use")
        assert (await shell.service.open_workspace(teacher, "lab", tenant="amina")).read_only
        assert shell.service.entered(workload, teacher.key) == "rests"
        await shell.service.open_workspace(amina, "lab")
        await shell.placed(workload, epoch=2)


@in_loop
async def test_one_that_is_kept_awake_does_not_rest_until_it_is_told_to():
    async with school() as (shell, amina, _):
        workload = await shell.submit(amina, spec=room(idle_ms=1))
        view = await shell.service.start_workspace(amina, "lab", for_ms=HOUR_MS)
        run = await shell.placed(workload)
        shell.engine.say(Report(run=run, started_ms=time.time_ns() // 1_000_000, address="127.0.0.1:1"))
        await shell.until(lambda: shell.service.entered(workload, amina.key) not in ("starts", "rests"), "it")
        shell.service.look_for_idle()
        await asyncio.sleep(0.01)
        shell.service.look_for_idle()
        await shell.service.settle()
        assert shell.engine.stopped == []
        again = await shell.service.start_workspace(amina, "lab")
        assert again.awake_until_ms == view.awake_until_ms
        for wrong in (-1, 30 * 24 * HOUR_MS + 1):
            with pytest.raises(Invalid, match="30 days"):
                await shell.service.start_workspace(amina, "lab", for_ms=wrong)
        await shell.service.stop_workspace(amina, "lab")
        await rested(shell, workload, run)


@in_loop
async def test_one_that_no_key_may_use_any_more_rests():
    async with school() as (shell, amina, teacher):
        workload, run = await begun(shell, amina, room(idle_ms=0))
        other = await shell.key("amina", Scope.TENANT)
        await shell.service.revoke_key(shell.admin, amina.key)
        shell.service.look_for_idle()
        await shell.service.settle()
        assert shell.engine.stopped == [], "another key of its tenant may use it"
        await shell.service.revoke_key(shell.admin, other.key)
        shell.service.look_for_idle()
        await rested(shell, workload, run)
        assert shell.service.may(teacher, shell.service.state.workloads[workload]) == "look"


@in_loop
async def test_others_look_only_as_far_as_they_may():
    async with school() as (shell, amina, teacher):
        workload, run = await begun(shell, amina, room())
        badr, fellow = await shell.tenant("badr", school="lycee"), await shell.key("amina")
        found = shell.service.entered(workload, amina.key)
        assert not isinstance(found, str)
        assert (found[0].id, found[1]) == (run, False)
        assert shell.service.entered(workload, fellow.key) == "closed"
        with pytest.raises(Denied, match="not shared"):
            await shell.service.open_workspace(fellow, "lab")
        assert shell.service.entered(workload, badr.key) == "closed"
        for change in (
            shell.service.stop_workspace(badr, "lab", tenant="amina"),
            shell.service.open_workspace(badr, "lab", tenant="amina"),
            shell.service.workspace(badr, "lab", tenant="amina"),
        ):
            with pytest.raises(NotFound):
                await change
        await shell.service.share_workspace(amina, "lab", shared=True)
        for each in (teacher, fellow):
            found = shell.service.entered(workload, each.key)
            assert not isinstance(found, str)
            assert found[1], "only to look"
            with pytest.raises(Denied):
                await shell.service.delete_workspace(each, "lab", tenant="amina")
        with pytest.raises(Refused, match="has a workspace `lab`"):
            await shell.submit(amina, spec=room())
        await shell.service.delete_workspace(amina, "lab")
        shell.engine.finish(run)
        await shell.until(lambda: not shell.service.state.services, "the end")
        assert await shell.service.workspaces(shell.admin) == ()
