"""Files of guests that are over: deleted in their time, recorded, and never what somebody else needs."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from msgspec.structs import replace

from tawtin.core.state import State
from tawtin.model.artifact import Artifact, FileEntry, Manifest, encode_manifest, manifest_id
from tawtin.model.events import (
    ArtifactKept,
    Event,
    FilesCrossed,
    GuestFilesDropped,
    GuestPut,
    TenantPut,
    decode_entry,
)
from tawtin.model.roaming import FilesState, Guest, GuestState
from tawtin.model.site import Site
from tawtin.model.tenant import Tenant
from tawtin.model.workload import Kept
from tawtin.ports import Batch
from tawtin.runtime.errors import Unavailable
from tawtin.runtime.factory import Factory
from tawtin.runtime.roaming.lending import tenant_of
from tawtin.runtime.rows import load
from tawtin.runtime.tidying import Tidying
from tawtin.store.artifacts import digest_of
from tawtin.store.blobs import LocalBlobs
from tawtin.store.guarded import GuardedBlobs
from tawtin.store.memory import MemoryJournal
from tests.core.test_handshake import DONE, GUEST

KEEPS_MS = 10_000
SITE = Site(name="nairobi", country="KE")
SHARED, OWN = b"in both", b"in one"


class Clock:
    ms = 1_000

    def now_ms(self) -> int:
        return self.ms

    monotonic_ms = now_ms


class World:
    """A visited factory with a journal in memory and blobs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.journal = MemoryJournal()
        self.inner = LocalBlobs(folder)
        self.breaks = False
        self.factory = Factory(SITE, State(SITE), self.clock)
        self.factory.stage(
            *(TenantPut(tenant=Tenant(id=each, number=at)) for at, each in enumerate(("lab", PEER), 1))
        )
        self.commit()
        self.begin()

    def begin(self) -> None:
        """A life of the process."""
        self.commit()
        self.factory = Factory(SITE, load(self.journal, SITE), self.clock)
        self.blobs = GuardedBlobs(self.inner, hold_ms=KEEPS_MS, monotonic_ms=self.clock.monotonic_ms)
        self.tidying = Tidying(self.blobs, KEEPS_MS)

    def commit(self) -> None:
        step = self.factory.take()
        self.journal.commit(step.batch if step is not None else Batch())

    async def durable(self) -> None:
        if self.breaks:
            self.factory.take()
            self.factory = Factory(SITE, load(self.journal, SITE), self.clock)
            msg = "the journal failed"
            raise Unavailable(msg)
        self.commit()

    def later(self, ms: int = 2 * KEEPS_MS) -> None:
        """A first look, so much time, and another look."""

        async def look() -> None:
            await self.tidying.once(lambda: self.factory, self.durable)
            self.clock.ms += ms
            await self.tidying.once(lambda: self.factory, self.durable)

        asyncio.run(look())

    def artifact(self, *bodies: bytes) -> str:
        entries = tuple(
            FileEntry(path=str(at), digest=digest_of(body), size_bytes=len(body))
            for at, body in enumerate(bodies)
        )
        manifest = Manifest(files=entries)
        for body in (*bodies, encode_manifest(manifest)):
            self.inner.put(digest_of(body), io.BytesIO(body), 1_000)
        return manifest_id(manifest)

    def guest(
        self, *inputs: str, workload: str = "wl-1", outputs: tuple[str, ...] = (), settles: bool = True
    ) -> Guest:
        """One that is settled now, or open."""
        new = replace(GUEST, workload=workload, local=f"gw-{workload}", inputs=inputs)
        self.factory.stage(GuestPut(guest=new))
        if not settles:
            return new
        signed = DONE.receipt or pytest.fail("no receipt")
        kept = tuple(Kept(name=each[-4:], artifact=each, size_bytes=1) for each in outputs)
        done = replace(
            new, state=GuestState.DONE, receipt=replace(signed, receipt=replace(signed.receipt, outputs=kept))
        )
        self.factory.stage(GuestPut(guest=done))
        settled = replace(done, state=GuestState.SETTLED, settled_ms=self.clock.ms)
        self.factory.stage(GuestPut(guest=settled))
        self.commit()
        return settled

    def events(self) -> list[Event]:
        return [decode_entry(body).event for body in self.journal.events(0, self.journal.head().size)]

    def dropped(self) -> list[GuestFilesDropped]:
        return [each for each in self.events() if isinstance(each, GuestFilesDropped)]

    def has(self, *bodies: bytes) -> list[bool]:
        return [self.inner.has(digest_of(each)) for each in bodies]


PEER = tenant_of(GUEST.home)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_after_the_retention_its_files_are_gone_and_the_log_says_how_many_bytes(world: World):
    name = world.artifact(SHARED, OWN)
    guest = world.guest(name)
    world.later(KEEPS_MS - 1)
    assert world.has(SHARED, OWN) == [True, True]
    world.later(1)
    assert world.has(SHARED, OWN) == [False, False]
    assert not world.inner.has(name)
    (event,) = world.dropped()
    (gone,) = event.dropped
    assert (event.guest, gone.artifact, gone.files) == (guest.key, name, 2)
    assert gone.size_bytes > len(SHARED) + len(OWN)
    assert not world.factory.state.leftovers
    world.begin()
    assert not world.factory.state.leftovers


def test_what_another_open_epoch_names_stays_until_that_is_over(world: World):
    mine, other = world.artifact(SHARED, OWN), world.artifact(SHARED)
    world.guest(mine)
    world.guest(other, workload="wl-2", settles=False)
    world.later()
    assert world.has(SHARED, OWN) == [True, False]
    assert not world.inner.has(mine)
    assert world.inner.has(other)


def test_of_two_that_are_settled_the_last_takes_what_both_name_along(world: World):
    name = world.artifact(SHARED)
    world.guest(name)
    world.guest(name, workload="wl-2")
    world.later()
    assert world.has(SHARED) == [False]
    assert [len(each.dropped) for each in world.dropped()] == [0, 1]


def test_what_a_tenant_here_has_or_uploads_stays(world: World):
    own, name = world.artifact(SHARED), world.artifact(SHARED, OWN, b"third")
    world.factory.stage(ArtifactKept(artifact=Artifact(id=own, tenant="lab")))
    world.tidying.uploaded = {"lab": {digest_of(OWN)}}
    world.guest(name)
    world.later()
    assert world.has(SHARED, OWN, b"third") == [True, True, False]


def test_outputs_go_only_if_home_has_fetched_them(world: World):
    fetched, only_here = world.artifact(SHARED), world.artifact(OWN)
    new = world.guest(settles=False)
    kept = tuple(ArtifactKept(artifact=Artifact(id=each, tenant=PEER)) for each in (fetched, only_here))
    crossed = FilesCrossed(
        run=f"{new.local}.1", artifact=fetched, peer="casa", country="MA", sent=True, size_bytes=1
    )
    world.factory.stage(*kept, crossed)
    known = world.factory.state.guests[new.key]
    signed = DONE.receipt or pytest.fail("no receipt")
    outputs = tuple(Kept(name=each[-4:], artifact=each, size_bytes=1) for each in (fetched, only_here))
    done = replace(
        known,
        state=GuestState.DONE,
        receipt=replace(signed, receipt=replace(signed.receipt, outputs=outputs)),
    )
    settled = replace(done, state=GuestState.SETTLED, settled_ms=world.clock.ms)
    world.factory.stage(GuestPut(guest=done), GuestPut(guest=settled))
    world.later()
    assert world.has(SHARED, OWN) == [False, True]
    assert [artifact for _, artifact in world.factory.state.artifacts] == [only_here]


def test_what_somebody_looks_for_at_the_last_moment_stays_for_him(world: World):
    world.guest(world.artifact(OWN))
    world.later(KEEPS_MS - 1)
    assert world.blobs.missing([digest_of(OWN)]) == []
    world.later(1)
    assert world.has(OWN) == [True]
    assert not world.dropped()
    world.later()
    assert world.has(OWN) == [False]


def test_nothing_goes_if_the_log_cannot_say_so(world: World):
    world.guest(world.artifact(OWN))
    world.breaks = True
    with pytest.raises(Unavailable):
        world.later()
    assert world.has(OWN) == [True]
    assert world.blobs.has(digest_of(OWN)), "it is offered again"
    world.breaks = False
    world.later()
    assert world.has(OWN) == [False]


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_restart_between_the_record_and_the_last_byte_goes_on(
    world: World, gone: int, monkeypatch: pytest.MonkeyPatch
):
    name = world.artifact(SHARED, OWN)
    world.guest(name)
    plain, left = world.inner.drop, [gone]

    def drop(digest: str) -> None:
        if not left[0]:
            msg = "the process dies here"
            raise RuntimeError(msg)
        left[0] -= 1
        plain(digest)

    with monkeypatch.context() as patch:
        patch.setattr(world.inner, "drop", drop)
        with pytest.raises(RuntimeError):
            world.later()
    assert world.has(SHARED, OWN).count(False) == gone
    world.begin()
    (leftover,) = world.factory.state.leftovers.values()
    assert leftover.files is FilesState.GOING
    world.later()
    assert world.has(SHARED, OWN) == [False, False]
    assert not world.inner.has(name)
    assert len(world.dropped()) == 1
    assert not world.factory.state.leftovers
