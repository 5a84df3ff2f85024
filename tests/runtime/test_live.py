"""The live loop: when callers are answered, what the engine is told, and what a journal that fails leaves behind."""

from __future__ import annotations

import asyncio

import pytest

from tawtin.ports import JournalError, Report
from tawtin.runtime import factory as factories
from tawtin.runtime.errors import Conflict, Full, NotFound, ServiceError, Unavailable
from tests.runtime.shell import in_loop, running, spec


@in_loop
async def test_nobody_is_answered_and_no_engine_is_told_before_the_commit():
    async with running() as shell:
        shell.gate.shut()
        asked = asyncio.create_task(shell.submit())
        await asyncio.to_thread(shell.gate.reached.wait)
        await asyncio.sleep(0.05)
        assert not asked.done()
        assert not shell.engine.ensured
        shell.gate.open.set()
        await shell.placed(await asked)


@in_loop
async def test_callers_that_come_during_a_commit_share_the_next_one():
    async with running() as shell:
        shell.gate.shut()
        first = asyncio.create_task(shell.submit())
        await asyncio.to_thread(shell.gate.reached.wait)
        others = [asyncio.create_task(shell.submit()) for _ in range(50)]
        await asyncio.sleep(0.02)
        before = shell.gate.commits
        shell.gate.open.set()
        names = await asyncio.gather(first, *others)
        assert len(set(names)) == 51
        assert shell.gate.commits - before <= 3


@in_loop
async def test_a_full_disk_refuses_new_work_loses_none_and_goes_on_when_there_is_space():
    async with running() as shell:
        kept = await shell.submit()
        run = await shell.placed(kept)
        shell.gate.errors += [JournalError("no space is left", full=True)] * 3
        with pytest.raises(Full, match="full"):
            await shell.submit()
        assert shell.service.ready()[0] is False
        shell.engine.finish(run)
        await shell.until(lambda: not shell.gate.errors, "space")
        await shell.until(lambda: shell.service.ready()[0], "readiness")
        await shell.until(lambda: run in shell.engine.forgotten, "the end")
        assert await shell.phase(kept) == "succeeded"
        await shell.placed(await shell.submit())


@pytest.mark.parametrize(
    "error", [JournalError("broken"), OSError("broken"), RuntimeError("broken")], ids=repr
)
def test_whatever_the_journal_raises_its_callers_hear_of_it_and_the_loop_goes_on(error: Exception):
    @in_loop
    async def check():
        async with running() as shell:
            shell.gate.errors.append(error)
            with pytest.raises(Unavailable, match="try again"):
                await shell.submit()
            await shell.until(lambda: shell.service.ready()[0], "readiness")
            page = await shell.service.workloads(shell.admin)
            assert not page.items
            await shell.placed(await shell.submit())

    check()


@in_loop
async def test_a_journal_that_cannot_be_read_after_it_failed_is_tried_again():
    async with running() as shell:
        plain, failures = shell.journal.live, [OSError("unreadable"), OSError("unreadable")]

        def live():
            if failures:
                raise failures.pop()
            return plain()

        shell.journal.live = live
        shell.gate.errors.append(JournalError("broken"))
        with pytest.raises(Unavailable):
            await shell.submit()
        assert not failures
        await shell.until(lambda: shell.service.ready()[0], "readiness")
        await shell.placed(await shell.submit())


@in_loop
async def test_a_commit_whose_answer_is_lost_is_found_again_by_its_idempotency_key():
    async with running() as shell:
        shell.gate.errors_after.append(JournalError("the connection broke"))
        with pytest.raises(Unavailable):
            await shell.submit(idempotency_key="k", request_sha256="r")
        await shell.until(lambda: shell.service.ready()[0], "readiness")
        again = await shell.submit(idempotency_key="k", request_sha256="r")
        page = await shell.service.workloads(shell.admin)
        assert [item.workload.id for item in page.items] == [again]
        await shell.placed(again)


@in_loop
async def test_a_report_that_was_heard_before_a_failed_commit_is_not_lost():
    async with running() as shell:
        workload = await shell.submit()
        run = await shell.placed(workload)
        shell.gate.errors += [JournalError("broken"), JournalError("broken")]
        shell.engine.finish(run)  # told once: this engine does not repeat itself
        await shell.until(lambda: run in shell.engine.forgotten, "the end")
        assert await shell.phase(workload) == "succeeded"
        (account,) = await shell.service.usage(shell.admin)
        assert (account.runs, account.wall_ms) == (1, 1_000)


@in_loop
async def test_a_report_that_cannot_be_taken_in_does_not_stop_the_loop():
    async with running() as shell:
        workload = await shell.submit()
        run = await shell.placed(workload)
        plain = factories.Factory.report

        def poisoned(self: factories.Factory, report: Report) -> None:
            if report.run == "wl-poison.1":
                raise ValueError("nonsense")
            plain(self, report)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(factories.Factory, "report", poisoned)
            shell.engine.finish("wl-poison.1")
            shell.engine.finish(run)
            await shell.until(lambda: run in shell.engine.forgotten, "the end")
        assert await shell.phase(workload) == "succeeded"


@in_loop
async def test_a_pass_that_fails_takes_back_what_was_staged_and_the_factory_recovers():
    async with running() as shell:
        plain, failures = factories.Factory.tick, [ValueError("nonsense")]

        def tick(self: factories.Factory) -> object:
            if failures:
                raise failures.pop()
            return plain(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(factories.Factory, "tick", tick)
            with pytest.raises(Unavailable, match="try again"):
                await shell.submit()
            await shell.until(lambda: shell.service.ready()[0], "readiness")
            await shell.placed(await shell.submit())


@in_loop
async def test_a_reader_sees_its_own_writes_and_waits_for_those_of_others():
    async with running() as shell:
        shell.gate.shut()
        asked = asyncio.create_task(shell.submit())
        await asyncio.to_thread(shell.gate.reached.wait)
        looked = asyncio.create_task(shell.service.workloads(shell.admin))
        await asyncio.sleep(0.05)
        assert not looked.done()
        shell.gate.open.set()
        page = await looked
        assert [item.workload.id for item in page.items] == [await asked]


@in_loop
async def test_a_reader_never_sees_what_a_failed_commit_took_back():
    async with running() as shell:
        shell.gate.shut()
        asked = asyncio.create_task(shell.submit())
        await asyncio.to_thread(shell.gate.reached.wait)
        looks = [asyncio.create_task(shell.service.workloads(shell.admin)) for _ in range(5)]
        await asyncio.sleep(0.02)
        shell.gate.errors.append(JournalError("broken"))
        shell.gate.open.set()
        assert [page.items for page in await asyncio.gather(*looks)] == [()] * 5
        with pytest.raises(Unavailable):
            await asked


@in_loop
async def test_the_same_key_at_the_same_time_makes_one_workload():
    async with running() as shell:
        asks = [shell.submit(idempotency_key="k", request_sha256="r") for _ in range(8)]
        assert len(set(await asyncio.gather(*asks))) == 1
        assert len((await shell.service.workloads(shell.admin)).items) == 1


@in_loop
async def test_repeats_of_a_request_that_was_taken_back_are_never_answered_with_it():
    async with running() as shell:
        shell.gate.shut()
        first = asyncio.create_task(shell.submit(idempotency_key="k", request_sha256="r"))
        await asyncio.to_thread(shell.gate.reached.wait)
        repeats = [
            asyncio.create_task(shell.submit(idempotency_key="k", request_sha256="r")) for _ in range(5)
        ]
        await asyncio.sleep(0.02)
        shell.gate.errors.append(JournalError("broken"))
        shell.gate.open.set()
        answers = await asyncio.gather(first, *repeats, return_exceptions=True)
        acknowledged = {answer for answer in answers if isinstance(answer, str)}
        assert all(isinstance(answer, str | ServiceError) for answer in answers)
        assert isinstance(answers[0], Unavailable)
        await shell.until(lambda: shell.service.ready()[0], "readiness")
        last = await shell.submit(idempotency_key="k", request_sha256="r")
        assert acknowledged <= {last}
        assert [item.workload.id for item in (await shell.service.workloads(shell.admin)).items] == [last]


@in_loop
async def test_a_key_that_was_used_for_another_request_is_a_conflict():
    async with running() as shell:
        await shell.submit(idempotency_key="k", request_sha256="r")
        with pytest.raises(Conflict, match="`k`"):
            await shell.submit(idempotency_key="k", request_sha256="another")


@in_loop
async def test_an_answer_is_remembered_across_a_restart():
    async with running() as shell:
        first = await shell.submit(idempotency_key="k", request_sha256="r")
        journal = shell.journal
    async with running(journal=journal.survivor()) as shell:
        assert await shell.submit(idempotency_key="k", request_sha256="r") == first
        assert len((await shell.service.workloads(shell.admin)).items) == 1


@in_loop
async def test_what_was_staged_is_durable_after_stop_and_the_next_life_adopts_the_run():
    async with running() as shell:
        workload = await shell.submit()
        run = await shell.placed(workload)
        engine, journal = shell.engine, shell.journal
    assert engine.closed
    assert not engine.stopped
    async with running(journal=journal.survivor()) as shell:
        assert await shell.placed(workload) == run
        shell.engine.finish(run)
        await shell.until(lambda: run in shell.engine.forgotten, "the end")
        assert await shell.phase(workload) == "succeeded"


@in_loop
async def test_a_watcher_wakes_when_something_durable_happened_and_not_before():
    async with running() as shell:
        workload = await shell.submit()
        run = await shell.placed(workload)
        await shell.service.settle()
        assert await shell.service.changed(workload, 30) is False
        watcher = asyncio.create_task(shell.service.changed(workload, 5_000))
        everything = asyncio.create_task(shell.service.changed("*", 5_000))
        await asyncio.sleep(0.02)
        shell.gate.shut()
        shell.engine.finish(run)
        await asyncio.to_thread(shell.gate.reached.wait)
        await asyncio.sleep(0.02)
        assert not watcher.done()
        shell.gate.open.set()
        assert await watcher is True
        assert await everything is True
        assert await shell.phase(workload) == "succeeded"
        assert not shell.service._watchers


@in_loop
async def test_an_engine_that_did_not_answer_is_told_again():
    async with running() as shell:
        shell.engine.raising += [RuntimeError("busy"), RuntimeError("busy")]
        await shell.placed(await shell.submit())
        assert not shell.engine.raising


@in_loop
async def test_a_run_that_nobody_recorded_is_stopped_if_alive_and_forgotten_if_over():
    from tawtin.ports import Report

    async with running() as shell:
        shell.engine.say(Report(run="wl-stranger.1", started_ms=1))
        await shell.until(lambda: bool(shell.engine.stopped), "the stop")
        assert shell.engine.stopped[0][0] == "wl-stranger.1"
        shell.engine.finish("wl-stranger.2")
        await shell.until(lambda: "wl-stranger.2" in shell.engine.forgotten, "forgetting")
        with pytest.raises(NotFound):
            await shell.service.view(shell.admin, "wl-stranger")


@in_loop
async def test_a_cancelled_run_is_stopped_and_its_workload_ends_cancelled():
    from tawtin.model.reasons import Cause
    from tawtin.model.workload import Outcome
    from tawtin.ports import Report

    async with running() as shell:
        workload = await shell.submit()
        run = await shell.placed(workload)
        view = await shell.service.cancel(shell.admin, workload)
        assert view.status == "stopping"
        await shell.until(lambda: (run, Cause.CANCELLED) in shell.engine.stopped, "the stop")
        assert (await shell.service.cancel(shell.admin, workload)).status == "stopping"
        ended = Report(run=run, ended_ms=5, outcome=Outcome.CANCELLED, cause=Cause.CANCELLED)
        shell.engine.say(ended)
        await shell.until(lambda: run in shell.engine.forgotten, "the end")
        assert await shell.phase(workload) == "cancelled"


@in_loop
async def test_secrets_reach_the_engine_and_are_gone_at_the_end():
    async with running() as shell:
        workload = await shell.submit(spec=spec(secrets=("TOKEN",)), secrets={"TOKEN": "s3cret"})
        run = await shell.placed(workload)
        assert shell.engine.ensured[0].secrets == {"TOKEN": "s3cret"}
        assert b"s3cret" not in b"".join(shell.journal.events(0, 1_000))
        shell.engine.finish(run)
        await shell.until(lambda: run in shell.engine.forgotten, "the end")
        assert shell.journal.secrets(workload) == {}
        with pytest.raises(Conflict, match="secrets"):
            await shell.service.retry(shell.admin, workload)


@in_loop
async def test_who_stops_watching_at_the_moment_of_news_has_stopped():
    async with running() as shell:
        watching = asyncio.create_task(shell.service.changed("*", 10_000))
        await asyncio.sleep(0)
        shell.service._publish(("wl-any",))
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
