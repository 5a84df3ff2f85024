"""What callers may do and see: tenants are kept apart, keys expire, are revoked, and give no more than their scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from tawtin.model.events import NodePut, TenantPut, WorkloadsSubmitted
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, NodeHealth, Shape
from tawtin.model.tenant import Quota, Scope, Tenant
from tawtin.model.workload import Outcome, Phase, Residency
from tawtin.ports import Report
from tawtin.runtime.errors import Conflict, Denied, Invalid, NotFound, Refused, VersionMismatch
from tests.runtime.shell import SITE, in_loop, running, spec


@in_loop
async def test_another_tenants_workload_looks_like_one_that_is_not_there():
    async with running() as shell:
        bank, school = await shell.tenant("bank"), await shell.tenant("school")
        workload = await shell.submit(bank)
        service = shell.service
        asks: list[Callable[[str], Awaitable[object]]] = [
            lambda name: service.view(school, name),
            lambda name: service.cancel(school, name),
            lambda name: service.runs(school, name),
            lambda name: service.log(school, name),
            lambda name: service.explain(school, name),
            lambda name: service.retry(school, name),
        ]
        for ask in asks:
            with pytest.raises(NotFound) as foreign:
                await ask(workload)
            with pytest.raises(NotFound) as absent:
                await ask("wl-absent")
            assert str(foreign.value) == str(absent.value).replace("wl-absent", workload)
        assert (await service.view(bank, workload)).workload.id == workload
        assert (await service.view(shell.admin, workload)).workload.tenant == "bank"


@in_loop
async def test_lists_show_the_callers_own_and_everything_to_an_admin():
    async with running() as shell:
        bank, school = await shell.tenant("bank"), await shell.tenant("school")
        ours, theirs = await shell.submit(bank), await shell.submit(school)
        page = await shell.service.workloads(bank)
        assert [item.workload.id for item in page.items] == [ours]
        everything = await shell.service.workloads(shell.admin)
        assert {item.workload.id for item in everything.items} == {ours, theirs}
        with pytest.raises(NotFound, match="school"):
            await shell.service.workloads(bank, tenant="school")
        assert [tenant.id for tenant in await shell.service.tenants(bank)] == ["bank"]
        with pytest.raises(NotFound):
            await shell.service.keys(bank, "school")
        with pytest.raises(NotFound):
            await shell.submit(bank, tenant="school")


@in_loop
async def test_the_log_shows_a_tenant_only_what_is_about_it():
    async with running() as shell:
        bank, faculty = await shell.tenant("bank"), await shell.tenant("faculty")
        await shell.submit(bank)
        foreign = await shell.submit(faculty)
        await shell.placed(foreign)
        entries = await shell.service.events(bank, 0, 1_000)
        assert any(isinstance(entry.event, WorkloadsSubmitted) for entry in entries)
        assert not any(foreign in repr(entry.event) or "faculty" in repr(entry.event) for entry in entries)
        everything = await shell.service.events(shell.admin, 0, 1_000)
        assert any(isinstance(entry.event, NodePut) for entry in everything)
        assert [entry.seq for entry in everything] == list(range(len(everything)))


@in_loop
async def test_the_same_idempotency_key_of_two_tenants_is_two_keys():
    async with running() as shell:
        bank, school = await shell.tenant("bank"), await shell.tenant("school")
        first = await shell.submit(bank, idempotency_key="k", request_sha256="r")
        assert await shell.submit(school, idempotency_key="k", request_sha256="another") != first


@in_loop
async def test_a_key_ends_at_its_time_and_at_once_when_it_is_revoked():
    async with running() as shell:
        await shell.tenant("bank")
        service, now = shell.service, shell.service.clock.now_ms()
        shown = await service.issue_key(shell.admin, "bank", "ci", Scope.SUBMIT, now + 60_000)
        assert service.authenticate(shown.secret, now + 59_000) is not None
        assert service.authenticate(shown.secret, now + 60_000) is None
        lasting = await service.issue_key(shell.admin, "bank", "ci", Scope.SUBMIT, None)
        assert service.authenticate(lasting.secret) is not None
        await service.revoke_key(shell.admin, lasting.id)
        assert service.authenticate(lasting.secret) is None
        first = (await service.revoke_key(shell.admin, lasting.id)).revoked_ms
        assert first == (await service.revoke_key(shell.admin, lasting.id)).revoked_ms
        with pytest.raises(Invalid, match="expired already"):
            await service.issue_key(shell.admin, "bank", "ci", Scope.SUBMIT, now - 1)


@in_loop
async def test_only_the_whole_secret_is_a_key_and_none_of_it_is_kept():
    async with running() as shell:
        shown = await shell.service.issue_key(shell.admin, "casa", "ci", Scope.SUBMIT, None)
        secret = shown.secret.rpartition("_")[2]
        wrong = "0" if secret[-1] != "0" else "1"
        for token in (
            "",
            "twk",
            shown.secret[:-1],
            shown.secret[:-1] + wrong,
            "twk_é_é",
            f"xyz{shown.secret[3:]}",
        ):
            assert shell.service.authenticate(token) is None
        stored = b"".join(shell.journal.events(0, 1_000)) + b"".join(row.body for row in shell.journal.live())
        assert secret.encode() not in stored


@in_loop
async def test_the_keys_of_a_closed_tenant_are_no_keys_any_more():
    async with running() as shell:
        await shell.tenant("bank")
        shown = await shell.service.issue_key(shell.admin, "bank", "ci", Scope.SUBMIT, None)
        await shell.service.put_tenant(shell.admin, Tenant(id="bank", closed=True))
        assert shell.service.authenticate(shown.secret) is None


@in_loop
async def test_nobody_does_or_gives_out_more_than_their_scope():
    async with running() as shell:
        await shell.tenant("bank")
        reader, manager = await shell.key("bank", Scope.READ), await shell.key("bank", Scope.TENANT)
        with pytest.raises(Denied, match="`read`"):
            await shell.submit(reader)
        submitter = await shell.key("bank")
        for actor in (reader, submitter):
            with pytest.raises(Denied):
                await shell.service.issue_key(actor, None, "", Scope.READ, None)
        with pytest.raises(Denied):
            await shell.service.issue_key(manager, None, "", Scope.ADMIN, None)
        with pytest.raises(Denied):
            await shell.service.put_tenant(manager, Tenant(id="mine"), create=True)
        with pytest.raises(Denied):
            await shell.service.set_node_health(manager, "node-1", NodeHealth.DRAINING)
        assert (await shell.service.issue_key(manager, None, "", Scope.SUBMIT, None)).tenant == "bank"
        foreign = (await shell.service.keys(shell.admin, "casa"))[0]
        with pytest.raises(NotFound):
            await shell.service.revoke_key(manager, foreign.id)


@in_loop
async def test_a_tenant_cannot_make_itself_the_owner_or_choose_its_number():
    async with running() as shell:
        put = await shell.service.put_tenant(
            shell.admin, Tenant(id="bank", owner=True, number=1, version=99), create=True
        )
        assert (put.owner, put.number, put.version) == (False, 2, 1)
        changed = await shell.service.put_tenant(
            shell.admin, Tenant(id="bank", name="Bank", owner=True), if_match=1
        )
        assert (changed.owner, changed.number, changed.version) == (False, 2, 2)
        with pytest.raises(VersionMismatch):
            await shell.service.put_tenant(shell.admin, Tenant(id="bank"), if_match=1)
        with pytest.raises(Conflict):
            await shell.service.put_tenant(shell.admin, Tenant(id="bank"), create=True)
        entries = await shell.service.events(shell.admin, 0, 1_000)
        puts = [entry.event.tenant for entry in entries if isinstance(entry.event, TenantPut)]
        assert [tenant.id for tenant in puts] == ["casa", "bank", "bank"]


@in_loop
async def test_a_submission_that_its_owner_keeps_out_is_refused_and_leaves_no_byte():
    async with running() as shell:
        bank = await shell.tenant("bank", residency=Residency(deny=("MA",)))
        with pytest.raises(Refused) as refused:
            await shell.submit(bank, spec=spec(envs={"MARK": "marker"}), secrets={"A": "secret-value"})
        assert refused.value.token == "NoLawfulFactory"
        stored = b"".join(shell.journal.events(0, 1_000))
        stored += b"".join(row.body for row in shell.journal.live())
        assert b"marker" not in stored
        assert b"secret-value" not in stored
        assert not shell.journal._secrets
        await shell.service.settle()
        assert not shell.engine.ensured


@in_loop
async def test_what_waits_says_why():
    async with running() as shell:
        bank = await shell.tenant("bank", quota=Quota(gpus=1))
        large = await shell.submit(bank, spec=spec(demand=Demand(options=(Shape(gpus=2),))))
        await shell.until(lambda: shell.service.factory.decision is not None, "a decision")
        waiting = (await shell.service.view(bank, large)).waiting
        assert waiting is not None
        assert waiting.sentence
        plan = await shell.service.plan(bank, spec(), "d")
        assert plan.starts_now
        assert len((await shell.service.workloads(bank)).items) == 1


@in_loop
async def test_a_workload_that_is_placed_while_it_is_looked_up_is_shown_as_placed():
    site = msgspec.structs.replace(SITE, backoff_ms=400)
    async with running(site=site) as shell:
        workload = await shell.submit()
        run = await shell.placed(workload)
        lost = Report(run=run, ended_ms=1, outcome=Outcome.INTERRUPTED, cause=Cause.SUPERVISOR_LOST)
        shell.engine.say(lost)
        await shell.until(lambda: shell.service.state.workloads[workload].phase is Phase.QUEUED, "the pause")
        read = shell.service.in_thread

        async def slowly(call: Any, *args: object) -> Any:  # noqa: ANN401 - whatever is read
            if args and args[0] == "run":
                await shell.placed(workload, 2)
            return await read(call, *args)

        shell.service.in_thread = slowly
        view = await shell.service.view(shell.admin, workload)
        assert (view.workload.phase, view.waiting) == (Phase.PLACED, None)
        assert view.run is not None
        assert view.run.epoch == 2


@in_loop
async def test_pages_follow_each_other_without_gap_or_overlap():
    async with running() as shell:
        made = [await shell.submit() for _ in range(7)]
        seen: list[str] = []
        before = ""
        while True:
            page = await shell.service.workloads(shell.admin, before=before, limit=3)
            seen += [item.workload.id for item in page.items]
            if not page.next:
                break
            before = page.next
        assert seen == sorted(made, reverse=True)


@in_loop
async def test_a_change_based_on_an_old_version_is_refused():
    async with running() as shell:
        workload = await shell.submit()
        await shell.placed(workload)
        version = (await shell.service.view(shell.admin, workload)).workload.version
        with pytest.raises(VersionMismatch):
            await shell.service.cancel(shell.admin, workload, if_match=version - 1)
        await shell.service.cancel(shell.admin, workload, if_match=version)


@in_loop
async def test_a_retry_is_a_new_workload_with_the_same_spec():
    async with running() as shell:
        workload = await shell.submit(spec=spec(name="training"))
        with pytest.raises(Conflict, match="not over"):
            await shell.service.retry(shell.admin, workload)
        run = await shell.placed(workload)
        shell.engine.finish(run, exit_code=3)
        await shell.until(lambda: run in shell.engine.forgotten, "the end")
        assert await shell.phase(workload) == "failed"
        (again,) = (await shell.service.retry(shell.admin, workload, idempotency_key="k")).workloads
        assert (again.spec.name, again.retry_of) == ("training", workload)
        (same,) = (await shell.service.retry(shell.admin, workload, idempotency_key="k")).workloads
        assert same.id == again.id
