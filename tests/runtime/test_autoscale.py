"""What a load lets follow: replicas that are added as a person would, those that are left in peace first, and rest."""

from __future__ import annotations

from tawtin.core.admit import replicas_of
from tawtin.model.events import ServiceScaled, decode_entry
from tawtin.model.reasons import Cause, Waiting
from tawtin.model.services import Load, Readiness
from tawtin.model.tenant import Quota, Tenant
from tawtin.model.workload import Outcome, Probe, Scaling, Serving
from tawtin.ports import Report
from tawtin.runtime.readiness import ServingSettings
from tawtin.store.memory import MemoryJournal
from tests.runtime.shell import Shell, in_loop, running
from tests.runtime.test_services import SERVING, began, chat, ready, shown, stub, up

BY_HAND = ServingSettings(
    probe_ms=20, probe_unready_ms=20, scale_ms=3_600_000, leave_ms=0, leave_ms_max=3_600_000
)
POLICY = Scaling(replicas_min=0, replicas_max=4, in_flight_milli=4_000, up_delay_ms=0, down_delay_ms=0)
WANTED = chat(service=Serving(probe=Probe(path="/health"), scaling=POLICY), secrets=("TOKEN",))


async def look(shell: Shell, in_flight: int = 0, arrived: int = 0, **open_now: int) -> None:
    load = Load(
        in_flight=in_flight,
        arrived=arrived,
        open={run.replace("_", "-", 1): n for run, n in open_now.items()},
    )
    await shell.service.autoscale.look({"casa/chat": load})
    await shell.service.settle()


def scaled(journal: MemoryJournal) -> list[tuple[int, int, str]]:
    """What the log says."""
    events = [decode_entry(body).event for body in journal.events(0, 1_000)]
    return [(each.before, each.replicas, each.why) for each in events if isinstance(each, ServiceScaled)]


@in_loop
async def test_replicas_come_with_the_load_and_leave_without_it_once_they_have_no_requests():
    async with stub() as program, running(site=SERVING, serving=BY_HAND) as shell:
        (first,) = await up(shell, WANTED, secrets={"TOKEN": "hush"})
        await began(shell, first, program.address)
        await shell.until(lambda: ready(shell) == [first], "the first")
        await look(shell, in_flight=11, arrived=11)
        members = replicas_of(shell.service.state, "casa", "chat")
        assert len(members) == 3
        for each in members[1:]:
            await began(shell, each.id, program.address)
        await shell.until(lambda: len(ready(shell)) == 3, "three")
        assert [order.secrets for order in shell.engine.ensured] == [{"TOKEN": "hush"}] * 3
        (asks, rests) = scaled(shell.journal), await shown(shell)
        assert asks == [(1, 3, "11 requests in flight, 4 for each replica")]
        assert (rests.replicas_wanted, rests.why) == (
            3,
            "3 of 0 to 4: 11 requests in flight, 4 for each replica",
        )

        busy = {f"{members[2].id}.1": 1}
        await shell.service.autoscale.look({"casa/chat": Load(arrived=11, open=busy)})
        await shell.service.settle()
        assert shell.service.answering("casa", "chat") == []
        stopped = {(f"{each.id}.1", Cause.CANCELLED) for each in members[1:2]} | {
            (f"{first}.1", Cause.RESTED)
        }
        await shell.until(lambda: set(shell.engine.stopped) >= stopped, "the end of those without requests")
        assert {run for run, _ in shell.engine.stopped} == {run for run, _ in stopped}
        await look(shell, arrived=11)
        await shell.until(
            lambda: (f"{members[2].id}.1", Cause.CANCELLED) in shell.engine.stopped, "of the last"
        )


@in_loop
async def test_the_last_one_rests_until_somebody_asks_and_keeps_its_secrets():
    journal = MemoryJournal()
    async with stub() as program, running(site=SERVING, serving=BY_HAND, journal=journal) as shell:
        (one,) = await up(shell, WANTED, secrets={"TOKEN": "hush"})
        run = await began(shell, one, program.address)
        await shell.until(lambda: ready(shell) == [one], "readiness")
        await look(shell)
        await shell.until(lambda: (run, Cause.RESTED) in shell.engine.stopped, "the stop")
        shell.engine.say(Report(run=run, ended_ms=1, outcome=Outcome.INTERRUPTED, cause=Cause.RESTED))
        await shell.until(lambda: not shell.service.state.runs, "the end")
        await look(shell)
    async with running(site=SERVING, serving=BY_HAND, journal=journal.survivor()) as shell:
        view = await shown(shell)
        assert [each.readiness for each in view.replicas] == [Readiness.RESTING]
        assert (view.replicas_wanted, shell.service.may_start("casa", "chat")) == (0, True)
        waiting = (await shell.service.explain(shell.admin, one)).waiting
        assert waiting is not None
        assert (waiting.reason, shell.engine.ensured) == (Waiting.RESTING, [])
        await look(shell, in_flight=1)
        await shell.placed(one, epoch=2)
        assert shell.engine.ensured[0].secrets == {"TOKEN": "hush"}
        assert [(before, after) for before, after, _ in scaled(shell.journal)] == [(1, 0), (0, 1)]
        await shell.service.down(shell.admin, "chat")
        assert not shell.service.may_start("casa", "chat")


@in_loop
async def test_what_a_quota_refuses_is_said_and_not_asked_for_at_every_look():
    async with running(site=SERVING, serving=BY_HAND) as shell:
        quota = Quota(workloads=1)
        await shell.service.put_tenant(
            shell.admin, Tenant(id="casa", quota=quota, network=True, version=1), create=False
        )
        (one,) = await up(shell, WANTED)
        await look(shell, in_flight=9)
        await look(shell, in_flight=9)
        view = await shown(shell)
        assert ([each.workload for each in view.replicas], "refused" in view.why) == ([one], True)
        assert shell.service.stats.refused == 1
